//! What goes wrong in a run, and when: a schedule from the seed. Everything heals with the end of the window.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use manifold_model::request::{Action, Request};
use manifold_store::{InboxItem, Store};

use crate::Sim;
use crate::site::{DelegateSite, ServerSite};
use crate::trace::note;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    ServerCrash,
    ServerRestart,
    ServerStall,
    DelegateCrash,
    Partition,
    Cut,
    SlowDisk,
    FailingDisk,
    Losses,
    Duplicates,
    HintsLost,
    ClockJump,
    Ask,
}

const ALL: [Fault; 13] = [
    Fault::ServerCrash,
    Fault::ServerRestart,
    Fault::ServerStall,
    Fault::DelegateCrash,
    Fault::Partition,
    Fault::Cut,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::Losses,
    Fault::Duplicates,
    Fault::HintsLost,
    Fault::ClockJump,
    Fault::Ask,
];

/// Most faults of a run.
const MOST: u64 = 14;
/// Longest that one lasts, milliseconds: a server's lease holds 10 s.
const LONGEST_MS: u64 = 25_000;
/// Most that the clock is set forward at once, seconds.
const JUMP_SECONDS: u64 = 30;

/// The machines of a run.
#[derive(Clone)]
pub(crate) struct Sites {
    pub(crate) servers: Arc<Vec<ServerSite>>,
    pub(crate) delegates: Arc<Vec<Arc<DelegateSite>>>,
}

/// Starts the schedule of a run whose window ends after `window`.
pub(crate) fn schedule(sim: &Arc<Sim>, sites: &Sites, window: Duration) {
    let length = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
    for _ in 0..sim.chance.within(0..MOST) {
        let Some(fault) = sim.chance.one_of(&ALL).copied() else { return };
        let at = sim.chance.within(0..length);
        let lasts = sim.chance.within(50..LONGEST_MS).min(length - at);
        let (sim, sites) = (Arc::clone(sim), sites.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            inject(&sim, &sites, fault, Duration::from_millis(lasts)).await;
        });
    }
}

async fn inject(sim: &Arc<Sim>, sites: &Sites, fault: Fault, lasts: Duration) {
    let server = sim.chance.one_of(&sites.servers);
    let delegate = sim.chance.below(sites.delegates.len());
    let (Some(server), Some(site)) = (server, sites.delegates.get(delegate)) else { return };
    note!(sim, "fault {fault:?} for {} ms", lasts.as_millis());
    sim.trace.fault(name(fault));
    match fault {
        Fault::ServerCrash | Fault::ServerRestart => {
            if matches!(fault, Fault::ServerRestart) {
                server.leave(sim).await;
            } else {
                server.crash(sim);
            }
            tokio::time::sleep(lasts).await;
            server.boot(sim).await;
        }
        Fault::ServerStall => {
            let gate = server.gate();
            gate.shut();
            tokio::time::sleep(lasts).await;
            gate.reopen();
            note!(sim, "{} goes on", server.name());
        }
        Fault::DelegateCrash => {
            site.crash(sim);
            tokio::time::sleep(lasts).await;
            site.boot(sim, &sites.servers);
        }
        Fault::Partition => {
            let way = sim.network.way(delegate, server.index);
            way.shut();
            tokio::time::sleep(lasts).await;
            way.reopen();
        }
        Fault::Cut => sim.network.cut(delegate),
        Fault::SlowDisk => {
            let most = sim.chance.within(100..4_000);
            sim.disk.slow_ms.store(most, Ordering::Relaxed);
            tokio::time::sleep(lasts).await;
            sim.disk.slow_ms.store(0, Ordering::Relaxed);
        }
        Fault::ClockJump => {
            sim.clock.jump(Duration::from_secs(sim.chance.within(1..JUMP_SECONDS)));
        }
        Fault::Ask => ask(sim).await,
        Fault::FailingDisk => during(&sim.disk.failing, lasts / 4).await,
        Fault::Losses => during(&sim.network.losses, lasts).await,
        Fault::Duplicates => during(&sim.network.duplicates, lasts).await,
        Fault::HintsLost => during(&sim.hints_lost, lasts).await,
    }
}

async fn during(flag: &std::sync::atomic::AtomicBool, lasts: Duration) {
    flag.store(true, Ordering::Relaxed);
    tokio::time::sleep(lasts).await;
    flag.store(false, Ordering::Relaxed);
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::ServerCrash => "server crash",
        Fault::ServerRestart => "server restart",
        Fault::ServerStall => "server stall",
        Fault::DelegateCrash => "delegate crash",
        Fault::Partition => "partition",
        Fault::Cut => "cut",
        Fault::SlowDisk => "slow disk",
        Fault::FailingDisk => "failing disk",
        Fault::Losses => "losses",
        Fault::Duplicates => "duplicates",
        Fault::HintsLost => "hints lost",
        Fault::ClockJump => "clock jump",
        Fault::Ask => "request of a person",
    }
}

/// A person asks something of some execution.
async fn ask(sim: &Arc<Sim>) {
    let executions = sim.checks.executions();
    let Some(execution) = sim.chance.one_of(&executions) else { return };
    let actions = [Action::Abort, Action::Pause, Action::Continue, Action::Rollback];
    let Some(action) = sim.chance.one_of(&actions).cloned() else { return };
    note!(sim, "somebody asks {action:?} of {execution}");
    let request = Request { action, by: "somebody".to_owned(), reason: String::new() };
    if let Err(error) = sim.open().send(execution, InboxItem::Request { request }).await {
        note!(sim, "it cannot be asked: {error}");
    }
}

/// Heals everything.
pub(crate) async fn heal(sim: &Arc<Sim>, sites: &Sites) {
    sim.disk.slow_ms.store(0, Ordering::Relaxed);
    for flag in [&sim.disk.failing, &sim.network.losses, &sim.network.duplicates, &sim.hints_lost] {
        flag.store(false, Ordering::Relaxed);
    }
    heal_again(sim, sites).await;
    note!(sim, "everything is healed");
}

/// Heals what a fault that began before the end of the window has done after it.
pub(crate) async fn heal_again(sim: &Arc<Sim>, sites: &Sites) {
    for server in sites.servers.iter() {
        for delegate in 0..sim.delegates {
            sim.network.way(delegate, server.index).reopen();
        }
        server.gate().reopen();
        server.boot(sim).await;
    }
    for delegate in sites.delegates.iter() {
        delegate.boot(sim, &sites.servers);
    }
}
