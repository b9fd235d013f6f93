//! The world that drivers act on: what was begun where, how often, and how it ended. It goes on whatever happens to servers and delegates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::{Context, Driver, Found};
use manifold_model::kind::{ANYWHERE, Class, KindSpec, Player};
use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{Failure, FailureClass, TaskId, code};
use tokio::time::Instant;

use crate::Sim;
use crate::trace::note;

/// Longest that anything takes, milliseconds.
const LONGEST_MS: u64 = 6_000;
/// Longest way to a target, milliseconds.
const WAY_MS: u64 = 30;
/// Of a hundred things, so many fail.
const FAILING: u64 = 8;
/// A delegate may have so many times its places in hand while connections change (`delegate::limits::OVERBOOKING`).
const OVERBOOKED: usize = 2;

/// What a task did to the world.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    /// How often it happened.
    pub(crate) times: u32,
    ends: Instant,
    outcome: Outcome,
}

/// The ledger of effects.
#[derive(Default)]
pub(crate) struct World {
    effects: Mutex<BTreeMap<TaskId, Effect>>,
    /// Tasks being performed, by life of a delegate.
    performing: Mutex<BTreeMap<(String, TaskId), u32>>,
}

impl World {
    /// How often a task's effect happened.
    pub(crate) fn times(&self, task: &TaskId) -> u32 {
        self.effects().get(task).map_or(0, |effect| effect.times)
    }

    /// Tasks that are being performed anywhere.
    pub(crate) fn performing(&self) -> usize {
        self.performing_map().len()
    }

    fn effects(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Effect>> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn performing_map(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, TaskId), u32>> {
        self.performing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a probe-able effect, or attaches to the one that is there; any other happens again.
    fn begin(&self, sim: &Sim, task: &Task) -> Effect {
        let mut effects = self.effects();
        if task.class == Class::Probeable
            && let Some(there) = effects.get(&task.id)
        {
            return there.clone();
        }
        let ends = Instant::now() + Duration::from_millis(sim.chance.within(1..LONGEST_MS));
        let outcome = outcome(sim);
        let times = effects.get(&task.id).map_or(0, |effect| effect.times) + 1;
        let effect = Effect { times, ends, outcome };
        effects.insert(task.id.clone(), effect.clone());
        effect
    }

    /// Stops what runs; what has ended stays as it is.
    fn stop(&self, task: &TaskId) -> Outcome {
        let mut effects = self.effects();
        match effects.get_mut(task) {
            Some(effect) if effect.ends > Instant::now() => {
                effect.ends = Instant::now();
                effect.outcome = Outcome::of(TaskResult::Cancelled);
                effect.outcome.clone()
            }
            Some(effect) => effect.outcome.clone(),
            None => Outcome::of(TaskResult::Cancelled),
        }
    }
}

fn outcome(sim: &Sim) -> Outcome {
    if !sim.chance.percent(FAILING) {
        return Outcome::succeeded();
    }
    let classes = [FailureClass::Application, FailureClass::Connectivity, FailureClass::Verification];
    let class = sim.chance.one_of(&classes).copied().unwrap_or(FailureClass::Application);
    Outcome::failed(Failure::new(class, code!("NOOP_FAILED"), "the world said no"))
}

/// The driver of one life of a delegate.
pub(crate) struct WorldDriver {
    pub(crate) sim: Arc<Sim>,
    /// Name and number of the life.
    pub(crate) life: String,
    /// Places of the delegate.
    pub(crate) places: u32,
}

/// Notes that a task is being performed until it is dropped, as with the process that performs it.
struct Performing<'a> {
    world: &'a World,
    key: (String, TaskId),
}

impl Drop for Performing<'_> {
    fn drop(&mut self) {
        self.world.performing_map().remove(&self.key);
    }
}

impl WorldDriver {
    /// One delegate performs a task once at a time, and no more tasks than it has places.
    fn enter(&self, task: &Task) -> Performing<'_> {
        let world = &self.sim.world;
        let key = (self.life.clone(), task.id.clone());
        let mut performing = world.performing_map();
        if performing.insert(key.clone(), task.attempt).is_some() {
            self.sim.trace.broken(
                "no attempt is commanded twice",
                format!("{} performs task {} twice at once", self.life, task.id),
            );
        }
        let here = performing.keys().filter(|(life, _)| *life == self.life).count();
        drop(performing);
        if here > self.places as usize * OVERBOOKED {
            self.sim.trace.broken(
                "what is in flight is bounded",
                format!("{} performs {here} tasks and has {} places", self.life, self.places),
            );
        }
        Performing { world, key }
    }
}

#[async_trait]
impl Driver for WorldDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        ["NOOP", "SHELL_SCRIPT"].map(kind).to_vec()
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let (sim, _performing) = (&self.sim, self.enter(task));
        let way = Duration::from_millis(sim.chance.within(0..WAY_MS));
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Outcome::of(TaskResult::Cancelled),
            () = tokio::time::sleep(way) => {}
        }
        let effect = sim.world.begin(sim, task);
        note!(sim, "{} performs {} ({:?}, time {})", self.life, task.id, task.class, effect.times);
        // With several connections the order in which a watch channel wakes them is left to chance: then nobody writes logs.
        if sim.delegates == 1 && sim.chance.percent(20) {
            context.log.note("Sim", "it began").await;
        }
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => sim.world.stop(&task.id),
            () = tokio::time::sleep_until(effect.ends) => effect.outcome,
        }
    }

    async fn probe(&self, task: &Task, _context: &Context) -> Found {
        let way = Duration::from_millis(self.sim.chance.within(0..WAY_MS));
        tokio::time::sleep(way).await;
        let found = match (task.class, self.sim.world.effects().get(&task.id)) {
            (Class::Idempotent, _) => Found::NotStarted,
            (Class::Unsafe, _) => Found::Unknown { seen: "nobody can look".to_owned() },
            (Class::Probeable, None) => Found::NotStarted,
            (Class::Probeable, Some(effect)) if effect.ends > Instant::now() => Found::Running,
            (Class::Probeable, Some(effect)) => Found::Ended(Box::new(effect.outcome.clone())),
        };
        note!(self.sim, "{} looks for {}: {found:?}", self.life, task.id);
        found
    }

    async fn stop(&self, task: &Task, _context: &Context) -> Result<(), Failure> {
        self.sim.world.stop(&task.id);
        Ok(())
    }
}

fn kind(name: &str) -> KindSpec {
    KindSpec {
        name: name.into(),
        class: Class::Idempotent,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Delegate,
        stands: ANYWHERE.to_vec(),
        properties: Vec::new(),
        capabilities: Vec::new(),
        touches_infrastructure: false,
        infrastructure_types: Vec::new(),
        reads_manifests: false,
        deploys: true,
        test_only: true,
    }
}
