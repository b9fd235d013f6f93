//! The whole system from one seed: the real runtime, delegates, store and engine on a simulated clock, network, disk and world
//! (`docs/simulation.md`). The same seed gives the same run. Tests only.

mod chance;
mod checks;
mod clock;
mod disk;
mod end;
mod faults;
mod gate;
mod person;
mod scenario;
mod site;
mod trace;
mod watched;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use manifold_store::Store;
use manifold_store::sqlite::{Image, SqliteStore};

use chance::Chance;
use checks::Checks;
use clock::SimClock;
use disk::Disk;
use faults::Sites;
use site::{DelegateSite, ServerSite};
pub use trace::Violation;
use trace::{Trace, note};
use wire::Network;
use world::World;

/// A defect that is planted to see whether it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Plant {
    /// None.
    #[default]
    Nothing,
    /// The check of fences is lost: what a stale holder writes is let through.
    LostFence,
    /// The check of the expected sequence number is lost: who comes second appends once more.
    DoubleAppend,
    /// A wake-up is missed: hints that something came for an execution are lost, and nobody looks.
    MissedWakeUp,
}

/// How a run is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What is planted.
    pub plant: Plant,
    /// Whether the trace is printed as it comes.
    pub loud: bool,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Hash over the whole trace: the same seed gives the same one.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// The last of them.
    pub last: Vec<String>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Simulated time.
    pub simulated: Duration,
    /// Servers, delegates, executions.
    pub size: (usize, usize, usize),
}

/// Everything that the parts of a run share.
pub(crate) struct Sim {
    pub(crate) chance: Chance,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) trace: Trace,
    pub(crate) disk: Disk,
    pub(crate) network: Network,
    pub(crate) world: World,
    pub(crate) checks: Checks,
    pub(crate) image: Image,
    pub(crate) plant: Plant,
    /// How many delegates there are.
    pub(crate) delegates: usize,
    /// Whether hints get lost now.
    pub(crate) hints_lost: AtomicBool,
    /// Where logs lie.
    pub(crate) folder: PathBuf,
}

impl Sim {
    /// A store on the image that is nobody's: no disk is slow for it.
    pub(crate) fn open(&self) -> SqliteStore {
        let clock = Arc::clone(&self.clock);
        self.image.open(Arc::new(move || clock.now()))
    }

    pub(crate) fn losing_hints(&self) -> bool {
        self.hints_lost.load(Ordering::Relaxed)
    }

    /// Ends the wire between a delegate and a server that died, after a while.
    pub(crate) fn hang_up(self: &Arc<Self>, delegate: usize, server: usize, after: Duration) {
        let Some(wire) = self.network.wire(delegate, server) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            wire.cancel();
        });
    }
}

/// Runs one seed.
///
/// # Errors
/// The simulation itself cannot be set up; what it finds is in the report.
pub fn run(seed: u64, options: Options) -> Result<Report> {
    let folder = tempfile::tempdir().context("make a folder for logs")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("make a runtime")?;
    runtime.block_on(simulate(seed, options, folder.path().to_owned()))
}

async fn simulate(seed: u64, options: Options, folder: PathBuf) -> Result<Report> {
    let chance = Chance::new(seed);
    let clock = SimClock::start();
    let plan = Arc::new(scenario::plan(&chance));
    let (servers, delegates) = (chance.within(1..4), chance.within(1..4));
    let sim = Arc::new(Sim {
        trace: Trace::new(Arc::clone(&clock), options.loud),
        disk: Disk::default(),
        network: Network::default(),
        world: World::default(),
        checks: Checks::new(Arc::clone(&plan)),
        image: Image::new().context("make the database")?,
        plant: options.plant,
        delegates: usize::try_from(delegates)?,
        hints_lost: AtomicBool::new(false),
        folder,
        clock,
        chance,
    });
    let sites = Sites {
        servers: Arc::new((0..usize::try_from(servers)?).map(ServerSite::new).collect()),
        delegates: Arc::new(
            (0..sim.delegates).map(|index| Arc::new(DelegateSite::new(&sim, index))).collect(),
        ),
    };
    note!(sim, "{servers} servers, {delegates} delegates, {} legs", plan.legs());
    begin(&sim, &sites, &plan).await?;
    let window = Duration::from_millis(sim.chance.within(3_000..45_000));
    faults::schedule(&sim, &sites, window);
    tokio::spawn(person::watch(Arc::clone(&sim)));
    end::reached(&sim, &sites, window).await?;
    let told = sim.trace.told();
    Ok(Report {
        seed,
        hash: told.hash,
        lines: told.lines,
        last: told.last,
        faults: told.faults,
        violation: told.violation,
        simulated: sim.clock.elapsed(),
        size: (sites.servers.len(), sim.delegates, sim.checks.executions().len()),
    })
}

/// Starts the machines and what they are to do.
async fn begin(sim: &Arc<Sim>, sites: &Sites, plan: &manifold_model::plan::Plan) -> Result<()> {
    let store = sim.open();
    store.create_constraint(scenario::constraint(&sim.chance)).await.context("make a constraint")?;
    for server in sites.servers.iter() {
        server.boot(sim).await;
    }
    for delegate in sites.delegates.iter() {
        delegate.boot(sim, &sites.servers);
    }
    let pipelines = 1 + usize::from(sim.chance.percent(30));
    for number in 0..pipelines {
        let new = scenario::execution(plan, number)?;
        sim.checks.created(sim, &new);
        store.create_execution(new).await.context("start a pipeline")?;
    }
    Ok(())
}
