//! The machines: servers and delegates that run the real code, crash, stand still and come back.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manifold_control::{Control, Limits, Parts};
use manifold_delegate::{Delegate, DelegateConfig, MemorySpool};
use manifold_model::DelegateId;
use manifold_runtime::{Config, Delegates, Offer, Origin, Retention, Runtime, serve_delegate};
use manifold_secrets::Key;
use manifold_store::Store;
use manifold_store::logs::LogStore;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::trace::note;
use crate::watched::Watched;
use crate::world::WorldDriver;
use crate::{Sim, clock, wire};

/// Workers of a server.
const WORKERS: usize = 2;
/// How long a task waits for a delegate: longer than any fault lasts.
const DELEGATE_WAIT: Duration = Duration::from_secs(240);
/// How long a driver may take to stop.
const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// Longest pause before a delegate dials again, milliseconds.
const REDIAL_MS: u64 = 3_000;
/// Longest until the death of a server is seen at the other end of a connection, milliseconds: the next sign of life is refused.
const UNSEEN_MS: u64 = 20_000;
/// Pause before a server that could not start is started again.
const START_AGAIN: Duration = Duration::from_millis(700);

/// A machine with a server.
pub(crate) struct ServerSite {
    pub(crate) index: usize,
    name: String,
    life: Mutex<ServerLife>,
}

struct ServerLife {
    gate: Arc<Gate>,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
}

impl ServerSite {
    pub(crate) fn new(index: usize) -> Self {
        let gate = Arc::new(Gate::open());
        gate.go();
        let life = ServerLife { gate, shutdown: CancellationToken::new(), runtime: None };
        Self { index, name: format!("s{index}"), life: Mutex::new(life) }
    }

    /// Starts the server, again if need be. Does nothing while it runs.
    pub(crate) async fn boot(&self, sim: &Arc<Sim>) {
        while self.gate().is_gone() {
            let gate = Arc::new(Gate::open());
            let shutdown = CancellationToken::new();
            *self.life() = ServerLife { gate: Arc::clone(&gate), shutdown: shutdown.clone(), runtime: None };
            match self.start(sim, &gate, &shutdown).await {
                Ok(runtime) => {
                    if !gate.is_gone() {
                        note!(sim, "{} is up", self.name);
                        self.life().runtime = Some(runtime);
                    }
                }
                Err(error) => {
                    note!(sim, "{} does not start: {error}", self.name);
                    gate.go();
                    shutdown.cancel();
                    tokio::time::sleep(START_AGAIN).await;
                }
            }
        }
    }

    async fn start(
        &self,
        sim: &Arc<Sim>,
        gate: &Arc<Gate>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Runtime> {
        let store: Arc<dyn Store> = Arc::new(Watched::new(sim, &self.name, gate));
        let logs = LogStore::inline(&Path::new(&sim.folder).join(&self.name))?;
        let delegates = Arc::new(Delegates::default());
        let time = Arc::clone(&sim.clock);
        let control = Arc::new(Control::new(Parts {
            store: Arc::clone(&store),
            logs: logs.clone(),
            vault: Key::random()?,
            kinds: Arc::new(Offer(Arc::clone(&delegates))),
            clock: Arc::new(move || time.now()),
            account: "account".to_owned(),
            public_url: String::new(),
            limits: Limits::default(),
        }));
        let time = Arc::clone(&sim.clock);
        let config = Config {
            node: self.name.clone(),
            workers: WORKERS,
            delegate_wait: DELEGATE_WAIT,
            lock_queue_limit: 20,
            clock: Arc::new(move || time.now()),
            store_clock: None,
            // Nothing gets so old in a run.
            retention: Retention::default(),
            traces: None,
        };
        Ok(Runtime::start(store, logs, control, delegates, config, shutdown.clone()).await?)
    }

    /// Kills the server: nothing that it would do from here on happens.
    pub(crate) fn crash(&self, sim: &Arc<Sim>) {
        let life = self.life();
        life.gate.go();
        // What is left of it in memory ends at its next step.
        life.shutdown.cancel();
        drop(life);
        note!(sim, "{} crashes", self.name);
        for delegate in 0..sim.delegates {
            let way = sim.network.way(delegate, self.index);
            let seen = sim.chance.percent(50) && way.is_open();
            let wait = if seen { 0 } else { sim.chance.within(0..UNSEEN_MS) };
            sim.hang_up(delegate, self.index, Duration::from_millis(wait));
        }
    }

    /// Ends the server as an operator does, then kills what is left.
    pub(crate) async fn leave(&self, sim: &Arc<Sim>) {
        let (runtime, shutdown) = {
            let life = self.life();
            (life.runtime.clone(), life.shutdown.clone())
        };
        note!(sim, "{} is asked to end", self.name);
        shutdown.cancel();
        if let Some(runtime) = runtime {
            let _late = tokio::time::timeout(Duration::from_secs(10), runtime.ended()).await;
        }
        self.crash(sim);
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.life().gate)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn runtime(&self) -> Option<(Runtime, Arc<Gate>)> {
        let life = self.life();
        (!life.gate.is_gone()).then(|| Some((life.runtime.clone()?, Arc::clone(&life.gate)))).flatten()
    }

    fn life(&self) -> std::sync::MutexGuard<'_, ServerLife> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine with a delegate.
pub(crate) struct DelegateSite {
    index: usize,
    name: String,
    max_tasks: u32,
    /// What outlives a crash, when the delegate keeps its outcomes on disk.
    spool: Option<Arc<MemorySpool>>,
    life: Mutex<DelegateLife>,
}

#[derive(Default)]
struct DelegateLife {
    number: u32,
    running: Option<AbortHandle>,
}

impl DelegateSite {
    pub(crate) fn new(sim: &Sim, index: usize) -> Self {
        let spool = sim.chance.percent(50).then(|| Arc::new(MemorySpool::default()));
        let max_tasks = u32::try_from(sim.chance.within(1..9)).unwrap_or(1);
        Self { index, name: format!("d{index}"), max_tasks, spool, life: Mutex::default() }
    }

    /// Starts the delegate. Does nothing while it runs.
    pub(crate) fn boot(self: &Arc<Self>, sim: &Arc<Sim>, servers: &Arc<Vec<ServerSite>>) {
        let mut life = self.life();
        if life.running.is_some() {
            return;
        }
        life.number += 1;
        let mut config = DelegateConfig::new(DelegateId::derived(&["delegate", &self.name]), &*self.name);
        config.max_tasks = self.max_tasks;
        config.cancel_grace = CANCEL_GRACE;
        config.clock = clock::here;
        if let Some(spool) = &self.spool {
            config.spool = Arc::clone(spool) as Arc<_>;
        }
        let life_name = format!("{}/{}", self.name, life.number);
        note!(sim, "{life_name} is up with {} places", self.max_tasks);
        let driver = WorldDriver { sim: Arc::clone(sim), life: life_name, places: self.max_tasks };
        let delegate = Delegate::new(config, vec![Arc::new(driver)]);
        let running = dial(Arc::clone(sim), self.index, delegate, Arc::clone(servers));
        life.running = Some(tokio::spawn(running).abort_handle());
    }

    /// Kills the delegate; what it began in the world goes on.
    pub(crate) fn crash(&self, sim: &Arc<Sim>) {
        if let Some(running) = self.life().running.take() {
            note!(sim, "{} crashes", self.name);
            running.abort();
        }
    }

    fn life(&self) -> std::sync::MutexGuard<'_, DelegateLife> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to one server after another for as long as the delegate lives.
async fn dial(sim: Arc<Sim>, index: usize, delegate: Delegate, servers: Arc<Vec<ServerSite>>) {
    loop {
        let server = sim.chance.one_of(&servers).and_then(|site| Some((site.index, site.runtime()?)));
        if let Some((server, (runtime, gate))) = server
            && sim.network.way(index, server).is_open()
        {
            let (ours, theirs) = wire::lay(&sim, (index, server), &gate);
            let (serving, name) = (Arc::clone(&sim), format!("s{server}"));
            tokio::spawn(async move {
                let ended = serve_delegate(&runtime, theirs, Origin::Inside).await;
                note!(serving, "{name} no longer serves d{index}: {ended:?}");
            });
            let ended = delegate.run(ours, CancellationToken::new()).await;
            note!(sim, "d{index} lost s{server}: {ended:?}");
        }
        tokio::time::sleep(Duration::from_millis(sim.chance.within(1..REDIAL_MS))).await;
    }
}
