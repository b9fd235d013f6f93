//! The history of a release, as the `ConfigMap` named as the release keeps it: who deployed what under which number and how it ended. Pure;
//! it never holds manifests or anything of a Secret but its name. Records are written before anything is touched, so that whoever performs a
//! task again finds what it began (`design.md` 4.4).

use std::collections::BTreeMap;

use manifold_model::task::Task;
use manifold_model::{ExecutionId, Millis, TaskId};
use serde::{Deserialize, Serialize};

use crate::object::Resource;

/// Key of the `ConfigMap` under which the history stands as JSON; other keys belong to others.
pub const HISTORY_KEY: &str = "history";

/// The format that this build writes.
pub const FORMAT: u32 = 1;

/// Releases that are kept; the newest successful rollout is kept however old it is.
pub const RECORDS: usize = 20;

/// Swaps of services that are kept.
pub const SWAPS: usize = 20;

/// Bytes above which older records go.
pub const BYTES: usize = 512 << 10;

/// Bytes that a history may never have: the `ConfigMap` holds 1 MiB with all that others put there.
pub const MOST_BYTES: usize = 900 << 10;

/// A history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It is not what this program writes.
    #[error("it is not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A newer program wrote it.
    #[error("it has format {found}, this delegate knows {FORMAT}")]
    Format {
        /// The format found.
        found: u32,
    },
    /// The newest release alone is too large.
    #[error("it has {bytes} bytes, {MOST_BYTES} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// The history of a release.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Format of this text.
    pub format: u32,
    /// The highest number that was ever given away.
    #[serde(default)]
    pub last_number: u64,
    /// Releases, oldest first.
    #[serde(default)]
    pub releases: Vec<Record>,
    /// Swaps of services, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapRecord>,
}

/// What sort of deployment a release was.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Everything in place.
    Rollout,
    /// A copy of the workload.
    Canary,
    /// A set of its own behind the stage service.
    BlueGreen,
}

/// How far a release or a swap has come.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Begun, and not ended as far as anybody wrote down.
    InProgress,
    /// Done.
    Succeeded,
    /// Not done; some of its objects may be there.
    Failed,
    /// Taken back.
    RolledBack,
}

/// One release.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Release number, from 1.
    pub number: u64,
    /// The task that made it.
    pub task: TaskId,
    /// The execution that the task belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// Name of the step, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Sort of deployment.
    pub action: Action,
    /// How far it came.
    pub status: Status,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
    /// Blue/green: the colour of the new set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// What it touches.
    #[serde(default)]
    pub objects: Vec<Recorded>,
}

/// One object of a release.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// What.
    #[serde(flatten)]
    pub resource: Resource,
    /// Whether it was there before this release.
    #[serde(default, skip_serializing_if = "is_false")]
    pub existed: bool,
    /// Whether its name carries the release number.
    #[serde(default, skip_serializing_if = "is_false")]
    pub versioned: bool,
    /// Of a workload, once applied: `deployment.kubernetes.io/revision` or the name of its `ControllerRevision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Of a workload that was there: its revision before this release. A rollback without any successful release goes back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Digest of what was applied; never of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

// What serde's `skip_serializing_if` calls takes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Selector of a service.
pub type Selector = BTreeMap<String, String>;

/// One exchange of selectors, written down before it happens, so that performing it again does the same and not the opposite.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SwapRecord {
    /// The task.
    pub task: TaskId,
    /// Its execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// The services and their selectors before and after.
    pub services: Vec<Swapped>,
    /// Whether it undid the swaps of its execution.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undo: bool,
    /// How far it came; [`Status::RolledBack`] once it was undone.
    pub status: Status,
    /// When it began.
    pub started_at: Millis,
}

/// A service that takes part in a swap.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Swapped {
    /// Name of the service.
    pub service: String,
    /// Its selector before.
    pub before: Selector,
    /// Its selector after.
    pub after: Selector,
}

impl SwapRecord {
    /// Whether it is a swap of this execution between these services, and not undone.
    fn is_standing(&self, execution: &ExecutionId, services: [&str; 2]) -> bool {
        !self.undo
            && self.status != Status::RolledBack
            && self.execution.as_ref() == Some(execution)
            && self.services.len() == services.len()
            && self.services.iter().all(|one| services.contains(&one.service.as_str()))
    }
}

impl Default for History {
    fn default() -> Self {
        Self { format: FORMAT, last_number: 0, releases: Vec::new(), swaps: Vec::new() }
    }
}

impl Record {
    /// A release that begins, without objects yet.
    #[must_use]
    pub fn begun(task: &Task, action: Action, number: u64, now: Millis) -> Self {
        Self {
            number,
            task: task.id.clone(),
            execution: task.step.as_ref().map(|step| step.execution.clone()),
            step: task.step.as_ref().map(|step| step.name.clone()).unwrap_or_default(),
            action,
            status: Status::InProgress,
            started_at: now,
            ended_at: None,
            color: None,
            objects: Vec::new(),
        }
    }

    /// Ends it.
    pub fn end(&mut self, status: Status, now: Millis) {
        self.status = status;
        self.ended_at = Some(now);
    }

    /// What it says of an object.
    #[must_use]
    pub fn object(&self, resource: &Resource) -> Option<&Recorded> {
        self.objects.iter().find(|object| object.resource == *resource)
    }

    /// What it says of an object, to be changed.
    pub fn object_mut(&mut self, resource: &Resource) -> Option<&mut Recorded> {
        self.objects.iter_mut().find(|object| object.resource == *resource)
    }
}

impl History {
    /// Reads what [`History::encode`] wrote; nothing there: nothing happened yet.
    ///
    /// # Errors
    /// Not readable, or of a newer format.
    pub fn decode(text: Option<&str>) -> Result<Self, HistoryError> {
        /// The format alone: a newer one may have everything else otherwise.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let Format { format } = serde_json::from_str(text)?;
        if format > FORMAT {
            return Err(HistoryError::Format { found: format });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// As JSON, old records dropped ([`RECORDS`], [`BYTES`]).
    ///
    /// # Errors
    /// What must be kept is too large.
    pub fn encode(&mut self) -> Result<String, HistoryError> {
        self.format = FORMAT;
        let beyond = self.swaps.len().saturating_sub(SWAPS);
        self.swaps.drain(..beyond);
        let mut sizes = Vec::with_capacity(self.releases.len());
        for record in &self.releases {
            sizes.push(serde_json::to_string(record)?.len());
        }
        while self.releases.len() > RECORDS || sizes.iter().sum::<usize>() > BYTES {
            let Some(oldest) = self.first_spare() else { break };
            self.releases.remove(oldest);
            sizes.remove(oldest);
        }
        let text = serde_json::to_string(self)?;
        if text.len() > MOST_BYTES {
            return Err(HistoryError::TooLarge { bytes: text.len() });
        }
        Ok(text)
    }

    /// The oldest release that may go: never the newest of all nor the newest successful rollout, to which a rollback goes. Those that never
    /// ended go after those that did (an execution that was given up left them), and the newest success of the other actions last.
    fn first_spare(&self) -> Option<usize> {
        let newest_success = |action: Action| {
            self.releases
                .iter()
                .rposition(|record| record.action == action && record.status == Status::Succeeded)
        };
        let last = self.releases.len().checked_sub(1)?;
        let kept = [Some(last), newest_success(Action::Rollout)];
        let valued = [newest_success(Action::BlueGreen), newest_success(Action::Canary)];
        let rank = |index: usize, record: &Record| {
            if valued.contains(&Some(index)) { 2 } else { u8::from(record.status == Status::InProgress) }
        };
        self.releases
            .iter()
            .enumerate()
            .filter(|(index, _)| !kept.contains(&Some(*index)))
            .min_by_key(|(index, record)| (rank(*index, record), *index))
            .map(|(index, _)| index)
    }

    /// The release of a task.
    #[must_use]
    pub fn of_task(&self, task: &TaskId) -> Option<&Record> {
        self.releases.iter().rev().find(|record| record.task == *task)
    }

    /// The release of a task, to be changed.
    pub fn of_task_mut(&mut self, task: &TaskId) -> Option<&mut Record> {
        self.releases.iter_mut().rev().find(|record| record.task == *task)
    }

    /// The release of a task: as it was begun, or begun now under the next number.
    pub fn begin(&mut self, task: &Task, action: Action, now: Millis) -> Record {
        if let Some(record) = self.of_task(&task.id) {
            return record.clone();
        }
        let record = Record::begun(task, action, self.next_number(), now);
        self.last_number = record.number;
        self.releases.push(record.clone());
        record
    }

    /// The number of the next release.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.releases.iter().map(|record| record.number).fold(self.last_number, u64::max).saturating_add(1)
    }

    /// The newest success of an action with a number below `before`.
    #[must_use]
    pub fn newest_success(&self, action: Action, before: u64) -> Option<&Record> {
        self.releases
            .iter()
            .filter(|record| {
                record.action == action && record.status == Status::Succeeded && record.number < before
            })
            .max_by_key(|record| record.number)
    }

    /// The rollouts of an execution that are not taken back, oldest first.
    #[must_use]
    pub fn rollouts_of(&self, execution: &ExecutionId) -> Vec<&Record> {
        self.releases
            .iter()
            .filter(|record| {
                record.action == Action::Rollout
                    && record.status != Status::RolledBack
                    && record.execution.as_ref() == Some(execution)
            })
            .collect()
    }

    /// The swap of a task.
    #[must_use]
    pub fn swap_of_task(&self, task: &TaskId) -> Option<&SwapRecord> {
        self.swaps.iter().rev().find(|swap| swap.task == *task)
    }

    /// The swap of a task, to be changed.
    pub fn swap_of_task_mut(&mut self, task: &TaskId) -> Option<&mut SwapRecord> {
        self.swaps.iter_mut().rev().find(|swap| swap.task == *task)
    }

    /// The swaps of an execution between these two services that are not undone, oldest first.
    #[must_use]
    pub fn swaps_of(&self, execution: &ExecutionId, services: [&str; 2]) -> Vec<&SwapRecord> {
        self.swaps.iter().filter(|swap| swap.is_standing(execution, services)).collect()
    }

    /// The newest of them, when it was not finished.
    pub fn unfinished_swap(
        &mut self,
        execution: &ExecutionId,
        services: [&str; 2],
    ) -> Option<&mut SwapRecord> {
        let newest = self.swaps.iter_mut().rev().find(|swap| swap.is_standing(execution, services));
        newest.filter(|swap| swap.status == Status::InProgress)
    }

    /// Marks the swaps of an execution between these two services as undone.
    pub fn undone(&mut self, execution: &ExecutionId, services: [&str; 2]) {
        for swap in self.swaps.iter_mut().filter(|swap| swap.is_standing(execution, services)) {
            swap.status = Status::RolledBack;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn record(number: u64, action: Action, status: Status, objects: usize) -> Record {
        let object = |index: usize| Recorded {
            resource: Resource {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("n".repeat(63)),
                name: format!("{}-{index}", "x".repeat(100)),
            },
            existed: index.is_multiple_of(2),
            versioned: true,
            revision: None,
            before: None,
            digest: Some("d".repeat(16)),
        };
        Record {
            number,
            task: TaskId::derived(&[&number.to_string()]),
            execution: Some(ExecutionId::from(if number.is_multiple_of(2) { "even" } else { "odd" })),
            step: "Roll".to_owned(),
            action,
            status,
            started_at: 1,
            ended_at: None,
            color: None,
            objects: (0..objects).map(object).collect(),
        }
    }

    fn statuses() -> impl Strategy<Value = (Action, Status, usize)> {
        (
            prop::sample::select(vec![Action::Rollout, Action::Canary, Action::BlueGreen]),
            prop::sample::select(vec![
                Status::InProgress,
                Status::Succeeded,
                Status::Failed,
                Status::RolledBack,
            ]),
            prop::sample::select(vec![0, 3, 300, 900]),
        )
    }

    #[test]
    fn a_task_keeps_its_number() {
        let mut history = History::default();
        let task = |id: &str| Task {
            id: TaskId::from(id),
            kind: "K8S_DEPLOYMENT_ROLLING".into(),
            class: manifold_model::kind::Class::Probeable,
            attempt: 1,
            step: None,
            log: "log".into(),
            timeout_ms: 1,
            selectors: Vec::new(),
            capabilities: Vec::new(),
            payload: manifold_model::task::Payload::Noop(manifold_model::task::NoopTask::default()),
        };
        let numbers: Vec<u64> =
            ["a", "b", "a", "c"].map(|id| history.begin(&task(id), Action::Rollout, 5).number).to_vec();
        assert_eq!(numbers, [1, 2, 1, 3]);
        history.releases.pop();
        assert_eq!(history.next_number(), 4, "numbers are never given twice");
    }

    #[test]
    fn foreign_texts_are_refused() {
        assert_eq!(History::decode(None).unwrap(), History::default());
        assert_eq!(History::decode(Some(" ")).unwrap(), History::default());
        assert!(matches!(History::decode(Some("{")), Err(HistoryError::Unreadable(_))));
        assert!(matches!(
            History::decode(Some(r#"{"format":2,"releases":7}"#)),
            Err(HistoryError::Format { found: 2 })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_kept_is_bounded_and_holds_the_newest_success(made in prop::collection::vec(statuses(), 1..40)) {
            let mut history = History::default();
            for (index, (action, status, objects)) in made.iter().enumerate() {
                history.releases.push(record(index as u64 + 1, *action, *status, *objects));
            }
            let newest = history.newest_success(Action::Rollout, u64::MAX).map(|record| record.number);
            let next = history.next_number();
            let text = history.encode().unwrap();
            prop_assert!(text.len() <= MOST_BYTES);
            prop_assert!(history.releases.len() <= RECORDS);
            let again = History::decode(Some(&text)).unwrap();
            prop_assert_eq!(&again, &history);
            prop_assert_eq!(again.next_number(), next);
            let kept = again.newest_success(Action::Rollout, u64::MAX).map(|record| record.number);
            prop_assert_eq!(kept, newest);
        }

        #[test]
        fn nothing_panics(text in "[-\\[\\]{}\":,a-z0-9]{0,80}") {
            let _ = History::decode(Some(&text));
        }
    }
}
