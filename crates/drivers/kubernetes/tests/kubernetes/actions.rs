//! Ownership, and the steps Apply, Scale and Delete.

use manifold_model::FailureClass;
use manifold_model::kubernetes::{DeleteResources, Instances, KubernetesAction};
use manifold_testkit::cluster;
use serde_json::Value;

use crate::world::{Release, config, deployment, workload};

fn apply(path: &str) -> KubernetesAction {
    KubernetesAction::Apply {
        files: vec![path.to_owned()],
        skip_dry_run: false,
        skip_steady_state: false,
        skip_rendering: false,
    }
}

fn scale(workload: &str, instances: Instances) -> KubernetesAction {
    KubernetesAction::Scale { workload: workload.to_owned(), instances, skip_steady_state: false }
}

fn delete(name: &str) -> KubernetesAction {
    KubernetesAction::Delete { resources: DeleteResources::Named { names: vec![name.to_owned()] } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubectl_applied_is_taken_over() {
    let release = Release::new(&cluster::one().unwrap(), "owned");
    let in_it = ["-n", release.namespace.as_str()];
    let more = "          env: [{name: KEPT, value: 'yes'}, {name: DROPPED, value: 'yes'}]\n";
    let text = workload("Deployment", "web", "v1", 2, more);
    release.cluster.kubectl_with(&["apply", "-f", "-", in_it[0], in_it[1]], &text).unwrap();
    release.cluster.kubectl(&["annotate", "deployment/web", "theirs=kept", in_it[0], in_it[1]]).unwrap();
    let less = "          env: [{name: KEPT, value: 'yes'}]\n";
    release.roll("e1", &workload("Deployment", "web", "v2", 2, less)).await.good();
    let live = release.cluster.get("deployment", &release.namespace, "web").unwrap();
    let arguments = [
        "get",
        "deployment/web",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].manager}",
    ];
    let managers = release.cluster.kubectl(&[&arguments[..], &in_it[..]].concat()).unwrap();
    assert!(managers.contains("manifold"), "{managers}");
    assert!(!managers.contains("kubectl-client-side-apply"), "{managers}");
    assert_eq!(live["metadata"]["annotations"]["theirs"], "kept");
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/app:v2");
    assert_eq!(container["env"].as_array().unwrap().len(), 1, "{container}");
    assert_eq!(live["spec"]["replicas"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_others_is_refused_and_nothing_is_changed() {
    let release = Release::new(&cluster::one().unwrap(), "others");
    let theirs = config("shared", "theirs");
    let arguments =
        ["apply", "--server-side", "--field-manager=gitops", "-n", release.namespace.as_str(), "-f", "-"];
    release.cluster.kubectl_with(&arguments, &theirs).unwrap();
    let mut text = deployment("web", "v1", 1) + &config("shared", "ours");
    text = text.replace(
        "  name: shared\n",
        "  name: shared\n  annotations: {harness.io/skip-versioning: \"true\"}\n",
    );
    let done = release.roll("e1", &text).await;
    let failure = done.failure();
    assert_eq!((failure.class, failure.code.0.as_ref()), (FailureClass::Application, "K8S_OWNED_BY_OTHERS"));
    for part in ["ConfigMap/shared", "gitops", ".data.key"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert!(release.names("deployment").is_empty());
    let live = release.cluster.get("configmap", &release.namespace, "shared").unwrap();
    assert_eq!(live["data"]["key"], "theirs");
    // Handed over by our label, it is taken, and that is said.
    let label = "harness.io/release-name=any";
    release.cluster.kubectl(&["label", "configmap/shared", label, "-n", &release.namespace]).unwrap();
    let done = release.roll("e2", &text).await;
    assert!(done.good().log.contains(".data.key from \"gitops\""), "{}", done.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_manifests_are_refused_before_anything_is_touched() {
    let release = Release::new(&cluster::one().unwrap(), "bad");
    let good = deployment("web", "v1", 1);
    let table = [
        (
            "unknown-kind",
            "---\napiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n",
            "no kind Nothing",
        ),
        (
            "unknown-version",
            "---\napiVersion: apps/v9\nkind: Deployment\nmetadata: {name: x}\n",
            "no kind Deployment",
        ),
        (
            "namespace",
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n",
            "no namespace \"nowhere\"",
        ),
        (
            "invalid",
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999}]}\n",
            "Service",
        ),
        (
            "unknown-field",
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {nonsense: 1}\n",
            "nonsense",
        ),
        (
            "secret",
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {key: 4711}\n",
            "Secret/x",
        ),
        ("unreadable", "---\napiVersion: [\n", "all.yaml"),
        ("twice", good.as_str(), "twice"),
        (
            "history",
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: release-bad}\n",
            "named as the release",
        ),
        (
            "revisions",
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other}\nspec: {revisionHistoryLimit: 0}\n",
            "revisionHistoryLimit",
        ),
    ];
    for (name, text, expected) in table {
        let done = release.roll(name, &(good.clone() + text)).await;
        let failure = done.failure();
        assert_eq!(failure.class, FailureClass::Application, "{name}: {failure:?}");
        assert!(failure.message.contains(expected), "{name}: {}", failure.message);
        assert!(!failure.message.contains("4711"), "{name}: {}", failure.message);
        println!("{name}: {}", failure.message);
        assert!(release.names("deployment").is_empty(), "{name}");
    }
    let mut elsewhere = Release::new(&release.cluster, "bad");
    "no-such-namespace".clone_into(&mut elsewhere.namespace);
    let done = elsewhere.roll("e", &good).await;
    assert_eq!(done.failure().code.0.as_ref(), "K8S_NAMESPACE_MISSING");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_and_its_objects_in_one_rollout() {
    let release = Release::new(&cluster::one().unwrap(), "crd");
    let group = format!("{}.example.com", release.namespace);
    let text = format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\nspec:\n  \
         group: {group}\n  scope: Namespaced\n  names: {{plural: things, singular: thing, kind: Thing}}\n  versions:\n    - name: v1\n      \
         served: true\n      storage: true\n      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n\
         ---\napiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: one}}\nspec: {{size: 3}}\n\
         ---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}-more}}\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: in-it, namespace: {ns}-more}}\ndata: {{a: b}}\n",
        ns = release.namespace
    );
    release.roll("e1", &text).await.good();
    let thing = release.cluster.get(&format!("things.{group}"), &release.namespace, "one").unwrap();
    assert_eq!(thing["spec"]["size"], 3);
    let name = format!("{}/Thing/one", release.namespace);
    release.act("e2", "delete", delete(&name)).await.good();
    assert!(release.cluster.get(&format!("things.{group}"), &release.namespace, "one").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_applied_and_jobs_waited_for() {
    let release = Release::new(&cluster::one().unwrap(), "apply");
    let job = |name: &str, tag: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      \
             restartPolicy: Never\n      containers: [{{name: job, image: 'registry.example/job:{tag}'}}]\n"
        )
    };
    let (good, bad) = (job("migrate", "v1-job"), job("broken", "v1-jobfail"));
    let files = [("jobs/good.yaml", good.as_str()), ("jobs/bad.yaml", bad.as_str())];
    for _ in 0..2 {
        let task = release.task("e1", "apply", apply("jobs/good.yaml"), &files);
        release.perform(&task, &files).await.good();
    }
    assert_eq!(release.names("job"), ["migrate"]);
    let task = release.task("e2", "apply", apply("jobs/bad.yaml"), &files);
    let done = release.perform(&task, &files).await;
    assert_eq!(done.failure().class, FailureClass::Application, "{}", done.log);
    assert!(done.failure().message.contains("Job/broken"), "{}", done.failure().message);
    let task = release.task("e3", "apply", apply("jobs/none.yaml"), &files);
    release.perform(&task, &files).await.failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_and_deleting() {
    let release = Release::new(&cluster::one().unwrap(), "scale");
    let text = deployment("web", "v1", 3) + &config("settings", "x");
    release.roll("e1", &text).await.good();
    let replicas = || {
        release.cluster.get("deployment", &release.namespace, "web").unwrap()["spec"]["replicas"]
            .as_u64()
            .unwrap()
    };
    // The same task twice is a percentage of what there was first.
    for _ in 0..2 {
        release.act("e2", "half", scale("Deployment/web", Instances::Percentage(50))).await.good();
        assert_eq!(replicas(), 2);
    }
    release.act("e3", "none", scale("deployment/web", Instances::Count(0))).await.good();
    assert_eq!(replicas(), 0);
    let missing = release.act("e4", "missing", scale("Deployment/nobody", Instances::Count(1))).await;
    assert_eq!(missing.failure().code.0.as_ref(), "K8S_OBJECT_MISSING");
    // What we scaled does not stand in the way of the next rollout.
    release.roll("e5", &text.replace(":v1", ":v2")).await.good();
    assert_eq!(replicas(), 3);

    for _ in 0..2 {
        release.act("e6", "delete", delete("Deployment/web")).await.good();
        assert!(release.names("deployment").is_empty());
    }
    release.act("e7", "unknown", delete("Nothing/web")).await.failure();
    release.roll("e8", &text).await.good();
    let everything = KubernetesAction::Delete { resources: DeleteResources::Release { namespaces: false } };
    let done = release.act("e9", "all", everything).await;
    done.good();
    assert!(release.names("deployment").is_empty(), "{}", done.log);
    let left: Vec<String> =
        release.names("configmap").into_iter().filter(|name| name != "kube-root-ca.crt").collect();
    assert!(left.is_empty(), "{left:?}\n{}", done.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_named() {
    let mut release = Release::new(&cluster::one().unwrap(), "quota");
    release.seconds = 8;
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {pods: '0'}}\n";
    release.cluster.kubectl_with(&["apply", "-n", release.namespace.as_str(), "-f", "-"], quota).unwrap();
    let target = ("resourcequota", release.namespace.as_str(), "q");
    let seen = |quota: &Value| quota["status"]["hard"]["pods"] == "0";
    release.cluster.wait(target, std::time::Duration::from_secs(20), seen).unwrap();
    let done = release.roll("e1", &deployment("web", "v1", 1)).await;
    assert_eq!(done.failure().class, FailureClass::Timeout);
    assert!(done.failure().message.contains("exceeded quota"), "{}", done.failure().message);
}
