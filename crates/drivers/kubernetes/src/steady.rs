//! Waiting until objects are where their specs want them: a watch by name with a poll behind it, and reasons when they do not get there.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use kube::core::WatchEvent;
use manifold_driver::Context;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::{Cluster, Events, pause_after};
use crate::limits::{
    FIRST_LOOK, LONGEST_LOOK, PODS_LOOKED_AT, POLL, REASONS_TOLD, SILENT_POLLS, UNWATCHED_POLL,
    WATCH_PATIENCE,
};
use crate::object::{Object, Resource};
use crate::reasons;
use crate::rollout_status::{Progress, counts, progress};
use crate::section::WAIT;

/// Objects whose events are looked at to explain trouble: the workload and its first Pods.
const EVENTS_OF: usize = 3;
/// Time kept to say what went wrong.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// Waits for all objects; they as they are then, in their order.
///
/// # Errors
/// One failed (class application), or the time is over (class timeout): the text says how far each is and why.
pub async fn wait(
    cluster: &Cluster,
    resources: &[Resource],
    context: &Context,
) -> Result<Vec<Object>, Failure> {
    wait_for(cluster, resources.iter().map(|resource| (resource.clone(), None)).collect(), context).await
}

/// Waits as [`wait`] for objects as they are once applied: they need not be asked for first.
///
/// # Errors
/// As [`wait`].
pub async fn wait_from(
    cluster: &Cluster,
    applied: Vec<Object>,
    context: &Context,
) -> Result<Vec<Object>, Failure> {
    let known = |object: Object| (object.resource(), Some(object));
    wait_for(cluster, applied.into_iter().map(known).collect(), context).await
}

async fn wait_for(
    cluster: &Cluster,
    objects: Vec<(Resource, Option<Object>)>,
    context: &Context,
) -> Result<Vec<Object>, Failure> {
    let total = cluster.deadline().saturating_duration_since(Instant::now());
    let end = cluster.deadline() - LAST_WORDS.min(total / 10);
    let mut steady: Vec<Option<Object>> = vec![None; objects.len()];
    let one = |(index, object)| one(cluster, context, end, index, object).boxed();
    let mut waits: FuturesUnordered<_> = objects.into_iter().enumerate().map(one).collect();
    let mut late = Vec::new();
    while let Some((index, ended)) = waits.next().await {
        match ended {
            Ok(object) => steady.get_mut(index).map(|place| *place = Some(object)).unwrap_or_default(),
            // All others are late in the same moment: the text has them all.
            Err(failure) if failure.class == FailureClass::Timeout => late.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    match together(late) {
        Some(failure) => Err(failure),
        None => Ok(steady.into_iter().flatten().collect()),
    }
}

/// One failure of all that are late; the log has those that the text leaves out.
fn together(mut late: Vec<Failure>) -> Option<Failure> {
    let more = late.len().saturating_sub(REASONS_TOLD);
    late.truncate(REASONS_TOLD);
    let texts: Vec<&str> = late.iter().map(|failure| failure.message.as_str()).collect();
    let mut message = texts.join("; ");
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    late.into_iter().next().map(|first| Failure { message, ..first })
}

async fn one(
    cluster: &Cluster,
    context: &Context,
    end: Instant,
    index: usize,
    (resource, seen): (Resource, Option<Object>),
) -> (usize, Result<Object, Failure>) {
    let (told, moved, known) = (String::new(), Instant::now(), BTreeSet::new());
    let resource = &resource;
    let mut wait = Wait { cluster, context, resource, end, last: None, told, moved, known, silent: 0 };
    (index, wait.follow(seen).await)
}

/// The wait for one object.
struct Wait<'a> {
    cluster: &'a Cluster,
    context: &'a Context,
    resource: &'a Resource,
    end: Instant,
    /// As it was last seen.
    last: Option<Object>,
    /// What was last said of it.
    told: String,
    /// When that was said.
    moved: Instant,
    /// Reasons that were told.
    known: BTreeSet<String>,
    /// Polls in a row that the server did not answer.
    silent: u32,
}

impl Wait<'_> {
    /// Waits; `seen`: the object as it is known to have been just now.
    async fn follow(&mut self, seen: Option<Object>) -> Result<Object, Failure> {
        let mut events: Option<Events> = None;
        let mut poll = Instant::now();
        // Watches that ended without having said anything, in a row.
        let mut empty = 0;
        let (mut look, mut look_pause) = (Instant::now() + FIRST_LOOK, FIRST_LOOK);
        if seen.is_some() {
            if let Some(object) = self.judge(seen).await? {
                return Ok(object);
            }
            events = self.watch().await;
            poll += if events.is_some() { POLL } else { Duration::ZERO };
        }
        loop {
            if Instant::now() >= poll {
                if let Some(object) = self.ask().await? {
                    return Ok(object);
                }
                if events.is_none() {
                    events = self.watch().await;
                }
                poll = Instant::now() + if events.is_some() { POLL } else { UNWATCHED_POLL };
            }
            tokio::select! {
                biased;
                () = sleep_until(self.end) => return Err(self.late().await),
                event = next(&mut events) => match event {
                    Some(found) => {
                        empty = 0;
                        if let Some(object) = self.judge(found).await? {
                            return Ok(object);
                        }
                    }
                    // The server ends watches as it likes; one that does so at once is not asked without end.
                    None => {
                        (events, empty) = (None, empty + 1);
                        poll = poll.min(Instant::now() + pause_after(empty + WATCH_PATIENCE));
                    }
                },
                () = sleep_until(poll) => {}
                () = sleep_until(look) => {
                    // Whoever makes progress needs no explanation.
                    if self.moved.elapsed() >= look_pause {
                        self.look().await;
                        look_pause = (look_pause * 2).min(LONGEST_LOOK);
                    }
                    look = Instant::now() + look_pause;
                }
            }
        }
    }

    /// Asks for the object: `Some` when the wait is over. A server that is away for a while is asked again.
    async fn ask(&mut self) -> Result<Option<Object>, Failure> {
        match self.cluster.get(self.resource).await {
            Ok(found) => {
                self.silent = 0;
                self.judge(found).await
            }
            Err(failure) if failure.class == FailureClass::Connectivity && self.silent < SILENT_POLLS => {
                self.silent += 1;
                self.say(&format!("{}: {}", self.resource, failure.message)).await;
                Ok(None)
            }
            Err(failure) if failure.class == FailureClass::Timeout => Err(self.late().await),
            Err(failure) => Err(failure),
        }
    }

    async fn watch(&self) -> Option<Events> {
        let version = self.last.as_ref()?.at(&["metadata", "resourceVersion"])?.as_str()?;
        // A watch that cannot be opened is no reason to fail: the poll goes on, and is asked again soon.
        self.cluster.watch(self.resource, version).await.ok()
    }

    /// What an object that was seen means: `Some` when the wait is over.
    async fn judge(&mut self, found: Option<Object>) -> Result<Option<Object>, Failure> {
        let Some(object) = found else {
            return Err(self.failed("it was deleted while it was waited for").await);
        };
        let mut last = object.clone();
        // A thousand waits hold a thousand of these.
        last.mapping(&["metadata"]).remove("managedFields");
        self.last = Some(last);
        match progress(&object) {
            Progress::Steady => {
                self.say(&format!("{} is steady", self.resource)).await;
                Ok(Some(object))
            }
            Progress::Waiting(what) => {
                self.say(&format!("{}: {what}", self.resource)).await;
                Ok(None)
            }
            Progress::Failed(why) => Err(self.failed(&why).await),
        }
    }

    async fn say(&mut self, line: &str) {
        if self.told != line {
            self.moved = Instant::now();
            self.context.log.note(WAIT, line).await;
            line.clone_into(&mut self.told);
        }
    }

    /// Tells reasons that were not told yet.
    async fn look(&mut self) {
        for reason in self.why().await {
            if self.known.insert(reason.clone()) {
                self.context.log.note(WAIT, &format!("{}: {reason}", self.resource)).await;
            }
        }
    }

    async fn why(&self) -> Vec<String> {
        match &self.last {
            Some(object) => explain(self.cluster, object).await,
            None => Vec::new(),
        }
    }

    async fn failed(&mut self, why: &str) -> Failure {
        let text = self.text(why).await;
        Failure::new(FailureClass::Application, code!("K8S_NOT_STEADY"), text)
            .hint("the reasons are in the step's log; correct the manifest, the image or the cluster")
    }

    async fn late(&mut self) -> Failure {
        let waits = match self.last.as_ref().map(progress) {
            Some(Progress::Waiting(what)) => what,
            _ => "nothing was seen of it".to_owned(),
        };
        let text = self.text(&format!("not steady in time: {waits}")).await;
        Failure::new(FailureClass::Timeout, code!("K8S_STEADY_TIMEOUT"), text).hint(
            "the reasons are in the step's log; if the pods only need longer, give the step a longer timeout",
        )
    }

    async fn text(&mut self, why: &str) -> String {
        let ready = self.last.as_ref().and_then(counts);
        let ready = ready.map(|ready| format!(" ({ready})")).unwrap_or_default();
        // Without an answer in time the reasons that were told must do.
        let asked = timeout_at(self.cluster.deadline(), self.why()).await;
        let mut reasons = asked.unwrap_or_default();
        for reason in &reasons {
            if self.known.insert(reason.clone()) {
                self.context.log.note(WAIT, &format!("{}: {reason}", self.resource)).await;
            }
        }
        if reasons.is_empty() {
            // The cluster may not have had time to say it again.
            reasons = self.known.iter().cloned().collect();
        }
        reasons.truncate(REASONS_TOLD);
        let reasons = if reasons.is_empty() { String::new() } else { format!("; {}", reasons.join("; ")) };
        let text = format!("{}: {why}{ready}{reasons}", self.resource);
        self.context.log.note(WAIT, &text).await;
        text
    }
}

/// The next state of an object: `None` when the watch has ended, `Some(None)` when the object is gone. Without a watch: never.
async fn next(events: &mut Option<Events>) -> Option<Option<Object>> {
    let Some(stream) = events else { return std::future::pending().await };
    loop {
        match stream.next().await {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                return Some(Some(Object(object)));
            }
            Some(Ok(WatchEvent::Deleted(_))) => return Some(None),
            Some(Ok(WatchEvent::Bookmark(_))) => {}
            Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => return None,
        }
    }
}

/// Why a workload's pods are not ready: what it says itself, what its pods say, and the newest warnings. What cannot be asked is left out.
pub async fn explain(cluster: &Cluster, workload: &Object) -> Vec<String> {
    let mut all: Vec<String> = reasons::of_workload(workload).into_iter().collect();
    let namespace = workload.namespace();
    let uid = |object: &Object| object.at(&["metadata", "uid"]).and_then(Value::as_str).map(str::to_owned);
    let mut about: Vec<String> = uid(workload).into_iter().collect();
    if let (Some(selector), Ok(pods)) = (reasons::selector(workload), cluster.kind("v1", "Pod").await) {
        let query = (selector.as_str(), "");
        let pods = cluster.glance(&pods, namespace, query, PODS_LOOKED_AT).await.unwrap_or_default();
        let of_it = pods.iter().filter(|pod| reasons::belongs(pod, workload));
        for (pod, why) in of_it.filter_map(|pod| Some((pod, reasons::of_pod(pod)?))) {
            about.extend(uid(pod));
            all.push(format!("pod {}: {why}", pod.name()));
        }
    }
    if let Ok(kind) = cluster.kind("v1", "Event").await {
        for uid in about.iter().take(EVENTS_OF) {
            let fields = format!("involvedObject.uid={uid},type=Warning");
            let mut events =
                cluster.glance(&kind, namespace, ("", &fields), PODS_LOOKED_AT).await.unwrap_or_default();
            events.sort_by_key(reasons::seen_at);
            let newest = events.last().map(reasons::of_event);
            all.extend(newest.filter(|event| !all.contains(event)));
        }
    }
    all
}
