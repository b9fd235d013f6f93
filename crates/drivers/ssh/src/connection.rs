//! Connections: dialling, host keys, signing in. Never without a limit, and never a key accepted in silence.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manifold_driver::{OpenCredential, Resolver};
use manifold_model::secret::SshMethod;
use manifold_model::task::HostTarget;
use manifold_model::{Failure, FailureClass, code};
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key};
use russh::{MethodKind, client};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::known_hosts::{KnownHosts, Verdict, fingerprint, line_of};

/// Bytes of a known-hosts file; a longer one is refused, not read in part.
const KNOWN_HOSTS_LIMIT: u64 = 16 * 1024 * 1024;
/// Rounds of keyboard-interactive questions answered with the password.
const QUESTION_ROUNDS: usize = 4;
/// A private key file is not longer than this.
const KEY_FILE_LIMIT: u64 = 64 * 1024;

/// What is done about host keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HostKeyPolicy {
    /// Only keys in the known-hosts files (or pinned on the target).
    #[default]
    KnownHosts,
    /// A host that nothing is known of is added to the first known-hosts file, with a line in the log. A changed key is refused as ever.
    AcceptNew,
}

/// Settings of the driver.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// Host keys.
    pub host_keys: HostKeyPolicy,
    /// Known-hosts files; the first is the one that `AcceptNew` appends to.
    pub known_hosts: Vec<PathBuf>,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For key exchange and signing in.
    pub handshake_timeout: Duration,
    /// Handshakes at once; sessions are not bounded, they cost 64 KiB each.
    pub handshakes_in_flight: usize,
    /// Bytes of files on their way to hosts at once, over all tasks.
    pub bytes_in_flight: usize,
    /// A keepalive after so long without a word from the host; after three without an answer the connection is lost.
    pub keepalive: Duration,
    /// Attempt folders on the hosts.
    pub attempts: manifold_driver::command::Settings,
}

impl Default for SshConfig {
    fn default() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        Self {
            host_keys: HostKeyPolicy::KnownHosts,
            known_hosts: vec![home.join(".ssh/known_hosts"), PathBuf::from("/etc/ssh/ssh_known_hosts")],
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(30),
            handshakes_in_flight: 64,
            bytes_in_flight: 64 * 1024 * 1024,
            keepalive: Duration::from_secs(15),
            attempts: manifold_driver::command::Settings::default(),
        }
    }
}

/// Makes connections.
pub struct Dialer {
    pub(crate) config: SshConfig,
    handshakes: Semaphore,
    /// One writer of the known-hosts file.
    accepting: tokio::sync::Mutex<()>,
}

/// An authenticated connection.
pub type Connection = Handle<Handler>;

/// Checks the host's key and keeps why it was refused.
pub struct Handler {
    known: KnownHosts,
    accepts_new: bool,
    host: String,
    port: u16,
    found: Arc<Mutex<Option<Found>>>,
}

enum Found {
    Refused(Failure),
    New(PublicKey),
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let found = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                match self.known.check(&self.host, self.port, key) {
                    Verdict::Trusted => None,
                    Verdict::Unknown if self.accepts_new => Some(Found::New(key.clone())),
                    verdict => Some(Found::Refused(refusal(&self.host, self.port, key, &verdict))),
                }
            }
            PublicKeyOrCertificate::Certificate(_) => Some(Found::Refused(Failure::new(
                FailureClass::Authentication,
                code!("HOST_KEY_UNTRUSTED"),
                format!("{}:{} offers a host certificate, which is not supported", self.host, self.port),
            ))),
        };
        let good = !matches!(found, Some(Found::Refused(_)));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(good)
    }
}

fn refusal(host: &str, port: u16, key: &PublicKey, verdict: &Verdict) -> Failure {
    let offered = fingerprint(key);
    let kind = key.algorithm();
    let (code, hint) = match verdict {
        Verdict::Changed { .. } => (
            code!("HOST_KEY_CHANGED"),
            "somebody may be listening in; when the host was really set up anew, replace its key in the known-hosts file or the pinned keys",
        ),
        Verdict::Unknown => (
            code!("HOST_KEY_UNKNOWN"),
            "compare the fingerprint with the host's own and add its key to the delegate's known-hosts file or pin it",
        ),
        _ => (code!("HOST_KEY_UNTRUSTED"), "give the known-hosts file a plain key of this host"),
    };
    let message =
        format!("{host}:{port} shows the {} key {offered}, which is not trusted: {verdict}", kind.as_str());
    Failure::new(FailureClass::Authentication, code, message).hint(hint)
}

/// `host`, `host:port`, `[address]:port` or a bare IPv6 address; the port is the credential's when none is given.
#[must_use]
pub fn host_and_port(text: &str, otherwise: u16) -> (String, u16) {
    let text = text.trim();
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
        return (host.to_owned(), port.unwrap_or(otherwise));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            Err(_) => (text.to_owned(), otherwise),
        },
        _ => (text.to_owned(), otherwise),
    }
}

impl Dialer {
    /// A dialler.
    #[must_use]
    pub fn new(config: SshConfig) -> Self {
        let handshakes = Semaphore::new(config.handshakes_in_flight.max(1));
        Self { config, handshakes, accepting: tokio::sync::Mutex::new(()) }
    }

    /// Connects and signs in with the target's credential.
    pub async fn dial(&self, target: &HostTarget, resolver: &dyn Resolver) -> Result<Connection, Failure> {
        let credential = resolver.ssh_credential(&target.credential).await?;
        self.dial_with(&target.host, &target.pinned_keys, &credential).await
    }

    /// Connects and signs in.
    pub async fn dial_with(
        &self,
        host: &str,
        pinned: &[String],
        credential: &OpenCredential,
    ) -> Result<Connection, Failure> {
        let (host, port) = host_and_port(host, credential.port);
        let known = self.known(pinned).await?;
        let _permit = self.handshakes.acquire().await.map_err(|_| {
            Failure::new(FailureClass::Delegate, code!("DELEGATE_STOPPING"), "the delegate is stopping")
        })?;
        let socket = self.connect(&host, port).await?;
        let limit = self.config.handshake_timeout;
        let handshake = self.handshake(socket, &host, port, known, pinned.is_empty(), credential);
        timeout(limit, handshake).await.map_err(|_| {
            let message =
                format!("{host}:{port} did not finish the SSH handshake within {} s", limit.as_secs());
            Failure::new(FailureClass::Connectivity, code!("HOST_UNREACHABLE"), message)
        })?
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let unreachable = |why: String| {
            Failure::new(
                FailureClass::Connectivity,
                code!("HOST_UNREACHABLE"),
                format!("cannot reach {host}:{port}: {why}"),
            )
            .hint("check the host's name, its port, and that the delegate's network reaches it")
        };
        let limit = self.config.connect_timeout;
        let socket = timeout(limit, TcpStream::connect((host, port)))
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", limit.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        socket.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        Ok(socket)
    }

    async fn handshake(
        &self,
        socket: TcpStream,
        host: &str,
        port: u16,
        known: KnownHosts,
        may_accept: bool,
        credential: &OpenCredential,
    ) -> Result<Connection, Failure> {
        let config = Arc::new(self.client_config(&known.key_types(host, port)));
        let found = Arc::new(Mutex::new(None));
        let handler = Handler {
            known,
            accepts_new: may_accept && self.config.host_keys == HostKeyPolicy::AcceptNew,
            host: host.to_owned(),
            port,
            found: Arc::clone(&found),
        };
        let connected = client::connect_stream(config, socket, handler).await;
        let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (found, connected) {
            (Some(Found::Refused(failure)), _) => Err(failure),
            (_, Err(error)) => Err(broken(host, port, &error)),
            (found, Ok(mut connection)) => {
                if let Some(Found::New(key)) = found {
                    self.accept(host, port, &key).await?;
                }
                sign_in(&mut connection, host, port, credential).await?;
                Ok(connection)
            }
        }
    }

    fn client_config(&self, known_types: &[String]) -> client::Config {
        let mut config = client::Config {
            nodelay: true,
            keepalive_interval: Some(self.config.keepalive),
            keepalive_max: 3,
            ..client::Config::default()
        };
        // A host with several keys must show one that is known, or it would look changed.
        let is_known = |algorithm: &russh::keys::Algorithm| {
            let name = if algorithm.clone().is_rsa() { "ssh-rsa" } else { algorithm.as_str() };
            known_types.iter().any(|known| known == name)
        };
        let mut algorithms = config.preferred.key.to_vec();
        algorithms.sort_by_key(|algorithm| !is_known(algorithm));
        config.preferred.key = algorithms.into();
        config
    }

    /// What is known: the pinned keys alone when there are any, else the files.
    async fn known(&self, pinned: &[String]) -> Result<KnownHosts, Failure> {
        if !pinned.is_empty() {
            return KnownHosts::pinned(pinned).map_err(|trouble| {
                Failure::new(
                    FailureClass::Authentication,
                    code!("KNOWN_HOSTS_UNREADABLE"),
                    trouble.to_string(),
                )
                .hint("a pinned key is a known-hosts line, `type base64`, or a SHA256 fingerprint")
            });
        }
        let mut known = KnownHosts::default();
        for file in &self.config.known_hosts {
            let name = file.display().to_string();
            let unreadable = |why: String| {
                let message = format!("cannot read the known-hosts file {name}: {why}");
                Failure::new(FailureClass::Authentication, code!("KNOWN_HOSTS_UNREADABLE"), message)
            };
            let text = match tokio::fs::metadata(file).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error.to_string())),
                Ok(facts) if facts.len() > KNOWN_HOSTS_LIMIT => {
                    return Err(unreadable(format!("it has more than {KNOWN_HOSTS_LIMIT} bytes")));
                }
                Ok(_) => {
                    tokio::fs::read_to_string(file).await.map_err(|error| unreadable(error.to_string()))?
                }
            };
            let (lines, troubles) = KnownHosts::read(&text, &name);
            for trouble in troubles {
                tracing::warn!(%trouble, "a known-hosts line is left out");
            }
            known.extend(lines);
        }
        Ok(known)
    }

    /// Makes a host known that nothing was known of.
    async fn accept(&self, host: &str, port: u16, key: &PublicKey) -> Result<(), Failure> {
        let failed = |why: String| {
            let message = format!("cannot make {host}:{port} known: {why}");
            Failure::new(FailureClass::Authentication, code!("KNOWN_HOSTS_UNREADABLE"), message)
        };
        let _one = self.accepting.lock().await;
        let file =
            self.config.known_hosts.first().ok_or_else(|| failed("there is no known-hosts file".into()))?;
        // Another task may have met the host first, and with another key.
        match self.known(&[]).await?.check(host, port, key) {
            Verdict::Trusted => return Ok(()),
            Verdict::Unknown => {}
            verdict => return Err(refusal(host, port, key, &verdict)),
        }
        let line = line_of(host, port, key).ok_or_else(|| failed("its key cannot be written".into()))?;
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| failed(error.to_string()))?;
        }
        let mut open = tokio::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .await
            .map_err(|error| failed(error.to_string()))?;
        open.write_all(line.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
        open.sync_all().await.map_err(|error| failed(error.to_string()))?;
        tracing::warn!(
            host,
            port,
            fingerprint = fingerprint(key),
            "a new host key was accepted, as configured"
        );
        Ok(())
    }
}

/// A connection that broke, as a failure.
pub(crate) fn broken(host: &str, port: u16, error: &russh::Error) -> Failure {
    let message = format!("the connection to {host}:{port} broke: {error}");
    Failure::new(FailureClass::Connectivity, code!("CONNECTION_LOST"), message)
}

async fn sign_in(
    connection: &mut Connection,
    host: &str,
    port: u16,
    credential: &OpenCredential,
) -> Result<(), Failure> {
    let user = credential.user_name.as_str();
    let refused = |how: &str| {
        let message = format!("{host}:{port} refused to let {user} in with {how}");
        Failure::new(FailureClass::Authentication, code!("SIGN_IN_REFUSED"), message).hint(
            "check the user name and the key or password of the SSH credential, and what the host allows",
        )
    };
    let lost = |error: russh::Error| broken(host, port, &error);
    if let SshMethod::Password { .. } = credential.method {
        let password = credential.secret.as_ref().ok_or_else(|| no_secret(credential))?.expose_text();
        let answer = connection.authenticate_password(user, password.as_str()).await.map_err(lost)?;
        return match answer {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { remaining_methods, .. }
                if remaining_methods.contains(&MethodKind::KeyboardInteractive)
                    && answer_questions(connection, user, &password).await.map_err(lost)? =>
            {
                Ok(())
            }
            AuthResult::Failure { .. } => Err(refused("a password")),
        };
    }
    let key = private_key(credential).await?;
    let shown = format!("the key {}", fingerprint(key.public_key()));
    let hash = if key.algorithm().is_rsa() {
        // Hosts that say nothing of their signatures are of an age that knows SHA-1 only.
        connection.best_supported_rsa_hash().await.map_err(lost)?.flatten()
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    match connection.authenticate_publickey(user, key).await.map_err(lost)? {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { .. } => Err(refused(&shown)),
    }
}

/// Answers every single question without echo with the password.
async fn answer_questions(
    connection: &mut Connection,
    user: &str,
    password: &str,
) -> Result<bool, russh::Error> {
    let mut answer = connection.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..QUESTION_ROUNDS {
        let answers = match &answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => match prompts.as_slice() {
                [] => Vec::new(),
                [prompt] if !prompt.echo => vec![password.to_owned()],
                // A second factor is nothing that a stored password answers.
                _ => return Ok(false),
            },
        };
        answer = connection.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(matches!(answer, KeyboardInteractiveAuthResponse::Success))
}

fn no_secret(credential: &OpenCredential) -> Failure {
    let message = format!("the SSH credential of {} has no key or password", credential.user_name);
    Failure::new(FailureClass::Authentication, code!("SSH_KEY_UNREADABLE"), message)
}

async fn private_key(credential: &OpenCredential) -> Result<russh::keys::PrivateKey, Failure> {
    let unreadable = |what: &str, why: String| {
        Failure::new(
            FailureClass::Authentication,
            code!("SSH_KEY_UNREADABLE"),
            format!("cannot read {what}: {why}"),
        )
        .hint("the key must be in OpenSSH or PEM form, with the right passphrase when it has one")
    };
    let passphrase = credential.passphrase.as_ref().map(manifold_driver::SecretBytes::expose_text);
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let (what, text) = match &credential.method {
        SshMethod::SshKeyFilePath { path, .. } => {
            let what = format!("the key file {path} on the delegate");
            let file = expanded(path);
            let facts =
                tokio::fs::metadata(&file).await.map_err(|error| unreadable(&what, error.to_string()))?;
            if facts.len() > KEY_FILE_LIMIT {
                return Err(unreadable(&what, format!("it has more than {KEY_FILE_LIMIT} bytes")));
            }
            let text = tokio::fs::read_to_string(&file)
                .await
                .map_err(|error| unreadable(&what, error.to_string()))?;
            (what, zeroize::Zeroizing::new(text))
        }
        _ => {
            let secret = credential.secret.as_ref().ok_or_else(|| no_secret(credential))?;
            ("the private key".to_owned(), secret.expose_text())
        }
    };
    decode_secret_key(&text, passphrase.filter(|passphrase| !passphrase.is_empty()))
        .map_err(|error| unreadable(&what, error.to_string()))
}

/// `~/` is the delegate's home.
pub(crate) fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports_in_every_form() {
        for (text, host, port) in [
            ("a", "a", 22),
            (" a:2222 ", "a", 2222),
            ("[::1]:2222", "::1", 2222),
            ("[::1]", "::1", 22),
            ("::1", "::1", 22),
            ("a:b", "a:b", 22),
        ] {
            assert_eq!(host_and_port(text, 22), (host.to_owned(), port));
        }
    }
}
