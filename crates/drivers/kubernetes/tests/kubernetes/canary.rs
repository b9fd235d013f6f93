//! Canary Deployment, beside a rollout.

use manifold_driver_kubernetes::label::TRACK;
use manifold_model::kubernetes::{DeleteResources, Instances, KubernetesAction};
use serde_json::json;

use crate::leg::{Leg, Step, service, step, web};

fn canary(instances: Instances) -> KubernetesAction {
    KubernetesAction::Canary { instances, skip_dry_run: false, export: false }
}

const ROLLOUT: KubernetesAction = KubernetesAction::Rollout { skip_dry_run: false, export: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_stands_beside_the_workload_until_it_is_deleted() {
    let mut leg = Leg::new("canary");
    leg.file("web.yaml", &web("v1", 4));
    leg.file("service.yaml", &service("web"));
    leg.done(step("e1", 1), ROLLOUT).await;
    assert_eq!(leg.get("deployment", "web")["status"]["availableReplicas"], 4);

    leg.file("web.yaml", &web("v2", 4));
    let outputs = leg.done(step("e2", 1), canary(Instances::Percentage(50))).await;
    let name = format!("{}/Deployment/web-canary", leg.namespace);
    assert_eq!(outputs["canaryWorkload"], name);
    let copy = leg.get("deployment", "web-canary");
    assert_eq!(copy["status"]["availableReplicas"], 2, "50 % of 4");
    assert_eq!(copy["spec"]["selector"]["matchLabels"], json!({"app": "web", TRACK: "canary"}));
    let reads = &copy["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"];
    assert_eq!(reads, "web-2");
    assert_eq!(leg.get("configmap", "web-2")["data"]["tag"], "v2");
    let stable = leg.get("deployment", "web");
    assert_eq!(stable["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/web:v1");
    assert_eq!(leg.names("pods", &format!("{TRACK}=canary")).len(), 2);

    // The same step again, as after a crash, and a second canary of the same phase: still one copy.
    leg.done(step("e2", 1), canary(Instances::Percentage(50))).await;
    assert_eq!(leg.get("deployment", "web-canary")["spec"]["replicas"], 2);
    leg.done(step("e2", 2), canary(Instances::Count(3))).await;
    assert_eq!(leg.get("deployment", "web-canary")["status"]["availableReplicas"], 3);
    assert_eq!(leg.names("deployments", "").len(), 2);

    let resources = DeleteResources::Named { names: vec![name] };
    leg.done(step("e2", 3), KubernetesAction::Delete { resources }).await;
    assert_eq!(leg.names("deployments", ""), ["web"]);
    leg.done(step("e2", 4), ROLLOUT).await;
    let stable = leg.get("deployment", "web");
    assert_eq!(stable["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/web:v2");
    let versions = leg.names("configmaps", "harness.io/release-name");
    assert!(!versions.iter().any(|name| name == "web-2" || name == "web-3"), "{versions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_does_not_get_ready_fails_and_leaves_the_workload_alone() {
    let mut leg = Leg::new("canaryfail");
    leg.file("web.yaml", &web("v1", 2));
    leg.done(step("e1", 1), ROLLOUT).await;
    let before = leg.get("deployment", "web")["spec"].clone();
    leg.file("web.yaml", &web("v2-crash", 2));
    let mut task = leg.task(step("e2", 1), canary(Instances::Count(1)));
    task.timeout_ms = 12_000;
    let (outcome, log) = leg.perform(&task).await;
    let text = format!("{:?}", outcome.result);
    assert!(text.contains("web-canary") && text.contains("CrashLoopBackOff"), "{text}\n{log}");
    assert_eq!(leg.get("deployment", "web")["spec"], before);
    // Several workloads are refused by name before anything is touched.
    leg.file("other.yaml", &web("v1", 1).replace("name: web}", "name: other}"));
    let failure = leg.failed(Step { attempt: 2, ..step("e2", 1) }, canary(Instances::Count(1))).await;
    assert_eq!(failure.code.to_string(), "K8S_WORKLOADS", "{failure:?}");
    assert!(failure.message.contains("Deployment/other") && failure.message.contains("Deployment/web"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_has_a_canary_too_and_its_scalers_stay_away() {
    let mut leg = Leg::new("canarysts");
    let set = web("v1", 3)
        .replace("kind: Deployment", "kind: StatefulSet")
        .replace("  replicas: 3\n", "  replicas: 3\n  serviceName: web\n");
    leg.file("web.yaml", &set);
    leg.file("service.yaml", &service("web"));
    leg.file(
        "scale.yaml",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: web}}\n---\n\
         apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}\n",
    );
    // Before the first rollout the manifest says of how many it is a part.
    let outputs = leg.done(step("e1", 1), canary(Instances::Percentage(50))).await;
    assert_eq!(outputs["canaryWorkload"], format!("{}/StatefulSet/web-canary", leg.namespace));
    assert_eq!(leg.get("statefulset", "web-canary")["status"]["readyReplicas"], 2);
    assert!(leg.names("hpa,pdb", "").is_empty());
    assert_eq!(leg.names("statefulsets", ""), ["web-canary"]);
}
