//! What this server did since it started, and what the store holds now, in OpenMetrics text. Labels are states and results, never targets or
//! runs, so that the number of series does not grow with what is deployed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use manifold_model::event::EventKind;
use manifold_model::execution::RowState;
use manifold_model::task::TaskResult;
use manifold_model::{ExecutionId, Millis, Status};
use manifold_store::{Append, Appended, Gauges, StoreError, TaskRow};
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labels = [(&'static str, String); 1];

/// A gauge of seconds.
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Counters, and gauges that are set when somebody asks.
pub struct Meters {
    registry: Registry,
    outcomes: Family<Labels, Counter>,
    ended: Family<Labels, Counter>,
    legs_ended: Family<Labels, Counter>,
    claims: Counter,
    dispatch: Histogram,
    appends: Counter,
    events: Counter,
    append_seconds: Histogram,
    store_errors: Counter,
    log_bytes: Counter,
    spans_dropped: Counter,
    now: Now,
    /// The oldest item seen in an inbox, and since when it is the oldest.
    inbox: Mutex<Option<(u64, Instant)>>,
}

/// What is set at each look.
#[derive(Default)]
struct Now {
    tasks: Family<Labels, Gauge>,
    oldest_queued: Seconds,
    inbox: Gauge,
    oldest_inbox: Seconds,
    timers: Gauge,
    oldest_timer: Seconds,
    executions: Family<Labels, Gauge>,
    legs: Family<Labels, Gauge>,
    servers: Gauge,
    lease_age: Seconds,
    delegates: Family<Labels, Gauge>,
    connected: Gauge,
}

/// What an append is about, read before it is handed to the store.
#[derive(Default)]
pub struct Intended {
    events: u64,
    outcomes: Vec<&'static str>,
    handed_over: u64,
    ended: Option<(bool, Status)>,
    /// The execution, if it ends with this.
    pub finished: Option<ExecutionId>,
}

impl Intended {
    /// Of many appends.
    pub fn of_all(appends: &[Append], is_leg: impl Fn(&ExecutionId) -> bool) -> Vec<Self> {
        appends.iter().map(|one| Self::of(one, one.execution.as_ref().is_some_and(&is_leg))).collect()
    }

    /// Of one append. `is_leg`: whether its execution is a leg.
    pub fn of(append: &Append, is_leg: bool) -> Self {
        let outcomes = append.events.iter().filter_map(|event| match &event.kind {
            EventKind::TaskEnded { outcome, .. } => Some(result_name(&outcome.result)),
            _ => None,
        });
        let status = append.row.as_ref().map(|row: &RowState| row.status).filter(|status| status.is_final());
        Self {
            events: append.events.len() as u64,
            outcomes: outcomes.collect(),
            handed_over: append.tasks.iter().filter(|(_, lease)| lease.is_some()).count() as u64,
            ended: status.map(|status| (is_leg, status)),
            finished: append.execution.clone().filter(|_| status.is_some()),
        }
    }
}

fn result_name(result: &TaskResult) -> &'static str {
    match result {
        TaskResult::Succeeded => "SUCCEEDED",
        TaskResult::Failed { failure } => failure.class.name(),
        TaskResult::Cancelled => "CANCELLED",
        TaskResult::Unknown { .. } => "UNKNOWN",
    }
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            registry: Registry::with_prefix("manifold"),
            outcomes: Family::default(),
            ended: Family::default(),
            legs_ended: Family::default(),
            claims: Counter::default(),
            dispatch: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            appends: Counter::default(),
            events: Counter::default(),
            append_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            store_errors: Counter::default(),
            log_bytes: Counter::default(),
            spans_dropped: Counter::default(),
            now: Now::default(),
            inbox: Mutex::default(),
        };
        meters.registered()
    }
}

impl Meters {
    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        all.register(
            "task_outcomes",
            "Tasks that ended, by result or class of failure",
            self.outcomes.clone(),
        );
        all.register("executions_ended", "Executions that ended, by status", self.ended.clone());
        all.register("legs_ended", "Legs that ended, by status", self.legs_ended.clone());
        all.register("tasks_claimed", "Tasks claimed from the queue", self.claims.clone());
        let help = "From the queue to a delegate; 0 for tasks that never waited";
        all.register("dispatch_seconds", help, self.dispatch.clone());
        all.register("journal_appends", "Appends to journals", self.appends.clone());
        all.register("journal_events", "Events in them", self.events.clone());
        let help = "Time of a transaction that extends journals";
        all.register("journal_append_seconds", help, self.append_seconds.clone());
        all.register("store_errors", "Calls that the store could not do", self.store_errors.clone());
        all.register("log_bytes", "Bytes of step logs taken", self.log_bytes.clone());
        let help = "Executions whose trace was not exported, since there were too many";
        all.register("traces_dropped", help, self.spans_dropped.clone());
        let now = &self.now;
        all.register("tasks", "Tasks by state", now.tasks.clone());
        let help = "Age of the oldest task in the queue";
        all.register("oldest_queued_task_seconds", help, now.oldest_queued.clone());
        all.register("inbox_items", "Items that wait for their executions", now.inbox.clone());
        let help = "How long the oldest item has been seen waiting; a lower bound";
        all.register("oldest_inbox_item_seconds", help, now.oldest_inbox.clone());
        all.register("timers_due", "Timers that are due and have not fired", now.timers.clone());
        all.register("oldest_timer_due_seconds", "How late the oldest of them is", now.oldest_timer.clone());
        let help = "Unfinished executions that somebody started, by status";
        all.register("executions", help, now.executions.clone());
        all.register("legs", "Unfinished legs, by status", now.legs.clone());
        all.register("servers", "Servers that hold a lease", now.servers.clone());
        let help = "Since when the store has not confirmed the lease of this server";
        all.register("lease_age_seconds", help, now.lease_age.clone());
        all.register("delegates", "Delegates by status", now.delegates.clone());
        all.register("delegates_connected", "Delegates with a connection", now.connected.clone());
        self
    }

    /// A transaction that extended journals took this long and had these results.
    pub fn appended(
        &self,
        intended: &[Intended],
        results: &[manifold_store::Result<Appended>],
        took: Duration,
    ) {
        self.append_seconds.observe(took.as_secs_f64());
        for (one, result) in intended.iter().zip(results) {
            match result {
                Ok(_) => self.extended(one),
                Err(error) => self.failed(error),
            }
        }
    }

    fn extended(&self, one: &Intended) {
        self.appends.inc();
        self.events.inc_by(one.events);
        for result in &one.outcomes {
            self.outcomes.get_or_create(&[("result", (*result).to_owned())]).inc();
        }
        for _ in 0..one.handed_over {
            self.dispatch.observe(0.0);
        }
        if let Some((is_leg, status)) = one.ended {
            let family = if is_leg { &self.legs_ended } else { &self.ended };
            family.get_or_create(&[("status", status.name().to_owned())]).inc();
        }
    }

    /// A call to the store failed; conflicts and stale leases are the usual business of servers that share one.
    pub fn failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Broken { .. }) {
            self.store_errors.inc();
        }
    }

    /// Tasks were claimed from the queue now.
    pub fn claimed(&self, rows: &[TaskRow], now: Millis) {
        self.claims.inc_by(rows.len() as u64);
        for row in rows {
            self.dispatch.observe(seconds(now, row.queued_at));
        }
    }

    /// Bytes of a step log were taken.
    pub fn logged(&self, bytes: u64) {
        self.log_bytes.inc_by(bytes);
    }

    /// The trace of an execution was not exported.
    pub fn trace_dropped(&self) {
        self.spans_dropped.inc();
    }

    /// All of them as text, without the end mark. `gauges`: what the store holds now, if it could say; `lease_age`: since when the store has
    /// not confirmed this server's lease.
    pub fn text(&self, gauges: manifold_store::Result<Gauges>, lease_age: Duration) -> String {
        match gauges {
            Ok(gauges) => self.show(&gauges),
            Err(error) => {
                self.failed(&error);
                tracing::warn!(error = &error as &dyn std::error::Error, "the store cannot be measured");
            }
        }
        self.now.lease_age.set(lease_age.as_secs_f64());
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        text
    }

    fn show(&self, gauges: &Gauges) {
        let now = &self.now;
        let age = |since: Option<Millis>| since.map_or(0.0, |since| seconds(gauges.now, since));
        let tasks = [("queued", gauges.tasks_queued), ("leased", gauges.tasks_leased)];
        show_all(&now.tasks, "state", tasks.into_iter());
        now.oldest_queued.set(age(gauges.oldest_queued_at));
        now.inbox.set(whole(gauges.inbox));
        now.oldest_inbox.set(self.inbox_age(gauges.oldest_inbox));
        now.timers.set(whole(gauges.timers_due));
        now.oldest_timer.set(age(gauges.oldest_timer_due));
        show_statuses(&now.executions, &gauges.executions);
        show_statuses(&now.legs, &gauges.legs);
        now.servers.set(whole(gauges.servers));
        let delegates = gauges.delegates.iter().map(|(name, many)| (*name, *many));
        show_all(&now.delegates, "status", delegates);
        now.connected.set(whole(gauges.delegates_connected));
    }

    /// Items carry no time, so their age counts from the look that saw the same one first.
    fn inbox_age(&self, oldest: Option<u64>) -> f64 {
        let mut seen = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = match (oldest, *seen) {
            (Some(oldest), Some((there, since))) if there == oldest => Some((oldest, since)),
            (Some(oldest), _) => Some((oldest, Instant::now())),
            (None, _) => None,
        };
        seen.map_or(0.0, |(_, since)| since.elapsed().as_secs_f64())
    }
}

fn show_statuses(family: &Family<Labels, Gauge>, statuses: &BTreeMap<Status, u64>) {
    show_all(family, "status", statuses.iter().map(|(status, many)| (status.name(), *many)));
}

fn show_all<N: Display>(
    family: &Family<Labels, Gauge>,
    label: &'static str,
    values: impl Iterator<Item = (N, u64)>,
) {
    family.clear();
    for (name, many) in values {
        family.get_or_create(&[(label, name.to_string())]).set(whole(many));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Seconds from one time to a later one.
fn seconds(now: Millis, since: Millis) -> f64 {
    Duration::from_millis(u64::try_from(now.saturating_sub(since)).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use manifold_model::task::Outcome;
    use manifold_model::{Failure, FailureClass, code};

    use super::*;

    #[test]
    fn what_happened_and_what_is_there_is_told() {
        let meters = Meters::default();
        let failure = Failure::new(FailureClass::Timeout, code!("BUG"), "late");
        let ended = |outcome: Outcome| EventKind::TaskEnded {
            step: 1,
            attempt: 1,
            task: "t".into(),
            instance: None,
            outcome,
        };
        let append = Append {
            events: manifold_store::numbered(
                0,
                1,
                vec![ended(Outcome::succeeded()), ended(Outcome::failed(failure))],
            ),
            row: Some(RowState { status: Status::Failed, ..RowState::default() }),
            ..Append::default()
        };
        let intended = || vec![Intended::of(&append, true)];
        meters.appended(&intended(), &[Ok(Appended::default())], Duration::from_millis(2));
        meters.appended(&intended(), &[Err(StoreError::Conflict { expected: 1, found: 2 })], Duration::ZERO);
        let broken = StoreError::Broken { action: "write", cause: "full".into() };
        meters.appended(&intended(), &[Err(broken)], Duration::ZERO);
        let gauges = Gauges {
            now: 5_000,
            tasks_queued: 3,
            oldest_queued_at: Some(2_000),
            oldest_inbox: Some(1),
            legs: BTreeMap::from([(Status::Running, 4)]),
            ..Gauges::default()
        };
        let text = meters.text(Ok(gauges), Duration::ZERO);
        for line in [
            "manifold_task_outcomes_total{result=\"SUCCEEDED\"} 1",
            "manifold_task_outcomes_total{result=\"TIMEOUT_ERROR\"} 1",
            "manifold_legs_ended_total{status=\"FAILED\"} 1",
            "manifold_journal_appends_total 1",
            "manifold_store_errors_total 1",
            "manifold_tasks{state=\"queued\"} 3",
            "manifold_oldest_queued_task_seconds 3.0",
            "manifold_legs{status=\"RUNNING\"} 4",
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
        let later = meters.text(Ok(Gauges::default()), Duration::ZERO);
        assert!(!later.contains("RUNNING"), "what is gone is not shown: {later}");
    }
}
