//! From a cluster's access to connections: credentials are opened, connections kept and shared by all tasks with the same cluster and the
//! same credentials, so that a thousand tasks need a handful of them (HTTP/2).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use manifold_driver::Resolver;
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn, ClusterTarget};
use manifold_model::view::secret_name;
use manifold_model::{Failure, FailureClass, code};
use secrecy::SecretString;
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};
use zeroize::Zeroizing;

use crate::discovery::Discovery;
use crate::limits::{
    CLUSTERS_KEPT, CONNECT_LIMIT, CONNECTIONS_KEPT, FIRST_ALONE, REQUEST_LIMIT, WATCHES_A_CONNECTION,
};

/// Silence after which a connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Where a cluster mounts the delegate's own service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The connections to all clusters.
pub struct Clusters {
    kubeconfig: Option<PathBuf>,
    links: Mutex<HashMap<Key, Arc<Link>>>,
}

type Key = [u8; 32];

/// Connections to one cluster with one set of credentials, and what is known of its kinds.
pub struct Link {
    key: Key,
    since: Instant,
    config: Config,
    /// For requests.
    line: Line,
    /// For watches, each of which holds a stream of its connection; how often one is held counts the watches.
    watchers: Mutex<Vec<Arc<Line>>>,
    /// The kinds of the cluster.
    pub(crate) discovery: Discovery,
}

/// A client with one connection, where the server speaks HTTP/2. Before the first answer nobody knows whether it does, and a client opens a
/// connection for each request: so the first one goes alone.
pub struct Line {
    client: Client,
    warm: AtomicBool,
    first: tokio::sync::Mutex<()>,
}

impl Line {
    fn new(client: Client) -> Self {
        Self { client, warm: AtomicBool::new(false), first: tokio::sync::Mutex::new(()) }
    }

    /// Does something with the client.
    ///
    /// # Errors
    /// As what is done.
    pub async fn through<T>(
        &self,
        what: impl AsyncFnOnce(&Client) -> Result<T, kube::Error>,
    ) -> Result<T, kube::Error> {
        // A server that lets the first one wait must not let all others wait with it: they get an error of their own.
        let mut alone = None;
        if !self.warm.load(Ordering::Relaxed) {
            alone = timeout(FIRST_ALONE, self.first.lock()).await.ok();
        }
        if self.warm.load(Ordering::Relaxed) {
            alone = None;
        }
        let done = what(&self.client).await?;
        self.warm.store(true, Ordering::Relaxed);
        drop(alone);
        Ok(done)
    }
}

/// A cluster's credentials, opened.
struct Opened {
    config: Config,
    key: Key,
}

impl Clusters {
    /// No connections yet. `kubeconfig`: the delegate's own, instead of what `KUBECONFIG` and the home directory say.
    #[must_use]
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, links: Mutex::default() }
    }

    /// Connections to a cluster; the server is not asked anything yet.
    ///
    /// # Errors
    /// A credential cannot be opened, or what was opened is not what it should be.
    pub async fn link(&self, target: &ClusterTarget, resolver: &dyn Resolver) -> Result<Arc<Link>, Failure> {
        let opened = self.open(target, resolver).await?;
        if let Some(link) = self.known(&opened.key) {
            return Ok(link);
        }
        let config = opened.config.clone();
        // Plugins of the delegate's own kubeconfig run here, and block.
        let built = tokio::task::spawn_blocking(move || client(&config));
        let client = match timeout(REQUEST_LIMIT, built).await {
            Ok(Ok(client)) => client.map_err(|error| unusable(&target.name, &error.to_string()))?,
            Ok(Err(error)) => return Err(unusable(&target.name, &error.to_string())),
            Err(_) => return Err(unusable(&target.name, "the credential plugin did not answer in time")),
        };
        Ok(self.keep(Link {
            key: opened.key,
            since: Instant::now(),
            config: opened.config,
            line: Line::new(client),
            watchers: Mutex::default(),
            discovery: Discovery::default(),
        }))
    }

    /// Forgets connections whose credentials a server has refused, so that the next task opens them anew.
    pub(crate) fn forget(&self, link: &Link) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link.key);
    }

    fn known(&self, key: &Key) -> Option<Arc<Link>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(key).filter(|link| link.since.elapsed() < CONNECTIONS_KEPT).map(Arc::clone)
    }

    fn keep(&self, link: Link) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.since.elapsed() < CONNECTIONS_KEPT);
        if links.len() >= CLUSTERS_KEPT {
            let oldest = links.values().min_by_key(|link| link.since).map(|link| link.key);
            oldest.map(|key| links.remove(&key));
        }
        // Another task may have been quicker: its connections are as good.
        Arc::clone(links.entry(link.key).or_insert_with(|| Arc::new(link)))
    }

    async fn open(&self, target: &ClusterTarget, resolver: &dyn Resolver) -> Result<Opened, Failure> {
        match &target.access {
            ClusterAccess::Delegate {} => self.own(target).await,
            ClusterAccess::Url { url, ca, sign_in, insecure } => {
                by_url(target, url, ca.as_deref(), sign_in, *insecure, resolver).await
            }
        }
    }

    /// The delegate's own access: its service account inside a cluster, else its kubeconfig.
    async fn own(&self, target: &ClusterTarget) -> Result<Opened, Failure> {
        if self.kubeconfig.is_none() && std::path::Path::new(SERVICE_ACCOUNT).exists() {
            let config = Config::incluster().map_err(|error| own_access(&target.name, &error.to_string()))?;
            return Ok(Opened { config, key: key_of(&[b"in-cluster"]) });
        }
        let path = self.kubeconfig.clone();
        let read = tokio::task::spawn_blocking(move || match path {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        });
        let kubeconfig = match read.await {
            Ok(read) => read.map_err(|error| own_access(&target.name, &error.to_string()))?,
            Err(error) => return Err(own_access(&target.name, &error.to_string())),
        };
        let text = Zeroizing::new(serde_json::to_vec(&kubeconfig).unwrap_or_default());
        let key = key_of(&[b"kubeconfig", &text]);
        let proxied = kubeconfig
            .clusters
            .iter()
            .any(|named| named.cluster.as_ref().is_some_and(|cluster| cluster.proxy_url.is_some()));
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| own_access(&target.name, &error.to_string()))?;
        if proxied && config.proxy_url.is_some() {
            return Err(own_access(&target.name, "its proxy-url is not supported"));
        }
        // What the environment says of proxies is for others: it cannot name the exceptions that clusters are.
        config.proxy_url = None;
        Ok(Opened { config, key })
    }
}

impl Link {
    /// The connection for requests.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// A connection for a watch, which holds it as long as it lasts: one that has room, else a new one.
    ///
    /// # Errors
    /// A connection cannot be prepared.
    pub(crate) fn watcher(&self) -> Result<Arc<Line>, kube::Error> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let free = watchers.iter().find(|line| Arc::strong_count(line) <= WATCHES_A_CONNECTION);
        if let Some(line) = free {
            return Ok(Arc::clone(line));
        }
        let line = Arc::new(Line::new(client(&self.config)?));
        watchers.push(Arc::clone(&line));
        Ok(line)
    }
}

async fn by_url(
    target: &ClusterTarget,
    url: &str,
    ca: Option<&str>,
    sign_in: &ClusterSignIn,
    insecure: bool,
    resolver: &dyn Resolver,
) -> Result<Opened, Failure> {
    let name = &target.name;
    let trimmed = url.trim().trim_end_matches('/');
    let uri: http::Uri = trimmed
        .parse()
        .map_err(|error| invalid(name, format!("{url:?} is not the URL of an API server: {error}")))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none() {
        return Err(invalid(name, format!("{url:?} is not the URL of an API server")));
    }
    let mut config = Config::new(uri);
    config.accept_invalid_certs = insecure;
    let mut parts: Vec<Zeroizing<Vec<u8>>> =
        vec![Zeroizing::new(trimmed.as_bytes().to_vec()), Zeroizing::new(vec![u8::from(insecure)])];
    if let Some(ca) = ca.map(str::trim).filter(|ca| !ca.is_empty()) {
        let pem = pem(name, "CA certificate", ca, resolver).await?;
        config.root_cert = Some(certificates(name, "CA certificate", &pem)?);
        parts.push(Zeroizing::new(pem.as_bytes().to_vec()));
    }
    config.auth_info = auth_info(name, sign_in, resolver, &mut parts).await?;
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    Ok(Opened { config, key: key_of(&parts) })
}

/// Opens the credentials of who signs in; all of it goes into `parts`, of which the key of the connections is made.
async fn auth_info(
    name: &str,
    sign_in: &ClusterSignIn,
    resolver: &dyn Resolver,
    parts: &mut Vec<Zeroizing<Vec<u8>>>,
) -> Result<AuthInfo, Failure> {
    let mut auth = AuthInfo::default();
    let mut kept = |kind: &str, text: &str| {
        parts.push(Zeroizing::new(kind.as_bytes().to_vec()));
        parts.push(Zeroizing::new(text.as_bytes().to_vec()));
    };
    match sign_in {
        ClusterSignIn::Anonymous {} => kept("anonymous", ""),
        ClusterSignIn::Token { token } => {
            let token = opened(resolver, token).await?;
            let token = token.trim();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let what = "the service account token is empty or holds characters that no token has";
                return Err(invalid(name, what.to_owned()));
            }
            kept("token", token);
            auth.token = Some(SecretString::from(token));
        }
        ClusterSignIn::Password { user, user_is_secret, password } => {
            let user = match user_is_secret {
                true => opened(resolver, user).await?.trim().to_owned(),
                false => user.clone(),
            };
            let password = opened(resolver, password).await?;
            kept("password", &format!("{}:{user}:{}", user.len(), password.as_str()));
            auth.username = Some(user);
            auth.password = Some(SecretString::from(password.trim_end_matches(['\r', '\n'])));
        }
        ClusterSignIn::Certificate { certificate, key, passphrase } => {
            let certificate = pem(name, "client certificate", certificate, resolver).await?;
            certificates(name, "client certificate", &certificate)?;
            let key = pem(name, "client key", key, resolver).await?;
            if passphrase.is_some() || key.contains("ENCRYPTED") {
                let what = "the client key is encrypted, which is not supported";
                return Err(invalid(name, what.to_owned())
                    .hint("decrypt the key (openssl pkey) and store it so: secrets are encrypted at rest"));
            }
            kept("certificate", &certificate);
            kept("key", &key);
            auth.client_certificate_data = Some(BASE64.encode(certificate.as_bytes()));
            auth.client_key_data = Some(SecretString::from(BASE64.encode(key.as_bytes())));
        }
    }
    Ok(auth)
}

async fn opened(resolver: &dyn Resolver, reference: &str) -> Result<Zeroizing<String>, Failure> {
    Ok(resolver.secret(secret_name(reference.trim())).await?.expose_text())
}

/// PEM that stands in the configuration or in a secret; the secret may also hold it in base64, as a kubeconfig does.
async fn pem(
    cluster: &str,
    what: &str,
    text: &str,
    resolver: &dyn Resolver,
) -> Result<Zeroizing<String>, Failure> {
    let text = match is_pem(text) {
        true => Zeroizing::new(text.to_owned()),
        false => opened(resolver, text).await?,
    };
    if is_pem(&text) {
        return Ok(text);
    }
    let compact: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    let decoded = BASE64.decode(compact.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.map(Zeroizing::new).filter(|decoded| is_pem(decoded)) {
        Some(decoded) => Ok(decoded),
        None => Err(invalid(cluster, format!("the {what} is not PEM"))),
    }
}

fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN ")
}

fn certificates(cluster: &str, what: &str, pem: &str) -> Result<Vec<Vec<u8>>, Failure> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(read) if !read.is_empty() => Ok(read.into_iter().map(|one| one.as_ref().to_vec()).collect()),
        Ok(_) => Err(invalid(cluster, format!("the {what} holds no certificate"))),
        Err(error) => Err(invalid(cluster, format!("the {what} is not PEM: {error}"))),
    }
}

/// The key of connections: a digest, so that no credential is kept for comparing.
fn key_of(parts: &[&[u8]]) -> Key {
    let mut all = Zeroizing::new(Vec::new());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &all).as_ref());
    key
}

/// A client whose connections speak HTTP/2 where the server does. Nothing is retried below [`crate::cluster`], which knows deadlines.
fn client(config: &Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let tls = match config.tls_server_name.clone().map(TryInto::try_into) {
        Some(Ok(name)) => tls.with_server_name_resolver(FixedServerNameResolver::new(name)),
        Some(Err(_)) => return Err(kube::Error::TlsRequired),
        None => tls,
    };
    let https = tls.enable_http1().enable_http2().wrap_connector(tcp);
    let hyper = HyperClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build::<_, Body>(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper);
    Ok(Client::new(service, config.default_namespace.clone()))
}

fn invalid(cluster: &str, what: String) -> Failure {
    Failure::new(
        FailureClass::Authentication,
        code!("K8S_ACCESS_INVALID"),
        format!("cloud provider {cluster}: {what}"),
    )
    .hint("correct the cloud provider or the secret that it names")
}

fn unusable(cluster: &str, what: &str) -> Failure {
    invalid(cluster, format!("its credentials cannot be used: {what}"))
}

fn own_access(cluster: &str, what: &str) -> Failure {
    Failure::new(
        FailureClass::Authentication,
        code!("K8S_OWN_ACCESS"),
        format!("cloud provider {cluster} uses the delegate's own access to the cluster, which cannot be used: {what}"),
    )
    .hint("run the delegate inside the cluster, or give it a kubeconfig (KUBECONFIG)")
}
