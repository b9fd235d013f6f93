//! A scripted reverse proxy in front of a cluster's API server: it answers for it, is slow, hangs, cuts connections and ends watches as told, and
//! remembers what was asked. It has threads of its own, so that a test that blocks does not block it.

mod forward;
mod rule;
mod serve;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use data_encoding::BASE64;
use tokio::runtime::Runtime;

pub use rule::{Act, Rule};

use crate::certificates::{Authority, Purpose};
use crate::cluster::Cluster;

/// Most requests that are remembered; the oldest are forgotten.
const REMEMBERED: usize = 100_000;

/// What clients meet at the proxy's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// No TLS.
    Plain,
    /// A good certificate of the authority of [`Proxy::ca_pem`].
    Tls,
    /// One whose time is over.
    Expired,
    /// One of an authority that [`Proxy::ca_pem`] is not.
    Stranger,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `application/apply-patch+yaml`, …; empty without a body.
    pub content_type: String,
    /// `Basic` or `Bearer`; empty when nobody signed in by header.
    pub scheme: String,
    /// `User-Agent`.
    pub agent: String,
}

/// A running proxy; it stops when dropped, and its connections are cut.
pub struct Proxy {
    address: SocketAddr,
    front: Front,
    authority: Authority,
    script: Arc<Script>,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

/// What all connections share.
#[derive(Default)]
struct Script {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<VecDeque<Seen>>,
    /// `Authorization` of a user by password, and the token that it stands for.
    users: Mutex<Vec<(String, String)>>,
}

impl Proxy {
    /// Starts one in front of a cluster, without rules.
    ///
    /// # Errors
    /// No port or certificate can be had.
    pub fn start(cluster: &Cluster, front: Front) -> Result<Self> {
        let authority = Authority::new("authority of a proxy")?;
        let acceptor = match front {
            Front::Plain => None,
            Front::Tls => Some(serve::acceptor(&authority.sign(Purpose::Server)?)?),
            Front::Expired => Some(serve::acceptor(&authority.sign(Purpose::ExpiredServer)?)?),
            Front::Stranger => {
                let stranger = Authority::new("another authority")?;
                Some(serve::acceptor(&stranger.sign(Purpose::Server)?)?)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let script = Arc::new(Script::default());
        let upstream = forward::Upstream::new(cluster.url(), &cluster.ca_pem()?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve::serve(listener, acceptor, Arc::clone(&script), Arc::new(upstream)));
        Ok(Self { address, front, authority, script, runtime: Some(runtime) })
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.front == Front::Plain { "http" } else { "https" };
        format!("{scheme}://{}", self.address)
    }

    /// The authority that clients should trust, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Adds a rule. Of those that match a request, the first that is not used up counts.
    pub fn rule(&self, rule: Rule) {
        lock(&self.script.rules).push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        lock(&self.script.rules).clear();
    }

    /// Lets a user sign in by name and password (HTTP Basic), which API servers have unlearnt: the request goes on with this
    /// token. Once there is one, a wrong name or password is answered with 401.
    pub fn user(&self, name: &str, password: &str, token: &str) {
        let basic = BASE64.encode(format!("{name}:{password}").as_bytes());
        lock(&self.script.users).push((format!("Basic {basic}"), format!("Bearer {token}")));
    }

    /// The requests that came so far, in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.script.seen).iter().cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: a test may drop it inside a runtime of its own.
            runtime.shutdown_background();
        }
    }
}

impl Script {
    /// Remembers a request; what is to be done with it.
    fn act(&self, seen: Seen) -> Option<Act> {
        let act = lock(&self.rules).iter_mut().find_map(|rule| rule.take(&seen.method, &seen.path));
        let mut all = lock(&self.seen);
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(seen);
        act
    }

    /// The `Authorization` that goes on instead of this one.
    fn sign_in(&self, authorization: &str) -> Result<Option<String>, Unknown> {
        let users = lock(&self.users);
        match users.iter().find(|(basic, _)| basic == authorization) {
            Some((_, bearer)) => Ok(Some(bearer.clone())),
            None if !users.is_empty() && authorization.starts_with("Basic ") => Err(Unknown),
            None => Ok(None),
        }
    }
}

/// A wrong name or password.
struct Unknown;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
