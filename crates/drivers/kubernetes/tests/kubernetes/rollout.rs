//! Rollouts and their rollbacks.

use manifold_driver::{Driver, Found};
use manifold_model::FailureClass;
use manifold_testkit::cluster;
use serde_json::Value;

use crate::world::{Release, config, deployment, rollout, workload};

const NAMES_CONFIG: &str = "          envFrom:\n            - configMapRef: {name: settings}\n";

/// Everything that is rolled out: three kinds of workloads and versioned configuration.
fn everything(tag: &str) -> String {
    [
        config("settings", tag),
        workload("Deployment", "web", tag, 2, NAMES_CONFIG),
        workload("StatefulSet", "db", tag, 1, NAMES_CONFIG),
        workload("DaemonSet", "agent", tag, 1, NAMES_CONFIG),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_releases_and_a_rollback() {
    let release = Release::new(&cluster::one().unwrap(), "roll");
    for (execution, tag) in [("e1", "v1"), ("e2", "v2")] {
        release.roll(execution, &everything(tag)).await.good();
    }
    let mut failing = release.task("e3", "roll", rollout(), &[("all.yaml", "")]);
    failing.timeout_ms = 20_000;
    let text = everything("v3-crash") + &deployment("extra", "v3", 1);
    let done = release.perform(&failing, &[("all.yaml", &text)]).await;
    let failure = done.failure();
    assert_eq!(failure.class, FailureClass::Timeout, "{}", done.log);
    assert!(failure.message.contains("CrashLoopBackOff"), "{}", failure.message);
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v3-crash");

    let back = release.roll_back("e3").await;
    back.good();
    for (kind, name) in [("deployment", "web"), ("statefulset", "db"), ("daemonset", "agent")] {
        assert_eq!(release.image(kind, name), "registry.example/app:v2", "{kind}\n{}", back.log);
    }
    let live = release.cluster.get("deployment", &release.namespace, "web").unwrap();
    let named = live.pointer("/spec/template/spec/containers/0/envFrom/0/configMapRef/name");
    assert_eq!(named.and_then(Value::as_str), Some("settings-2"));
    let deployments = release.names("deployment");
    assert_eq!(deployments, ["web"], "what the failed release created is gone\n{}", back.log);
    let configuration = release.names("configmap");
    assert!(
        configuration.contains(&"settings-1".to_owned()) && configuration.contains(&"settings-2".to_owned())
    );
    assert!(!configuration.contains(&"settings-3".to_owned()), "{configuration:?}\n{}", back.log);
    assert!(release.roll_back("e3").await.good().log.contains("nothing to roll back"));

    release.roll("e4", &everything("v4")).await.good();
    let configuration = release.names("configmap");
    assert!(!configuration.contains(&"settings-1".to_owned()), "{configuration:?}");
    assert!(configuration.contains(&"settings-4".to_owned()), "{configuration:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_success_everything_goes() {
    let release = Release::new(&cluster::one().unwrap(), "first");
    let mut task = release.task("e1", "roll", rollout(), &[("all.yaml", "")]);
    task.timeout_ms = 8_000;
    let text = config("settings", "v1") + &deployment("web", "v1-nopull", 1);
    let done = release.perform(&task, &[("all.yaml", &text)]).await;
    assert!(done.failure().message.contains("ImagePull"), "{}", done.failure().message);
    let back = release.roll_back("e1").await;
    back.good();
    assert!(release.names("deployment").is_empty(), "{}", back.log);
    assert!(!release.names("configmap").contains(&"settings-1".to_owned()), "{}", back.log);
    // Somebody else's execution is never taken back.
    release.roll("e2", &deployment("web", "v2", 1)).await.good();
    assert!(release.roll_back("e1").await.good().log.contains("nothing to roll back"));
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_success_what_was_there_before_goes_back_to_what_it_was() {
    let release = Release::new(&cluster::one().unwrap(), "found");
    let kinds = [("deployment", "Deployment", "web"), ("statefulset", "StatefulSet", "db")];
    let all = |tag: &str| -> String {
        kinds.iter().map(|(_, kind, name)| workload(kind, name, tag, 1, "")).collect::<String>()
            + &workload("DaemonSet", "agent", tag, 1, "")
    };
    release.cluster.kubectl_with(&["apply", "-n", &release.namespace, "-f", "-"], &all("theirs")).unwrap();
    let mut task = release.task("e1", "roll", rollout(), &[("all.yaml", "")]);
    task.timeout_ms = 8_000;
    release.perform(&task, &[("all.yaml", &all("v1-crash"))]).await.failure();
    assert_eq!(release.image("deployment", "web"), "registry.example/app:v1-crash");
    let back = release.roll_back("e1").await;
    back.good();
    for (kind, _, name) in kinds.into_iter().chain([("daemonset", "", "agent")]) {
        assert_eq!(release.image(kind, name), "registry.example/app:theirs", "{kind}\n{}", back.log);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn performed_twice_is_as_once() {
    let release = Release::new(&cluster::one().unwrap(), "twice");
    let files = [("all.yaml", deployment("web", "v1", 1))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let task = release.task("e1", "roll", rollout(), &files);
    let (context, _) = manifold_driver::contract::context(release.resolver(&files));
    assert_eq!(release.driver.probe(&task, &context).await, Found::NotStarted);
    release.perform(&task, &files).await.good();
    assert!(matches!(release.driver.probe(&task, &context).await, Found::Ended(_)));
    release.perform(&task, &files).await.good();
    let live = release.cluster.get("deployment", &release.namespace, "web").unwrap();
    assert_eq!(live["metadata"]["generation"], 1);
}
