//! Left at any moment, as by a crash, and performed again: the same end as undisturbed, in the cluster and in the history.

use std::time::Duration;

use futures::future::join_all;
use manifold_driver::Driver;
use manifold_driver::contract::context;
use manifold_model::kubernetes::{Instances, KubernetesAction};
use manifold_model::task::{Task, TaskResult};
use manifold_testkit::cluster;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{Release, config, deployment, rollout, workload};

const MOMENTS: [u64; 6] = [20, 60, 120, 250, 500, 1000];
const NAMES_CONFIG: &str = "          envFrom:\n            - configMapRef: {name: settings}\n";

fn version(tag: &str) -> String {
    config("settings", tag) + &workload("Deployment", "web", tag, 2, NAMES_CONFIG)
}

/// Performs a task, leaves it after a moment, and performs it again.
async fn left_and_again(release: &Release, task: &Task, files: &[(&str, &str)], moment: Duration) {
    let (context, _) = context(release.resolver(files));
    let left = timeout(moment, release.driver.perform(task, &context)).await;
    if let Ok(outcome) = left {
        assert_eq!(outcome.result, TaskResult::Succeeded);
    }
    release.perform(task, files).await.good();
}

fn history(release: &Release) -> Vec<(u64, String)> {
    let found = release.cluster.get("configmap", &release.namespace, &release.name).unwrap();
    let history: Value = serde_json::from_str(found["data"]["history"].as_str().unwrap()).unwrap();
    let of = |one: &Value| (one["number"].as_u64().unwrap(), one["status"].as_str().unwrap().to_owned());
    history["releases"].as_array().unwrap().iter().map(of).collect()
}

fn configuration(release: &Release) -> Vec<String> {
    let mut names = release.names("configmap");
    names.retain(|name| name.starts_with("settings"));
    names
}

async fn rolled_and_back(moment: Duration) {
    let release = Release::new(&cluster::one().unwrap(), "crash");
    release.roll("e1", &version("v1")).await.good();
    let text = version("v2");
    let files = [("all.yaml", text.as_str())];
    left_and_again(&release, &release.task("e2", "roll", rollout(), &files), &files, moment).await;
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v2");
    let is = |number, status: &str| (number, status.to_owned());
    assert_eq!(history(&release), [is(1, "SUCCEEDED"), is(2, "SUCCEEDED")], "left after {moment:?}");

    let mut failing = release.task("e3", "roll", rollout(), &[("all.yaml", "")]);
    failing.timeout_ms = 6_000;
    release.perform(&failing, &[("all.yaml", &version("v3-never"))]).await.failure();
    let back = release.task("e3", "back", KubernetesAction::RollbackRollout {}, &[]);
    left_and_again(&release, &back, &[], moment).await;
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v2", "left after {moment:?}");
    let statuses = [is(1, "SUCCEEDED"), is(2, "SUCCEEDED"), is(3, "ROLLED_BACK")];
    assert_eq!(history(&release), statuses, "left after {moment:?}");
    release.roll("e4", &version("v4")).await.good();
    assert_eq!(configuration(&release), ["settings-2", "settings-4"], "left after {moment:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_and_rollbacks_go_on_where_they_were_left() {
    join_all(MOMENTS.map(|moment| rolled_and_back(Duration::from_millis(moment)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn percentages_are_of_what_there_was() {
    let release = Release::new(&cluster::one().unwrap(), "half");
    release.roll("e1", &deployment("web", "v1", 8)).await.good();
    let half = KubernetesAction::Scale {
        workload: "Deployment/web".to_owned(),
        instances: Instances::Percentage(50),
        skip_steady_state: true,
    };
    for (index, moment) in [10, 25, 60].into_iter().enumerate() {
        let task = release.task(&format!("s{index}"), "scale", half.clone(), &[]);
        left_and_again(&release, &task, &[], Duration::from_millis(moment)).await;
        let live = release.cluster.get("deployment", &release.namespace, "web").unwrap();
        assert_eq!(live["spec"]["replicas"].as_u64(), Some(8 >> (index + 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_aborted_goes_back() {
    let release = Release::new(&cluster::one().unwrap(), "abort");
    release.roll("e1", &version("v1")).await.good();
    let text = version("v2-never");
    let files = [("all.yaml", text.as_str())];
    let task = release.task("e2", "roll", rollout(), &files);
    let (context, _) = context(release.resolver(&files));
    let (outcome, ()) = tokio::join!(release.driver.perform(&task, &context), async {
        let target = ("deployment", release.namespace.clone());
        let cluster = std::sync::Arc::clone(&release.cluster);
        let seen = move || {
            let new = |live: &Value| live["metadata"]["generation"] == 2;
            cluster.wait((target.0, &target.1, "web"), Duration::from_secs(30), new).map(drop)
        };
        tokio::task::spawn_blocking(seen).await.unwrap().unwrap();
        context.cancel.cancel();
    });
    assert_eq!(outcome.result, TaskResult::Cancelled);
    release.roll_back("e2").await.good();
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v1");
    assert_eq!(configuration(&release), ["settings-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_releases() {
    let mut release = Release::new(&cluster::one().unwrap(), "large");
    release.seconds = 120;
    let many: String = (0..500).map(|index| config(&format!("settings-of-{index}"), "x")).collect();
    release.roll("many", &many).await.good();
    assert_eq!(
        release.names("configmap").iter().filter(|name| name.starts_with("settings-of-")).count(),
        500
    );
    release.roll("big", &config("big", &"x".repeat(900 << 10))).await.good();
}
