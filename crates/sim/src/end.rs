//! The end of a run: a fair schedule comes to it, and it leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use manifold_store::Store;
use manifold_store::sqlite::Census;

use crate::faults::{self, Sites};
use crate::{Plant, Sim};

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// By when everything has ended once nothing goes wrong any more: attempts that each wait a minute for permits add up.
const FAIR: Duration = Duration::from_secs(3_600);
/// By when what an ended run leaves has been cleared away.
const CLEARED: Duration = Duration::from_secs(300);
/// Events read at once.
const EVENTS: u32 = 1_000;

/// Waits for the end; what is broken is in the trace.
pub(crate) async fn reached(sim: &Arc<Sim>, sites: &Sites, window: Duration) -> Result<()> {
    let begun = sim.clock.elapsed();
    while sim.clock.elapsed() - begun < window && !sim.trace.is_broken() && !sim.checks.all_ended() {
        tokio::time::sleep(LOOK).await;
    }
    faults::heal(sim, sites).await;
    let healed = sim.clock.elapsed();
    while !sim.checks.all_ended() {
        if sim.trace.is_broken() {
            return Ok(());
        }
        if sim.clock.elapsed() - healed > FAIR {
            let open = unfinished(sim).await?;
            sim.trace.broken("every fair schedule ends", open);
            return Ok(());
        }
        // A crash that began within the window may have its end after it.
        faults::heal_again(sim, sites).await;
        tokio::time::sleep(LOOK).await;
    }
    cleared(sim).await?;
    if !sim.trace.is_broken() {
        sim.checks.effects(sim);
        journals_stand(sim).await?;
    }
    Ok(())
}

async fn unfinished(sim: &Sim) -> Result<String> {
    let store = sim.open();
    let mut open = Vec::new();
    for id in store.unfinished().await.context("list what is unfinished")? {
        if let Some(row) = store.execution(&id).await.context("read a row")? {
            open.push(format!("{id} {} {:?}", row.state.status.name(), row.state.waits));
        }
    }
    Ok(format!("{} open: {}", open.len(), open.join("; ")))
}

/// Locks, permits, timers, tasks, inboxes and completions are left empty.
async fn cleared(sim: &Arc<Sim>) -> Result<()> {
    let ended = sim.clock.elapsed();
    loop {
        if sim.trace.is_broken() {
            return Ok(());
        }
        let census = sim.image.census().context("count what is left")?;
        if census == Census::default() && sim.world.performing() == 0 {
            return Ok(());
        }
        if sim.clock.elapsed() - ended > CLEARED {
            let detail = format!("{census:?}, {} tasks performed", sim.world.performing());
            sim.trace.broken("what has ended leaves nothing", detail);
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The store has the journals that were appended.
async fn journals_stand(sim: &Sim) -> Result<()> {
    let store = sim.open();
    for id in sim.checks.executions() {
        let mut seq = 0;
        loop {
            let events = store.events(&id, seq, EVENTS).await.context("read a journal")?;
            if events.is_empty() {
                break;
            }
            for event in events {
                if event.seq != seq + 1 {
                    let detail = format!("{id}: {} follows {seq}", event.seq);
                    sim.trace.broken("the journal is dense", detail);
                    return Ok(());
                }
                seq = event.seq;
            }
        }
        if seq != sim.checks.seq(&id) && sim.plant != Plant::DoubleAppend {
            let detail = format!("{id} has {seq} events, {} were appended", sim.checks.seq(&id));
            sim.trace.broken("the journal is what was appended", detail);
        }
    }
    Ok(())
}
