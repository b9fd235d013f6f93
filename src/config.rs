//! The server's configuration: one typed tree. Flags win over the environment (`MANIFOLD_…`), that over the file, that over the defaults. Unknown
//! keys of the file are refused with their position, before a port is bound.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use manifold_model::{Problem, code};
use serde::{Deserialize, Serialize};

use crate::database::DatabaseUrl;
use crate::telemetry::LogFormat;

use crate::drivers::DriverSettings;

/// Flags of `manifold server`; each is also a variable `MANIFOLD_…` and, but for `--config` and `--print-config`, a key of the file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerFlags {
    /// Folder for the store, logs and the key that wraps secret keys; made when absent
    #[arg(long, env = "MANIFOLD_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// PostgreSQL database for the store, which any number of servers share [default: SQLite, DIR/manifold.db]
    #[arg(long, env = "MANIFOLD_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<DatabaseUrl>,
    /// Name of this server among those that share a store [default: a random one, kept in DIR/node]
    #[arg(long, env = "MANIFOLD_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Address to listen on
    #[arg(long, env = "MANIFOLD_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// How people and clients reach this server, for links
    #[arg(long, env = "MANIFOLD_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Account id of a new store
    #[arg(long, env = "MANIFOLD_SERVER_ACCOUNT_ID", value_name = "ID")]
    pub account_id: Option<String>,
    /// File with the administrator's API key; made (mode 0600) when absent
    #[arg(long, env = "MANIFOLD_ADMIN_API_KEY_FILE", value_name = "FILE")]
    pub admin_api_key_file: Option<PathBuf>,
    /// File with the key that wraps secret keys [default: DIR/key]
    #[arg(long, env = "MANIFOLD_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Configuration tree (Setup/…) to import at start
    #[arg(long, env = "MANIFOLD_SEED", value_name = "DIR")]
    pub seed: Option<PathBuf>,
    /// Run a delegate inside the server even though servers share the store
    #[arg(long, env = "MANIFOLD_DELEGATE", conflicts_with = "no_delegate")]
    pub delegate: bool,
    /// Do not run a delegate inside the server
    #[arg(long, env = "MANIFOLD_NO_DELEGATE")]
    pub no_delegate: bool,
    /// Certificate chain to serve HTTPS with, PEM
    #[arg(long, env = "MANIFOLD_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "MANIFOLD_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Listen on a non-loopback address without TLS
    #[arg(long, env = "MANIFOLD_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// Offer kinds that exist for tests and measurements (NOOP)
    #[arg(long, env = "MANIFOLD_ENABLE_TEST_KINDS")]
    pub enable_test_kinds: bool,
    /// Host keys of SSH targets: `known-hosts` refuses unknown hosts, `accept-new` writes them down at first sight
    #[arg(long, env = "MANIFOLD_SSH_HOST_KEYS", value_name = "POLICY")]
    pub ssh_host_keys: Option<HostKeys>,
    /// Known-hosts file, may be given several times [default: DIR/known_hosts, ~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts]
    #[arg(long, env = "MANIFOLD_SSH_KNOWN_HOSTS", value_name = "FILE", value_delimiter = ',')]
    pub ssh_known_hosts: Vec<PathBuf>,
    /// Program `helm` (3 or newer), which renders Go templates among manifests [default: `helm` in PATH, if it is there]
    #[arg(long, env = "MANIFOLD_HELM", value_name = "FILE")]
    pub helm: Option<PathBuf>,
    /// Kubeconfig of the delegate inside the server, for cloud providers that use the delegate's own access [default: the service account of the
    /// pod, else ~/.kube/config]
    #[arg(long, env = "MANIFOLD_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How logs are written: `text` for people, `json` one object a line
    #[arg(long, env = "MANIFOLD_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Collector that gets a trace of every execution that ended: its base address for OTLP over HTTP, like http://127.0.0.1:4318
    #[arg(long, env = "MANIFOLD_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// S3-compatible bucket for logs where several servers share a store [default: the database]: s3://BUCKET[/PREFIX]?region=REGION[&endpoint=URL],
    /// with credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, env = "MANIFOLD_LOG_BUCKET", value_name = "URL")]
    pub log_bucket: Option<String>,
    /// Configuration file
    #[arg(long, env = "MANIFOLD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration and exit
    #[arg(long)]
    pub print_config: bool,
}

/// What to do with host keys of SSH targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    /// Only keys that a known-hosts file names.
    KnownHosts,
    /// A host seen for the first time is written down; a changed key is refused.
    AcceptNew,
}

/// The effective configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder for everything that lasts.
    pub data: PathBuf,
    /// PostgreSQL database for the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<DatabaseUrl>,
    /// Name of this server among those that share a store.
    pub node: Option<String>,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// How people and clients reach this server.
    pub public_url: Option<String>,
    /// Account id of a new store.
    pub account_id: Option<String>,
    /// File with the administrator's API key.
    pub admin_api_key_file: Option<PathBuf>,
    /// File with the key that wraps secret keys.
    pub key_file: Option<PathBuf>,
    /// Configuration tree to import at start.
    pub seed: Option<PathBuf>,
    /// A delegate inside the server even though servers share the store.
    pub delegate: bool,
    /// No delegate inside the server.
    pub no_delegate: bool,
    /// Certificate chain to serve HTTPS with.
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate.
    pub tls_key: Option<PathBuf>,
    /// Plain HTTP on a non-loopback address.
    pub insecure_http: bool,
    /// Test kinds.
    pub enable_test_kinds: bool,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Collector of traces.
    pub otlp_endpoint: Option<String>,
    /// Bucket for logs.
    pub log_bucket: Option<String>,
    /// SSH.
    pub ssh: SshSettings,
    /// Kubernetes.
    pub kubernetes: KubernetesSettings,
    /// Limits.
    pub limits: LimitSettings,
    /// How long things are kept.
    pub retention: RetentionSettings,
}

/// SSH settings of the delegate inside the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshSettings {
    /// Policy.
    pub host_keys: HostKeys,
    /// Known-hosts files; empty: the usual ones.
    pub known_hosts: Vec<PathBuf>,
}

/// Kubernetes settings of the delegate inside the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSettings {
    /// Program `helm`; absent: the one in `PATH`, if it is there.
    pub helm: Option<PathBuf>,
    /// Kubeconfig; absent: the pod's service account, else the usual file.
    pub kubeconfig: Option<PathBuf>,
}

/// Limits that may be changed (`docs/limits.md`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Infrastructures in one selection (D6).
    pub legs_per_element: u32,
    /// Workflows that may wait for one infrastructure lock.
    pub lock_queue: u32,
    /// Seconds that a task waits for a delegate.
    pub delegate_wait_seconds: u64,
    /// Tasks that the delegate inside the server runs at once.
    pub delegate_tasks: u32,
}

/// How long things are kept (`docs/limits.md`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Days for which an execution that ended is kept, with its journal.
    pub executions_days: u32,
    /// Days for which its logs are kept.
    pub logs_days: u32,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { executions_days: 180, logs_days: 90 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("manifold-data"),
            database_url: None,
            node: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            account_id: None,
            admin_api_key_file: None,
            key_file: None,
            seed: None,
            delegate: false,
            no_delegate: false,
            tls_cert: None,
            tls_key: None,
            insecure_http: false,
            enable_test_kinds: false,
            log_format: LogFormat::default(),
            otlp_endpoint: None,
            log_bucket: None,
            ssh: SshSettings::default(),
            kubernetes: KubernetesSettings::default(),
            limits: LimitSettings::default(),
            retention: RetentionSettings::default(),
        }
    }
}

impl Default for SshSettings {
    fn default() -> Self {
        Self { host_keys: HostKeys::KnownHosts, known_hosts: Vec::new() }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { legs_per_element: 10_000, lock_queue: 20, delegate_wait_seconds: 600, delegate_tasks: 512 }
    }
}

/// Reads the file, if any, and lays the flags over it.
///
/// # Errors
/// The file cannot be read or holds what is not known; the address needs TLS.
pub fn settings(flags: ServerFlags) -> Result<Settings, Box<Problem>> {
    let mut settings = match &flags.config {
        Some(path) => file(path)?,
        None => Settings::default(),
    };
    overlay(&mut settings, flags);
    // Attempt folders are found again by their path after a restart from another folder.
    settings.data = std::path::absolute(&settings.data).unwrap_or(settings.data);
    settings.drivers().check()?;
    if settings.tls_cert.is_some() != settings.tls_key.is_some() {
        let problem =
            Problem::new(code!("TLS_FILES_INVALID"), "one of tls_cert and tls_key is set without the other");
        return Err(Box::new(problem.hint("give --tls-cert and --tls-key, or neither")));
    }
    if !settings.listen.ip().is_loopback() && settings.tls_cert.is_none() && !settings.insecure_http {
        return Err(Box::new(
            Problem::new(
                code!("INSECURE_LISTEN"),
                format!("refusing to listen on {} without TLS", settings.listen),
            )
            .hint("give --tls-cert and --tls-key, listen on a loopback address behind a TLS proxy, or say --insecure-http"),
        ));
    }
    Ok(settings)
}

fn file(path: &Path) -> Result<Settings, Box<Problem>> {
    let problem = |detail: String| {
        let what = format!("the configuration file {} is refused", path.display());
        let problem = Problem::new(code!("CONFIG_INVALID"), what).detail(detail);
        Box::new(problem.hint("compare with `manifold server --print-config`"))
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    toml::from_str(&text).map_err(|error| problem(error.to_string()))
}

fn overlay(settings: &mut Settings, flags: ServerFlags) {
    if let Some(data) = flags.data {
        settings.data = data;
    }
    if let Some(listen) = flags.listen {
        settings.listen = listen;
    }
    settings.database_url = flags.database_url.or(settings.database_url.take());
    settings.node = flags.node.or(settings.node.take());
    settings.public_url = flags.public_url.or(settings.public_url.take());
    settings.account_id = flags.account_id.or(settings.account_id.take());
    settings.admin_api_key_file = flags.admin_api_key_file.or(settings.admin_api_key_file.take());
    settings.key_file = flags.key_file.or(settings.key_file.take());
    settings.seed = flags.seed.or(settings.seed.take());
    settings.log_bucket = flags.log_bucket.or(settings.log_bucket.take());
    // Whoever says one of the two now means it, whatever the file says.
    settings.delegate = flags.delegate || (settings.delegate && !flags.no_delegate);
    settings.no_delegate = flags.no_delegate || (settings.no_delegate && !flags.delegate);
    settings.tls_cert = flags.tls_cert.or(settings.tls_cert.take());
    settings.tls_key = flags.tls_key.or(settings.tls_key.take());
    settings.insecure_http |= flags.insecure_http;
    settings.enable_test_kinds |= flags.enable_test_kinds;
    settings.log_format = flags.log_format.unwrap_or(settings.log_format);
    settings.otlp_endpoint = flags.otlp_endpoint.or(settings.otlp_endpoint.take());
    if let Some(host_keys) = flags.ssh_host_keys {
        settings.ssh.host_keys = host_keys;
    }
    settings.kubernetes.helm = flags.helm.or(settings.kubernetes.helm.take());
    settings.kubernetes.kubeconfig = flags.kubeconfig.or(settings.kubernetes.kubeconfig.take());
    if !flags.ssh_known_hosts.is_empty() {
        settings.ssh.known_hosts = flags.ssh_known_hosts;
    }
}

impl Settings {
    /// Whether a delegate runs inside the server: unless servers share the store (`design.md` 6), or as it is said.
    pub fn embeds_delegate(&self) -> bool {
        !self.no_delegate && (self.database_url.is_none() || self.delegate)
    }

    /// File with the administrator's API key.
    pub fn admin_key_path(&self) -> PathBuf {
        self.admin_api_key_file.clone().unwrap_or_else(|| self.data.join("admin-api-key"))
    }

    /// File with the key that wraps secret keys.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data.join("key"))
    }

    /// What the drivers of the delegate inside the server are told.
    pub fn drivers(&self) -> DriverSettings {
        DriverSettings {
            data: self.data.clone(),
            host_keys: self.ssh.host_keys,
            known_hosts: self.ssh.known_hosts.clone(),
            helm: self.kubernetes.helm.clone(),
            kubeconfig: self.kubernetes.kubeconfig.clone(),
            enable_test_kinds: self.enable_test_kinds,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifold.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\n[limits]\nlock_queue = 3\n").unwrap();
        let flags = ServerFlags {
            config: Some(path.clone()),
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..ServerFlags::default()
        };
        let settings = settings(flags).unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.limits.lock_queue, 3);
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nlisten_on = 3\n").unwrap();
        let refused =
            super::settings(ServerFlags { config: Some(path), ..ServerFlags::default() }).unwrap_err();
        assert!(refused.detail.unwrap().contains("line 2"));
    }

    #[test]
    fn the_programs_of_kubernetes_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("helm");
        std::fs::write(&here, "").unwrap();
        let with = |helm: &Path| settings(ServerFlags { helm: Some(helm.into()), ..ServerFlags::default() });
        assert_eq!(with(&here).unwrap().drivers().helm(), Some(here));
        let refused = with(&folder.path().join("none")).unwrap_err();
        assert!(refused.message.starts_with("helm is set to"), "{refused:?}");
    }

    #[test]
    fn an_open_address_without_tls_is_refused() {
        let open = |insecure_http| {
            settings(ServerFlags {
                listen: Some("0.0.0.0:1".parse().unwrap()),
                insecure_http,
                ..ServerFlags::default()
            })
        };
        assert_eq!(open(false).unwrap_err().code, code!("INSECURE_LISTEN"));
        assert!(open(true).is_ok());
    }

    #[test]
    fn servers_that_share_a_store_embed_a_delegate_only_when_asked_to() {
        let with = |database: bool, delegate, no_delegate| {
            let database_url = database.then(|| "postgres://me:s3cret@db/deploy".parse().unwrap());
            settings(ServerFlags { database_url, delegate, no_delegate, ..ServerFlags::default() }).unwrap()
        };
        assert!(with(false, false, false).embeds_delegate());
        assert!(!with(false, false, true).embeds_delegate());
        assert!(!with(true, false, false).embeds_delegate());
        let settings = with(true, true, false);
        assert!(settings.embeds_delegate());
        let printed = toml::to_string_pretty(&settings).unwrap();
        assert!(
            printed.contains("database_url = \"postgres://me@db/deploy\"") && !printed.contains("s3cret")
        );
    }
}
