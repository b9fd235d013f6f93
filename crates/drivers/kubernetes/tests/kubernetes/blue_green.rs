//! Stage Deployment of blue/green, the swap and its way back.

use manifold_driver_kubernetes::label::COLOR;
use manifold_model::kubernetes::KubernetesAction;

use crate::leg::{Leg, service, step, web};

const STAGE: KubernetesAction = KubernetesAction::BlueGreen { skip_dry_run: false, export: false };

fn swap(undo: bool) -> KubernetesAction {
    KubernetesAction::Swap { service1: "web".to_owned(), service2: "web-stage".to_owned(), undo }
}

fn colors(leg: &Leg) -> [String; 2] {
    [leg.selects("web", COLOR), leg.selects("web-stage", COLOR)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_alternate_and_services_are_swapped_and_swapped_back() {
    let mut leg = Leg::new("bluegreen");
    leg.file("web.yaml", &web("v1", 2));
    leg.file("service.yaml", &service("web"));
    let outputs = leg.done(step("e1", 1), STAGE).await;
    assert_eq!(
        [outputs["primaryServiceName"].as_str(), outputs["stageServiceName"].as_str()],
        ["web", "web-stage"]
    );
    assert_eq!(colors(&leg), ["blue", "blue"], "the first set serves at once");
    assert_eq!(leg.names("deployments", ""), ["web-blue"]);
    // Again, as after a crash.
    let uid = leg.get("deployment", "web-blue")["metadata"]["uid"].clone();
    leg.done(step("e1", 1), STAGE).await;
    assert_eq!(colors(&leg), ["blue", "blue"]);
    assert_eq!(leg.get("deployment", "web-blue")["metadata"]["uid"], uid);
    leg.done(step("e1", 2), swap(false)).await;

    leg.file("web.yaml", &web("v2", 2));
    leg.done(step("e2", 1), STAGE).await;
    assert_eq!(colors(&leg), ["blue", "green"]);
    assert_eq!(leg.names("deployments", ""), ["web-blue", "web-green"]);
    let image = |name: &str| {
        leg.get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(
        [image("web-blue"), image("web-green")],
        ["registry.example/web:v1", "registry.example/web:v2"]
    );
    // The swap performed twice is one swap; the undo as well, and the undo of nothing does nothing.
    for _ in 0..2 {
        leg.done(step("e2", 2), swap(false)).await;
        assert_eq!(colors(&leg), ["green", "blue"]);
    }
    for _ in 0..2 {
        leg.done(step("e2", 3), swap(true)).await;
        assert_eq!(colors(&leg), ["blue", "green"]);
    }
    leg.done(step("e2", 4), swap(true)).await;
    leg.done(step("e3", 4), swap(true)).await;
    assert_eq!(colors(&leg), ["blue", "green"]);

    // What does not serve is cleaned before the next set, also when its selector could not be changed.
    let changed = web("v3", 1).replace("app: web}", "app: web, tier: front}");
    leg.file("web.yaml", &changed);
    let before = leg.get("deployment", "web-green")["metadata"]["uid"].clone();
    leg.done(step("e4", 1), STAGE).await;
    assert_ne!(leg.get("deployment", "web-green")["metadata"]["uid"], before);
    assert_eq!(colors(&leg), ["blue", "green"]);
    assert_eq!(
        leg.get("deployment", "web-blue")["spec"]["template"]["spec"]["containers"][0]["image"],
        "registry.example/web:v1"
    );
    leg.done(step("e4", 2), swap(false)).await;
    assert_eq!(colors(&leg), ["green", "blue"]);
    assert_eq!(leg.get("configmap", "web")["data"]["tag"], "v3", "nothing is versioned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_others_are_refused() {
    let mut leg = Leg::new("bgrefused");
    leg.file("web.yaml", &web("v1", 1));
    let failure = leg.failed(step("e1", 1), STAGE).await;
    assert_eq!(failure.code.to_string(), "K8S_SERVICES_UNCLEAR", "{failure:?}");
    leg.file("service.yaml", &service("web"));
    leg.kubectl(&["create", "service", "clusterip", "web", "--tcp=80:80"]);
    let failure = leg.failed(step("e1", 2), STAGE).await;
    assert_eq!(failure.code.to_string(), "K8S_SERVICE_WITHOUT_COLOR", "{failure:?}");
    assert!(leg.names("deployments", "").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_services_are_swapped() {
    let leg = Leg::new("swap");
    let with = |name: &str, app: &str| {
        leg.kubectl(&["create", "service", "clusterip", name, "--tcp=80:80"]);
        leg.kubectl(&["set", "selector", "service", name, &format!("app={app}")]);
    };
    with("one", "a");
    with("two", "b");
    let swap = |undo| KubernetesAction::Swap { service1: "one".to_owned(), service2: "two".to_owned(), undo };
    let apps = || [leg.selects("one", "app"), leg.selects("two", "app")];
    leg.done(step("e1", 1), swap(false)).await;
    assert_eq!(apps(), ["b", "a"]);
    // Two swaps of one execution are undone together.
    leg.done(step("e1", 2), swap(false)).await;
    assert_eq!(apps(), ["a", "b"]);
    leg.done(step("e1", 3), swap(true)).await;
    assert_eq!(apps(), ["a", "b"]);
    // What somebody else has changed is left so.
    leg.done(step("e2", 1), swap(false)).await;
    leg.kubectl(&["set", "selector", "service", "one", "app=c"]);
    let failure = leg.failed(step("e2", 2), swap(true)).await;
    assert_eq!(failure.code.to_string(), "K8S_SELECTOR_CHANGED", "{failure:?}");
    assert_eq!(apps(), ["c", "a"]);
    leg.kubectl(&["delete", "service", "two"]);
    let failure = leg.failed(step("e3", 1), swap(false)).await;
    assert!(failure.message.ends_with("/Service/two"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_services_are_annotated_and_scalers_go_with_the_set() {
    let mut leg = Leg::new("bgown");
    leg.file("web.yaml", &web("v1", 2));
    let annotated = |name: &str, annotation: &str| {
        service(name).replace(
            "}\nspec",
            &format!(", annotations: {{harness.io/{annotation}-service: \"true\"}}}}\nspec"),
        )
    };
    leg.file("service.yaml", &format!("{}---\n{}", annotated("front", "primary"), annotated("try", "stage")));
    leg.file(
        "scale.yaml",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n---\n\
         apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}\n",
    );
    let outputs = leg.done(step("e1", 1), STAGE).await;
    assert_eq!(
        [outputs["primaryServiceName"].as_str(), outputs["stageServiceName"].as_str()],
        ["front", "try"]
    );
    leg.done(step("e2", 1), STAGE).await;
    assert_eq!([leg.selects("front", COLOR), leg.selects("try", COLOR)], ["blue", "green"]);
    assert_eq!(leg.names("hpa", ""), ["web-blue", "web-green"]);
    assert_eq!(leg.names("pdb", ""), ["web-blue", "web-green"]);
    assert_eq!(leg.get("hpa", "web-green")["spec"]["scaleTargetRef"]["name"], "web-green");

    // A set that does not get ready fails; what serves is not touched.
    let swap =
        KubernetesAction::Swap { service1: "front".to_owned(), service2: "try".to_owned(), undo: false };
    leg.done(step("e2", 2), swap).await;
    leg.file("web.yaml", &web("v2-never", 2));
    let mut task = leg.task(step("e3", 1), STAGE);
    task.timeout_ms = 8_000;
    let (outcome, log) = leg.perform(&task).await;
    let text = format!("{:?}", outcome.result);
    assert!(text.contains("Timeout") && text.contains("web-blue"), "{text}\n{log}");
    assert_eq!([leg.selects("front", COLOR), leg.selects("try", COLOR)], ["green", "blue"]);
    assert_eq!(leg.get("deployment", "web-green")["status"]["availableReplicas"], 2);
}
