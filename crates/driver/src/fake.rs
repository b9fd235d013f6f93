//! A scripted fake driver, for tests of what stands above drivers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use manifold_model::TaskId;
use manifold_model::kind::KindSpec;
use manifold_model::task::{Outcome, Task, TaskResult};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{Context, Driver, Found};

/// What the fake does with one task.
#[derive(Clone, Debug)]
pub enum Act {
    /// Ends so at once.
    End(Box<Outcome>),
    /// Waits for [`Script::release`], then ends so.
    Hold(Box<Outcome>),
    /// Waits until it is cancelled.
    Hang,
}

/// What a fake driver was asked and does, shared with the test.
#[derive(Clone, Default)]
pub struct Script(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    released: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self { state: Mutex::default(), released: Semaphore::new(0) }
    }
}

#[derive(Default)]
struct State {
    acts: VecDeque<Act>,
    performed: Vec<(TaskId, u32)>,
    ended: BTreeMap<(TaskId, u32), Outcome>,
    started: BTreeMap<(TaskId, u32), u64>,
}

impl Script {
    /// Adds what the next task without an act does; tasks beyond the script succeed.
    pub fn then(&self, act: Act) -> &Self {
        self.with(|state| state.acts.push_back(act));
        self
    }

    /// Lets so many held tasks end.
    pub fn release(&self, tasks: usize) {
        self.0.released.add_permits(tasks);
    }

    /// The tasks performed, with their attempts, in order; one performed again stands again.
    #[must_use]
    pub fn performed(&self) -> Vec<(TaskId, u32)> {
        self.with(|state| state.performed.clone())
    }

    /// How often the effect of a task's attempt happened.
    #[must_use]
    pub fn effects(&self, task: &TaskId, attempt: u32) -> u64 {
        self.with(|state| state.started.get(&(task.clone(), attempt)).copied().unwrap_or_default())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The fake: its effect is a number in its [`Script`], its marker too, so that probes tell the truth.
pub struct FakeDriver {
    kinds: Vec<KindSpec>,
    script: Script,
}

impl FakeDriver {
    /// A fake of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<KindSpec>, script: Script) -> Self {
        Self { kinds, script }
    }

    async fn act(&self, act: Act, cancel: &CancellationToken) -> Outcome {
        match act {
            Act::End(outcome) => *outcome,
            Act::Hang => {
                cancel.cancelled().await;
                Outcome::of(TaskResult::Cancelled)
            }
            Act::Hold(outcome) => tokio::select! {
                () = cancel.cancelled() => Outcome::of(TaskResult::Cancelled),
                permit = self.script.0.released.acquire() => {
                    if let Ok(permit) = permit {
                        permit.forget();
                    }
                    *outcome
                }
            },
        }
    }
}

#[async_trait]
impl Driver for FakeDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        self.kinds.clone()
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let key = (task.id.clone(), task.attempt);
        let done = self.script.with(|state| {
            state.performed.push(key.clone());
            state.ended.get(&key).cloned()
        });
        if let Some(outcome) = done {
            return outcome;
        }
        let act = self.script.with(|state| {
            *state.started.entry(key.clone()).or_default() += 1;
            state.acts.pop_front().unwrap_or_else(|| Act::End(Box::new(Outcome::succeeded())))
        });
        let outcome = self.act(act, &context.cancel).await;
        self.script.with(|state| state.ended.insert(key, outcome.clone()));
        outcome
    }

    async fn probe(&self, task: &Task, _context: &Context) -> Found {
        let key = (task.id.clone(), task.attempt);
        self.script.with(|state| match (state.ended.get(&key), state.started.contains_key(&key)) {
            (Some(outcome), _) => Found::Ended(Box::new(outcome.clone())),
            (None, true) => Found::Unknown { seen: "it began and has not ended".to_owned() },
            (None, false) => Found::NotStarted,
        })
    }
}
