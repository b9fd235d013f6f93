//! A run: the state of one execution in memory, made by folding its journal, and the plans that runs share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use manifold_engine::{Advance, Command, Input, Leg, PipelineRun};
use manifold_model::event::Event;
use manifold_model::execution::{ExecutionRow, RowState};
use manifold_model::plan::Plan;
use manifold_model::request::ExecutionType;
use manifold_model::{ExecutionId, Millis, PlanDigest};
use manifold_store::{Store, StoreError};

/// Events read at once while folding.
const EVENTS_PER_READ: u32 = 1_000;

/// State of an execution, by kind. Boxed: a leg's state is large and runs move.
pub enum Run {
    /// A workflow execution.
    Leg(Box<Leg>),
    /// A pipeline execution.
    Pipeline(Box<PipelineRun>),
}

impl Run {
    /// A run of which nothing has been folded yet.
    pub fn new(kind: ExecutionType, plan: Arc<Plan>, id: ExecutionId) -> Self {
        match kind {
            ExecutionType::Workflow => Self::Leg(Box::new(Leg::new(plan, id))),
            ExecutionType::Pipeline => Self::Pipeline(Box::new(PipelineRun::new(plan, id))),
        }
    }

    /// Folds the next event.
    pub fn fold(&mut self, event: &Event) {
        match self {
            Self::Leg(leg) => leg.fold(event),
            Self::Pipeline(run) => run.fold(event),
        }
    }

    /// Decides what comes next.
    pub fn advance(&mut self, inputs: &[Input], now: Millis) -> Advance {
        match self {
            Self::Leg(leg) => leg.advance(inputs, now),
            Self::Pipeline(run) => run.advance(inputs, now),
        }
    }

    /// Commands whose answers a crash may have swallowed.
    pub fn recover(&self) -> Vec<Command> {
        match self {
            Self::Leg(leg) => leg.recover(),
            Self::Pipeline(run) => run.recover(),
        }
    }

    /// The row for lists.
    pub fn row(&self) -> RowState {
        match self {
            Self::Leg(leg) => leg.row(),
            Self::Pipeline(run) => run.row(),
        }
    }
}

/// Frozen plans in memory, shared by all runs of one digest and dropped with the last of them.
#[derive(Default)]
pub struct Plans(Mutex<HashMap<PlanDigest, Weak<Plan>>>);

/// Why a run cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such execution.
    #[error("execution {0} does not exist")]
    Missing(ExecutionId),
    /// Its plan is not there or cannot be read by this build.
    #[error("the plan {digest} cannot be read")]
    Plan {
        /// Which.
        digest: PlanDigest,
        /// Why, when it is there.
        #[source]
        cause: Option<serde_json::Error>,
    },
}

impl Plans {
    /// The plan of a digest.
    ///
    /// # Errors
    /// It is not in the store, or its format is newer than this build.
    pub async fn get(&self, store: &dyn Store, digest: &PlanDigest) -> Result<Arc<Plan>, LoadError> {
        if let Some(plan) = self.lock().get(digest).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        let bytes = store.plan(digest).await?;
        let Some(bytes) = bytes else {
            return Err(LoadError::Plan { digest: digest.clone(), cause: None });
        };
        let plan: Plan = serde_json::from_slice(&bytes)
            .map_err(|cause| LoadError::Plan { digest: digest.clone(), cause: Some(cause) })?;
        let plan = Arc::new(plan);
        let mut plans = self.lock();
        plans.retain(|_, plan| plan.strong_count() > 0);
        plans.insert(digest.clone(), Arc::downgrade(&plan));
        Ok(plan)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PlanDigest, Weak<Plan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run with the fixed part of its row.
pub struct Loaded {
    /// State.
    pub run: Run,
    /// Row as of loading; only its fixed part is used afterwards.
    pub row: Arc<ExecutionRow>,
    /// Plan.
    pub plan: Arc<Plan>,
}

/// Loads a run by folding its journal.
///
/// # Errors
/// There is none, its plan cannot be read, or the store failed.
pub async fn load(store: &dyn Store, plans: &Plans, id: &ExecutionId) -> Result<Loaded, LoadError> {
    let row = store.execution(id).await?.ok_or_else(|| LoadError::Missing(id.clone()))?;
    let plan = plans.get(store, &row.plan).await?;
    let mut run = Run::new(row.kind, Arc::clone(&plan), id.clone());
    let mut after = 0;
    loop {
        let events = store.events(id, after, EVENTS_PER_READ).await?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        events.iter().for_each(|event| run.fold(event));
        if events.len() < EVENTS_PER_READ as usize {
            break;
        }
    }
    Ok(Loaded { run, row: Arc::new(row), plan })
}
