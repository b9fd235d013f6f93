//! Waiting until objects are where their specs want them: a watch by name with a poll behind it, and reasons when they do not get there.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use kube::core::WatchEvent;
use manifold_driver::Context;
use manifold_model::{Failure, FailureClass, code};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, Events};
use crate::limits::{
    FIRST_LOOK, LONGEST_LOOK, PODS_LOOKED_AT, POLL, REASONS_TOLD, SILENT_POLLS, WATCH_PAUSE,
};
use crate::object::{Object, Resource};
use crate::reasons;
use crate::rollout_status::{Progress, counts, progress};
use crate::section::WAIT;

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
    let mut late: Option<Failure> = None;
    while let Some((index, ended)) = waits.next().await {
        match ended {
            Ok(object) => steady.get_mut(index).map(|place| *place = Some(object)).unwrap_or_default(),
            // All others are late in the same moment: the text has them all.
            Err(failure) if failure.class == FailureClass::Timeout => {
                late = Some(match late {
                    Some(first) => {
                        Failure { message: format!("{}; {}", first.message, failure.message), ..first }
                    }
                    None => failure,
                });
            }
            Err(failure) => return Err(failure),
        }
    }
    match late {
        Some(failure) => Err(failure),
        None => Ok(steady.into_iter().flatten().collect()),
    }
}

async fn one(
    cluster: &Cluster,
    context: &Context,
    end: Instant,
    index: usize,
    (resource, seen): (Resource, Option<Object>),
) -> (usize, Result<Object, Failure>) {
    let (told, known) = (String::new(), BTreeSet::new());
    let mut wait =
        Wait { cluster, context, resource: &resource, end, last: None, told, moved: Instant::now(), known };
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
    /// When that was.
    moved: Instant,
    /// Reasons that were told.
    known: BTreeSet<String>,
}

impl Wait<'_> {
    /// Waits; `seen`: the object as it is known to have been just now.
    async fn follow(&mut self, seen: Option<Object>) -> Result<Object, Failure> {
        let mut silent = 0;
        let mut events: Option<Events> = None;
        let (mut looked, mut look_pause) = (Instant::now(), FIRST_LOOK);
        let mut poll = Instant::now();
        if seen.is_some() {
            if let Some(object) = self.judge(seen).await? {
                return Ok(object);
            }
            events = self.watch().await;
            poll += POLL;
        }
        loop {
            if Instant::now() >= poll || events.is_none() {
                match self.cluster.get(self.resource).await {
                    Ok(found) => {
                        silent = 0;
                        if let Some(object) = self.judge(found).await? {
                            return Ok(object);
                        }
                    }
                    Err(failure) if failure.class == FailureClass::Connectivity && silent < SILENT_POLLS => {
                        silent += 1;
                        self.say(&format!("{}: {}", self.resource, failure.message)).await;
                    }
                    Err(failure) if failure.class == FailureClass::Timeout => return Err(self.late().await),
                    Err(failure) => return Err(failure),
                }
                poll = Instant::now() + POLL;
                if events.is_none() {
                    events = self.watch().await;
                }
            }
            let look = self.moved.max(looked) + look_pause;
            tokio::select! {
                biased;
                () = sleep_until(self.end) => return Err(self.late().await),
                event = next(&mut events) => match event {
                    Some(object) => if let Some(object) = self.judge(object).await? {
                        return Ok(object);
                    },
                    // The server ends watches as it likes; the pause keeps one that does so at once from being asked without end.
                    None => {
                        events = None;
                        sleep(WATCH_PAUSE).await;
                    }
                },
                () = sleep_until(poll) => {}
                () = sleep_until(look) => {
                    self.look().await;
                    look_pause = (look_pause * 2).min(LONGEST_LOOK);
                    looked = Instant::now();
                }
            }
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
        self.last = Some(object.clone());
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
            self.context.log.note(WAIT, line).await;
            line.clone_into(&mut self.told);
            self.moved = Instant::now();
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
        let ready = ready.map(|(ready, of)| format!(" ({ready} of {of} pods ready)")).unwrap_or_default();
        let mut reasons = self.why().await;
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
    let mut names = vec![workload.name().to_owned()];
    if let (Some(selector), Ok(pods)) = (reasons::selector(workload), cluster.kind("v1", "Pod").await) {
        let query = (selector.as_str(), "");
        let pods = cluster.glance(&pods, namespace, query, PODS_LOOKED_AT).await.unwrap_or_default();
        let of_it = pods.iter().filter(|pod| reasons::belongs(pod, workload));
        for (name, why) in of_it.filter_map(|pod| Some((pod.name(), reasons::of_pod(pod)?))) {
            if all.len() < REASONS_TOLD {
                names.push(name.to_owned());
            }
            all.push(format!("pod {name}: {why}"));
        }
    }
    if let Ok(kind) = cluster.kind("v1", "Event").await {
        for name in names.iter().take(3) {
            let fields = format!("involvedObject.name={name},type=Warning");
            let mut events =
                cluster.glance(&kind, namespace, ("", &fields), PODS_LOOKED_AT).await.unwrap_or_default();
            events.sort_by_key(reasons::seen_at);
            let newest = events.last().map(reasons::of_event);
            all.extend(newest.filter(|event| !all.contains(event)));
        }
    }
    all
}
