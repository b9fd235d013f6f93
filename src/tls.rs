//! HTTPS: certificate and key from files, read again when they change, and a listener that makes handshakes beside each other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use manifold_model::{Problem, code};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; more connections wait in the backlog.
const HANDSHAKES: usize = 256;
/// Connections that wait to be taken after their handshake.
const ACCEPTED: usize = 64;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate that is served, and where it is read again.
pub struct Served {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Served {
    /// Reads both files.
    ///
    /// # Errors
    /// `TLS_FILES_INVALID`: one cannot be read, or they do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Box<Problem>> {
        let current = Arc::new(Current(RwLock::new(Arc::new(pair(certificate, key)?))));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again at SIGHUP and when they have changed; what cannot be used changes nothing.
    async fn follow(self, shutdown: CancellationToken) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut seen = self.times();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                () = asked => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let times = self.times();
            if !asked && times == seen {
                continue;
            }
            seen = times;
            match pair(&self.certificate, &self.key) {
                Ok(pair) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                    tracing::info!("the certificate was read again");
                }
                Err(problem) => tracing::error!("the certificate stays as it was: {problem}"),
            }
        }
    }

    fn times(&self) -> [Option<std::time::SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|path| std::fs::metadata(path).and_then(|about| about.modified()).ok())
    }
}

fn pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, Box<Problem>> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error.to_string()))?;
    let provider = CryptoProvider::get_default().ok_or_else(|| unusable(key, "TLS has no provider"))?;
    let pair = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        unusable(key, &format!("it does not belong to {}: {error}", certificate.display()))
    })?;
    Ok(pair)
}

/// Certificates of a PEM file, at least one.
///
/// # Errors
/// `TLS_FILES_INVALID`.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Box<Problem>> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    let chain = chain.map_err(|error| unusable(path, &error.to_string()))?;
    if chain.is_empty() { Err(unusable(path, "it holds no certificate")) } else { Ok(chain) }
}

fn unusable(path: &Path, why: &str) -> Box<Problem> {
    let what = format!("{} cannot be used for TLS", path.display());
    let problem = Problem::new(code!("TLS_FILES_INVALID"), what).detail(why);
    Box::new(
        problem.hint("give the certificate chain and its private key as PEM files that this user can read"),
    )
}

/// Connections whose handshake is done.
pub struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

/// Serves TLS on a listener until the shutdown.
///
/// # Errors
/// The listener's address cannot be read.
pub fn listen(
    listener: TcpListener,
    served: Served,
    shutdown: CancellationToken,
) -> std::io::Result<TlsListener> {
    let address = listener.local_addr()?;
    let resolver = Arc::clone(&served.current) as Arc<dyn ResolvesServerCert>;
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (sender, accepted) = mpsc::channel(ACCEPTED);
    tokio::spawn(served.follow(shutdown.clone()));
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sender, shutdown));
    Ok(TlsListener { address, accepted })
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = shutdown.cancelled() => return,
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // The server has ended meanwhile: nobody takes it any more.
                Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
            drop(place);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Only at the shutdown, which axum hears of by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
