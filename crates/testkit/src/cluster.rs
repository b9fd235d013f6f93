//! A real Kubernetes cluster without containers: etcd, API server, controllers and scheduler are the true ones; kwok plays nodes and pods.
//!
//! Which part a pod plays is the last word of its first container's image tag:
//!
//! | tag ends with | the pod |
//! |---|---|
//! | anything else | is ready at once |
//! | `slow` | runs, and is ready after 3 s |
//! | `never` | runs and is never ready |
//! | `crash` | is in `CrashLoopBackOff`, with a restart count that goes up to 5 |
//! | `nopull` | stays pending: `ErrImagePull`, then `ImagePullBackOff` |
//! | `job` | ends well as soon as it was ready, as all pods of a Job do |
//! | `jobfail` | ends badly |
//!
//! The word is the whole tag or stands behind a dash (`v2-crash`). With the name of a cluster behind it (`v2-crash-west`) it counts there only; in
//! other clusters the pod is healthy.

mod authority;
mod parts;
mod shared;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use shared::{DESCRIPTIONS, describe, one, pair};

use crate::programs;

/// How long one `kubectl` may take: longer than any wait that a test asks it for.
const KUBECTL: Duration = Duration::from_secs(180);
/// Pause between two looks at a level.
const LOOK: Duration = Duration::from_millis(50);

/// A running cluster. Whoever started it ends it by dropping it, or by dying.
pub struct Cluster {
    description: Description,
    /// None: another process has started it and ends it.
    _parts: Option<parts::Parts>,
}

/// What one process tells another about a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Description {
    name: String,
    url: String,
    token: String,
    powerless: String,
    folder: PathBuf,
}

impl Cluster {
    /// Starts one. It is ready when this returns: nodes, controllers, scheduler and all.
    ///
    /// # Errors
    /// A program is missing, ends, or is not ready in time.
    pub fn start(name: &str) -> Result<Self> {
        let (description, parts) =
            parts::start(name).with_context(|| format!("the cluster {name} does not start"))?;
        Ok(Self { description, _parts: Some(parts) })
    }

    /// Its name, which image tags may end with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// `https://127.0.0.1:PORT` of the API server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.description.url
    }

    /// Bearer token of an administrator.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.description.token
    }

    /// Bearer token of the user `powerless`, who may do nothing that a role binding of the test does not give.
    #[must_use]
    pub fn powerless_token(&self) -> &str {
        &self.description.powerless
    }

    /// The certificate authority of the API server, in PEM.
    ///
    /// # Errors
    /// The cluster has ended.
    pub fn ca_pem(&self) -> Result<String> {
        self.read("ca.pem")
    }

    /// Certificate and private key of an administrator, in PEM.
    ///
    /// # Errors
    /// The cluster has ended.
    pub fn client_certificate(&self) -> Result<(String, String)> {
        Ok((self.read("client.pem")?, self.read("client-key.pem")?))
    }

    /// A kubeconfig file of the administrator; everything is in it. Its context has the cluster's name.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    /// Runs `kubectl` as administrator; its output.
    ///
    /// # Errors
    /// It fails, with what it says, or takes longer than three minutes.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        programs::run(&kubectl(&self.description.folder, arguments)?, None, KUBECTL)
    }

    /// As [`Cluster::kubectl`], with text for its standard input (`-f -`).
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        programs::run(&kubectl(&self.description.folder, arguments)?, Some(input), KUBECTL)
    }

    /// An object; `namespace` is empty for one that has none.
    ///
    /// # Errors
    /// It does not exist.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let text = self.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("{kind} {name} is no JSON"))
    }

    /// All objects of a kind in a namespace that have these labels (`app=shop`, or empty for all).
    ///
    /// # Errors
    /// There is no such kind.
    pub fn list(&self, kind: &str, namespace: &str, labels: &str) -> Result<Vec<Value>> {
        let text = self.kubectl(&["get", kind, "-n", namespace, "-l", labels, "-o", "json"])?;
        let mut list: Value = serde_json::from_str(&text).with_context(|| format!("{kind} is no JSON"))?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => bail!("a list without items: {text}"),
        }
    }

    /// Makes a namespace that nobody else has; its name begins so.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", unique.get(..10).unwrap_or(&unique));
        self.kubectl(&["create", "namespace", &name])?;
        Ok(name)
    }

    /// Looks at an object until it is as wanted; the object.
    ///
    /// # Errors
    /// It is not by the deadline: the error has the object as it was last.
    pub fn wait(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let found = self.get(kind, namespace, name);
            match found {
                Ok(found) if wanted(&found) => return Ok(found),
                Ok(found) if Instant::now() > end => {
                    let seconds = deadline.as_secs();
                    bail!("{kind} {name} on {} is not as wanted after {seconds} s: {found}", self.name());
                }
                Err(error) if Instant::now() > end => return Err(error),
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    fn read(&self, name: &str) -> Result<String> {
        let file = self.file(name);
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.description.folder.join(name)
    }
}

/// `kubectl` with the configuration and the cache of a cluster's folder.
fn kubectl(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(programs::program("kubectl")?);
    command.args(arguments).env("KUBECONFIG", folder.join("kubeconfig")).env("HOME", folder);
    Ok(command)
}
