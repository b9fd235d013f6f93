//! Two services exchange their selectors, and exchange them back (`behaviour.md` 22). What each selects before and after is written into the
//! history first, so that performing the task again finishes the same exchange instead of beginning the opposite one.

use kube::api::{Patch, PatchParams};
use manifold_driver::clock::now;
use manifold_model::{Failure, FailureClass, code};
use serde_json::{Map, Value, json};

use crate::cluster::MANAGER;
use crate::history::{History, Selector, Status, SwapRecord, Swapped};
use crate::job::{Job, Outputs};
use crate::limits::WRITE_TRIES;
use crate::object::{Object, Resource, is_name};
use crate::record;
use crate::section::{APPLY, INITIALIZE, WRAP_UP};
use crate::trouble::Trouble;

/// Exchanges the selectors, or takes back what this execution exchanged.
///
/// # Errors
/// A service does not exist or selects nothing, somebody else has changed a selector meanwhile, or the cluster refuses.
pub async fn swap(job: &Job<'_>, service1: &str, service2: &str, undo: bool) -> Result<Outputs, Failure> {
    let names = [service1.trim(), service2.trim()];
    check_names(names)?;
    let Some(record) = intended(job, names, undo).await? else {
        let line =
            format!("this execution has not swapped {} and {}: nothing to swap back", names[0], names[1]);
        job.note(WRAP_UP, &line).await;
        return Ok(Outputs::new());
    };
    for service in &record.services {
        set(job, service).await?;
    }
    let task = &job.task.id;
    record::update(&job.cluster, &job.place, |history| {
        if let Some(swap) = history.swap_of_task_mut(task) {
            swap.status = Status::Succeeded;
        }
        if let (true, Some(execution)) = (record.undo, &record.execution) {
            history.undone(execution, names);
        }
        Ok(())
    })
    .await?;
    for service in &record.services {
        let line = format!("Service/{} selects {}", service.service, told(&service.after));
        job.note(WRAP_UP, &line).await;
    }
    Ok(Outputs::new())
}

fn check_names(names: [&str; 2]) -> Result<(), Failure> {
    let wrong = |what: String| {
        Failure::new(FailureClass::Application, code!("K8S_SERVICES_TO_SWAP"), what).hint(
            "name two services of the infrastructure's namespace, as ${k8s.primaryServiceName} and ${k8s.stageServiceName} do after a blue/green \
             deployment",
        )
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(wrong(format!("{name:?} is not the name of a service"))),
        None if names[0] == names[1] => {
            Err(wrong(format!("the service {} cannot be swapped with itself", names[0])))
        }
        None => Ok(()),
    }
}

/// What this task means to do: as it was written down before, or written down now. `None`: nothing.
async fn intended(job: &Job<'_>, names: [&str; 2], undo: bool) -> Result<Option<SwapRecord>, Failure> {
    let task = &job.task.id;
    let history = record::read(&job.cluster, &job.place).await?;
    if let Some(begun) = history.swap_of_task(task) {
        job.note(INITIALIZE, "this swap was begun before: it is finished").await;
        return Ok(Some(begun.clone()));
    }
    if undo && swaps(job, &history, names).is_empty() {
        return Ok(None);
    }
    let mut live = Vec::new();
    for name in names {
        live.push((name.to_owned(), selector(job, name).await?));
    }
    record::update(&job.cluster, &job.place, |history| {
        if let Some(begun) = history.swap_of_task(task) {
            return Ok(Some(begun.clone()));
        }
        if let (false, Some(unfinished)) = (undo, unfinished(job, history, names)) {
            // Another attempt of the same step left it half done: exchanging what is there now would not be a swap.
            unfinished.task = task.clone();
            return Ok(Some(unfinished.clone()));
        }
        let services = if undo { back(&live, &swaps(job, history, names))? } else { exchanged(&live) };
        let record = SwapRecord {
            task: task.clone(),
            execution: job.task.step.as_ref().map(|step| step.execution.clone()),
            services,
            undo,
            status: Status::InProgress,
            started_at: now(),
        };
        history.swaps.push(record.clone());
        Ok(Some(record))
    })
    .await
}

/// The swaps of this execution that are not undone.
fn swaps(job: &Job<'_>, history: &History, names: [&str; 2]) -> Vec<SwapRecord> {
    let execution = job.task.step.as_ref().map(|step| &step.execution);
    execution
        .map(|execution| history.swaps_of(execution, names).into_iter().cloned().collect())
        .unwrap_or_default()
}

/// A swap that this execution began and did not finish.
fn unfinished<'a>(job: &Job<'_>, history: &'a mut History, names: [&str; 2]) -> Option<&'a mut SwapRecord> {
    let execution = &job.task.step.as_ref()?.execution;
    history.unfinished_swap(execution, names)
}

/// Each service gets the selector of the other.
fn exchanged(live: &[(String, Selector)]) -> Vec<Swapped> {
    let others = live.iter().rev();
    live.iter()
        .zip(others)
        .map(|((service, before), (_, after))| Swapped {
            service: service.clone(),
            before: before.clone(),
            after: after.clone(),
        })
        .collect()
}

/// Each service gets the selector that it had before the first of these swaps.
///
/// # Errors
/// One selects what none of the swaps gave it.
fn back(live: &[(String, Selector)], swaps: &[SwapRecord]) -> Result<Vec<Swapped>, Failure> {
    live.iter()
        .map(|(service, before)| {
            let of = swaps.iter().flat_map(|swap| &swap.services).filter(|one| one.service == *service);
            let known: Vec<&Swapped> = of.collect();
            if !known.iter().any(|one| one.before == *before || one.after == *before) {
                return Err(changed(service, before));
            }
            let after = known.first().map_or_else(|| before.clone(), |first| first.before.clone());
            Ok(Swapped { service: service.clone(), before: before.clone(), after })
        })
        .collect()
}

fn resource(job: &Job<'_>, name: &str) -> Resource {
    Resource {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: Some(job.kubernetes.namespace.clone()),
        name: name.to_owned(),
    }
}

async fn live(job: &Job<'_>, name: &str) -> Result<Object, Failure> {
    let resource = resource(job, name);
    job.cluster.get(&resource).await?.ok_or_else(|| {
        let message = format!("cluster {} has no {resource}", job.cluster.name());
        Failure::new(FailureClass::Application, code!("K8S_SERVICES_TO_SWAP"), message)
            .hint("check the names in the step; both services exist before they are swapped")
    })
}

/// What a service selects.
///
/// # Errors
/// It does not exist or selects nothing.
async fn selector(job: &Job<'_>, name: &str) -> Result<Selector, Failure> {
    let object = live(job, name).await?;
    let found = selector_of(&object);
    if found.is_empty() {
        let message = format!("{} has no selector that could be swapped", object.resource());
        return Err(Failure::new(FailureClass::Application, code!("K8S_SERVICES_TO_SWAP"), message)
            .hint("only services that select their Pods can be swapped"));
    }
    Ok(found)
}

/// The selector of a service; empty when it has none.
#[must_use]
pub fn selector_of(service: &Object) -> Selector {
    let map = service.at(&["spec", "selector"]).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Gives a service its new selector, unless it has it.
async fn set(job: &Job<'_>, swapped: &Swapped) -> Result<(), Failure> {
    let resource = resource(job, &swapped.service);
    for _ in 0..WRITE_TRIES {
        let object = live(job, &swapped.service).await?;
        let found = selector_of(&object);
        if found == swapped.after {
            return Ok(());
        }
        if found != swapped.before {
            return Err(changed(&swapped.service, &found));
        }
        let patch = patch(&object, &swapped.after);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match job.cluster.patch(&resource, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {
                let line = format!("{resource}: {} → {}", told(&swapped.before), told(&swapped.after));
                job.note(APPLY, &line).await;
                return Ok(());
            }
            // Changed by somebody meanwhile: look again.
            Err(Trouble::Status(status)) if status.code == 409 => {}
            Err(trouble) => return Err(job.cluster.explain(trouble, &format!("write {resource}"))),
        }
    }
    Err(Failure::new(
        FailureClass::Application,
        code!("K8S_OBJECT_BUSY"),
        format!("{resource} is changed by others all the time"),
    )
    .hint("find out who writes it, then try again"))
}

/// The merge that replaces a selector as a whole, refused when the service has changed.
fn patch(service: &Object, selector: &Selector) -> Value {
    let old = service.at(&["spec", "selector"]).and_then(Value::as_object);
    let mut merged: Map<String, Value> =
        old.into_iter().flatten().map(|(key, _)| (key.clone(), Value::Null)).collect();
    merged.extend(selector.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
    let version = service.at(&["metadata", "resourceVersion"]).cloned().unwrap_or_default();
    json!({"metadata": {"resourceVersion": version}, "spec": {"selector": merged}})
}

fn told(selector: &Selector) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn changed(service: &str, found: &Selector) -> Failure {
    let message = format!(
        "Service/{service} selects {}, which this execution did not give it: somebody else has changed it, and it is left so",
        if found.is_empty() { "nothing".to_owned() } else { told(found) }
    );
    Failure::new(FailureClass::Application, code!("K8S_SELECTOR_CHANGED"), message)
        .hint("look which Pods the two services should select, and set it with kubectl or a new deployment")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use manifold_model::TaskId;

    use super::*;

    fn selects(color: &str) -> Selector {
        Selector::from([("app".to_owned(), "web".to_owned()), ("color".to_owned(), color.to_owned())])
    }

    fn live(one: &str, two: &str) -> Vec<(String, Selector)> {
        vec![("web".to_owned(), selects(one)), ("web-stage".to_owned(), selects(two))]
    }

    fn record(services: Vec<Swapped>) -> SwapRecord {
        SwapRecord {
            task: TaskId::from("t"),
            execution: None,
            services,
            undo: false,
            status: Status::Succeeded,
            started_at: 0,
        }
    }

    fn after(services: &[Swapped]) -> Vec<Selector> {
        services.iter().map(|one| one.after.clone()).collect()
    }

    #[test]
    fn selectors_are_exchanged_and_taken_back() {
        let swap = exchanged(&live("blue", "green"));
        assert_eq!(after(&swap), [selects("green"), selects("blue")]);
        let first = record(swap);
        // Whole, half done, and swapped twice.
        for now in [live("green", "blue"), live("green", "green"), live("blue", "green")] {
            let back = back(&now, std::slice::from_ref(&first)).unwrap();
            assert_eq!(after(&back), [selects("blue"), selects("green")]);
        }
        let second = record(exchanged(&live("green", "blue")));
        let undone = back(&live("blue", "green"), &[first.clone(), second]).unwrap();
        assert_eq!(after(&undone), [selects("blue"), selects("green")]);
        let failure = back(&live("red", "blue"), &[first]).unwrap_err();
        assert!(failure.message.contains("Service/web selects app=web,color=red"));
    }

    #[test]
    fn a_selector_is_replaced_as_a_whole() {
        let service = Object(
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"selector": {"old": "x", "app": "web"}}}),
        );
        assert_eq!(
            patch(&service, &selects("blue")),
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"selector": {"old": null, "app": "web", "color": "blue"}}})
        );
    }

    #[test]
    fn names_are_checked() {
        assert!(check_names(["a", "b"]).is_ok());
        for names in [["a", "a"], ["", "b"], ["a", "b/c"], ["${k8s.primaryServiceName}", "x y"]] {
            assert!(check_names(names).is_err(), "{names:?}");
        }
    }
}
