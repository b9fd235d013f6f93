//! Wiring of one server: store, logs, vault, control, runtime, the delegate inside, HTTP. Nothing is decided here.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use manifold_control::{Control, Limits, Parts};
use manifold_model::{Code, Problem, code};
use manifold_runtime::{Config, Delegates, Offer, Retention, Runtime};
use manifold_secrets::Key;
use manifold_store::Store;
use manifold_store::clock::{Clock, StoreClock, SystemClock};
use manifold_store::logs::LogStore;
use manifold_store::postgres::PostgresStore;
use manifold_store::sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::door::Door;
use crate::tls::TlsListener;
use crate::{admin_key, embedded, tls};

/// A day of the retention.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Workers that advance executions.
const WORKERS: usize = 2;
/// How long requests may take to end once a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The administrator's API key.
    pub admin_key: String,
    /// Account id.
    pub account: String,
    shutdown: CancellationToken,
    http: JoinHandle<std::io::Result<()>>,
    delegate: Option<JoinHandle<()>>,
    runtime: Runtime,
    door: Arc<Door>,
    /// Sends traces to their collector.
    exporter: Option<JoinHandle<()>>,
    /// Held while the server runs, where the store does not hold one.
    _lock: Option<File>,
}

/// Starts a server. Nothing is listened on before all of it stands.
///
/// # Errors
/// A folder, the key, the store or the address cannot be used, or the seed is refused.
pub async fn start(settings: Settings) -> Result<Server> {
    let shutdown = CancellationToken::new();
    let identity = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(tls::Served::read(certificate, key).map_err(|problem| *problem)?)
        }
        _ => None,
    };
    let Opened { store, logs, clock, store_clock, lock } = open_store(&settings).await?;
    let vault = vault(&*store, &settings).await?;
    let account = account(&*store, &settings).await?;
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("listen on {}", settings.listen))?;
    let address = listener.local_addr().context("read the address listened on")?;
    let delegates = Arc::new(Delegates::default());
    let control = Arc::new(Control::new(Parts {
        store: Arc::clone(&store),
        logs: logs.clone(),
        vault,
        kinds: Arc::new(Offer(Arc::clone(&delegates))),
        clock: Arc::clone(&clock),
        account: account.clone(),
        public_url: public_url(&settings, address),
        limits: limits(&settings),
    }));
    let node = node(&*store, &settings).await?;
    let sharing = settings.database_url.is_some().then_some(node.as_str());
    let admin_key = admin_key::ensure(&control, &settings.admin_key_path(), sharing).await?;
    let (traces, exporter) = match &settings.otlp_endpoint {
        Some(endpoint) => {
            let (spans, exporter) =
                crate::telemetry::traces(endpoint, shutdown.clone()).map_err(|problem| *problem)?;
            (Some(spans), Some(exporter))
        }
        None => (None, None),
    };
    let config = Config { traces, ..runtime_config(&settings, node.clone(), clock, store_clock) };
    let runtime =
        Runtime::start(store, logs, Arc::clone(&control), Arc::clone(&delegates), config, shutdown.clone())
            .await
            .context("start the runtime")?;
    let embeds = settings.embeds_delegate();
    let delegate = embeds
        .then(|| tokio::spawn(embedded::run(runtime.clone(), settings.clone(), node, shutdown.clone())));
    if let Some(seed) = &settings.seed {
        crate::seed::import(&control, seed).await?;
    }
    let door = Arc::new(Door::new(runtime.clone()));
    let measured = runtime.clone();
    let options = manifold_api::Options {
        version: env!("CARGO_PKG_VERSION"),
        shutdown: shutdown.clone(),
        ready: ready(runtime.clone(), delegates, embeds),
        more_metrics: Arc::new(move || {
            let measured = measured.clone();
            Box::pin(async move { measured.metrics().await })
        }),
        delegates: Arc::clone(&door) as Arc<dyn manifold_api::delegates::Door>,
    };
    let router = manifold_api::router(control, options);
    let (scheme, http) = match identity {
        None => ("http", tokio::spawn(serve(listener, router, shutdown.clone()))),
        Some(identity) => {
            let listener = tls::listen(listener, identity, shutdown.clone())?;
            ("https", tokio::spawn(serve(listener, router, shutdown.clone())))
        }
    };
    Ok(Server {
        address,
        scheme,
        admin_key,
        account,
        shutdown,
        http,
        delegate,
        runtime,
        door,
        exporter,
        _lock: lock,
    })
}

/// Whether the server can take work: it holds its lease, the store confirmed that lately, and the delegate inside, if there is one, is connected.
fn ready(runtime: Runtime, delegates: Arc<Delegates>, embeds: bool) -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(move || runtime.stands() && (!embeds || delegates.any()))
}

impl Server {
    /// Waits until HTTP ends by itself, which only an error of the system makes it do.
    ///
    /// # Errors
    /// That error.
    pub async fn ended(&mut self) -> Result<()> {
        (&mut self.http).await.context("serve HTTP")?.context("serve HTTP")
    }

    /// Stops: no new requests, delegates let go, workers end. What was running goes on at the next start.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Some(delegate) = self.delegate {
            let _late = tokio::time::timeout(DRAIN, delegate).await;
        }
        let _late = tokio::time::timeout(DRAIN, self.door.ended()).await;
        let _late = tokio::time::timeout(DRAIN, self.http).await;
        let _late = tokio::time::timeout(DRAIN, self.runtime.ended()).await;
        if let Some(exporter) = self.exporter {
            let _late = tokio::time::timeout(DRAIN, exporter).await;
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
struct Remote(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Tells handlers where a request comes from.
async fn tell_peer(
    ConnectInfo(Remote(peer)): ConnectInfo<Remote>,
    mut request: axum::extract::Request,
) -> axum::extract::Request {
    request.extensions_mut().insert(manifold_api::delegates::Peer(peer));
    request
}

async fn serve<L>(listener: L, router: axum::Router, shutdown: CancellationToken) -> std::io::Result<()>
where
    L: axum::serve::Listener<Addr = SocketAddr>,
    Remote: for<'a> Connected<IncomingStream<'a, L>>,
{
    let router = router.layer(axum::middleware::map_request(tell_peer));
    let service = router.into_make_service_with_connect_info::<Remote>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The store, the logs beside it, and the time by its clock.
struct Opened {
    store: Arc<dyn Store>,
    logs: LogStore,
    clock: Arc<dyn Clock>,
    /// The clock, when it has to be told what the store's says.
    store_clock: Option<Arc<StoreClock>>,
    lock: Option<File>,
}

async fn open_store(settings: &Settings) -> Result<Opened> {
    let folder = &settings.data;
    crate::folder::private(folder).with_context(|| format!("make {}", folder.display()))?;
    let Some(url) = &settings.database_url else {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&folder.join("manifold.db"), Arc::clone(&clock)).await;
        let store = Arc::new(store.map_err(|error| refused(error.code(), &error))?);
        let logs = LogStore::open(&folder.join("logs")).context("open the logs")?;
        return Ok(Opened { store, logs, clock, store_clock: None, lock: None });
    };
    // The folder holds the node id: two processes must not run under one.
    let lock = crate::folder::lock(folder).with_context(|| format!("lock {}", folder.display()))?;
    let lock = lock.ok_or_else(|| {
        let error = manifold_store::sqlite::OpenError::Locked(folder.clone());
        refused(error.code(), &error)
    })?;
    let store = PostgresStore::open(url.expose()).await.map_err(|error| refused(error.code(), &error))?;
    let logs = match &settings.log_bucket {
        Some(url) => LogStore::in_bucket(url).map_err(|error| {
            let problem = Problem::new(code!("CONFIG_INVALID"), "the bucket for logs cannot be used");
            problem
                .detail(error.to_string())
                .hint("correct log_bucket, or leave it out: logs then rest in the database")
        })?,
        None => store.logs(),
    };
    let now = store.now().await.context("read the store's clock")?;
    let clock = Arc::new(StoreClock::new(now));
    Ok(Opened {
        store: Arc::new(store),
        logs,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        store_clock: Some(clock),
        lock: Some(lock),
    })
}

/// The key that wraps secret keys; a store that was sealed with another one is refused.
async fn vault(store: &dyn Store, settings: &Settings) -> Result<Key> {
    let path = settings.key_path();
    // In this order: whoever wrote the id made the file before, if it is one that servers share.
    let known = store.setting("key_id").await.context("read the key's id")?;
    if let Some(id) = known.filter(|_| settings.database_url.is_some() && !path.exists()) {
        // Another server has sealed with its key already; one made here would open nothing.
        let what = format!("the store is sealed with the key {id}, and {} does not exist", path.display());
        let problem = Problem::new(manifold_model::code!("KEY_OTHER"), what);
        return Err(problem
            .hint("copy the key file of the first server, and name it with --key-file")
            .into());
    }
    let key = Key::load_or_create(&path).map_err(|error| refused(error.code(), &error))?;
    let kept = store.put_setting("key_id", key.id().as_str(), true).await.context("read the key's id")?;
    manifold_secrets::key::check_key_id(Some(&kept), &key).map_err(|error| refused(error.code(), &error))?;
    Ok(key)
}

/// The account of the store: that of the first start holds.
async fn account(store: &dyn Store, settings: &Settings) -> Result<String> {
    let wanted =
        settings.account_id.clone().unwrap_or_else(|| manifold_model::EntityId::random().to_string());
    let holds = store.put_setting("account_id", &wanted, true).await.context("read the account id")?;
    if settings.account_id.as_ref().is_some_and(|given| *given != holds) {
        anyhow::bail!("the store belongs to account {holds}, not to {wanted}; leave --account-id out");
    }
    Ok(holds)
}

/// The node id. A store that one server has kept it for earlier servers of this folder.
async fn node(store: &dyn Store, settings: &Settings) -> Result<String> {
    let known = match settings.database_url {
        Some(_) => None,
        None => store.setting("node_id").await.context("read the node id")?,
    };
    crate::node::ensure(settings.node.as_deref(), &settings.data, known)
}

fn runtime_config(
    settings: &Settings,
    node: String,
    clock: Arc<dyn Clock>,
    store_clock: Option<Arc<StoreClock>>,
) -> Config {
    Config {
        node,
        workers: WORKERS,
        delegate_wait: Duration::from_secs(settings.limits.delegate_wait_seconds),
        lock_queue_limit: settings.limits.lock_queue,
        clock: Arc::new(move || clock.now()),
        store_clock,
        retention: Retention {
            executions: DAY.saturating_mul(settings.retention.executions_days.max(1)),
            logs: DAY.saturating_mul(settings.retention.logs_days.max(1)),
        },
        traces: None,
    }
}

/// Why the server does not start, with its stable code.
fn refused(code: Code, error: &(dyn std::error::Error + 'static)) -> Problem {
    let hint = format!("`manifold explain {code}` says what to do");
    let problem = Problem::new(code, error.to_string()).hint(hint);
    match error.source() {
        Some(cause) => problem.detail(cause.to_string()),
        None => problem,
    }
}

/// How people reach the server: as the settings say, else where it listens.
fn public_url(settings: &Settings, address: SocketAddr) -> String {
    match &settings.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if settings.tls_cert.is_some() => format!("https://{address}"),
        None => format!("http://{address}"),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        infrastructures_per_stage: settings.limits.legs_per_element,
        lock_queue: settings.limits.lock_queue,
        ..Limits::default()
    }
}
