//! Manifests that are wrong, huge, of others, or never end; Pods that do not come up; secrets among them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use manifold_testkit::cluster::pair;
use serde_json::json;

use super::{Case, Street, application, bad, ensure_cases, good, keep};
use crate::kubernetes::cluster_tree::{
    ENVIRONMENT, cluster_phase, on_cluster, on_clusters, rollback, rolling, rollout,
};
use crate::kubernetes::world::Shop;
use crate::shared::run;
use crate::story::DEADLINE;
use crate::tree::SERVICE;

const APPLICATION: &str = "APPLICATION_ERROR";

const CASES: [Case; 18] = [
    good("plain"),
    good("without-status"),
    good("huge"),
    good("many"),
    good("discreet"),
    bad("unknown-kind", APPLICATION, "K8S_KIND_UNKNOWN", &["Basket", "shop.example/v1"]),
    bad("no-yaml", APPLICATION, "K8S_TEMPLATE_FAILED", &["no-yaml.yaml", "line 3"]),
    bad("no-object", APPLICATION, "K8S_TEMPLATE_FAILED", &["no-object.yaml"]),
    bad("gives-up", APPLICATION, "K8S_TEMPLATE_FAILED", &["gives-up.yaml", "the basket is empty"]),
    bad("nil", APPLICATION, "K8S_TEMPLATE_FAILED", &["nil.yaml", "nil pointer"]),
    bad("of-others", APPLICATION, "K8S_OWNED_BY_OTHERS", &["ConfigMap/theirs", "argo", "data"]),
    bad("no-revisions", APPLICATION, "K8S_NO_REVISIONS", &["Deployment/web", "revisionHistoryLimit"]),
    bad("reserved", APPLICATION, "K8S_NAME_RESERVED", &["ConfigMap/release-"]),
    bad("indiscreet", APPLICATION, "K8S_REFUSED", &["Deployment/web"]),
    bad("quota", APPLICATION, "K8S_NOT_STEADY", &["Deployment/web", "exceeded quota"]),
    bad("no-image", APPLICATION, "K8S_NOT_STEADY", &["Deployment/web", "ImagePull"]),
    bad("crashes", APPLICATION, "K8S_NOT_STEADY", &["Deployment/web", "CrashLoopBackOff"]),
    bad(
        "unready",
        APPLICATION,
        "K8S_NOT_STEADY",
        &["Deployment/web", "progress deadline", "Readiness probe failed"],
    ),
];

const SECRET: &str = "Basket-Pass 7/x";

/// A Deployment with this tag, given up after 6 s; `more` stands in its spec, `said` in its labels.
fn web(tag: &str, more: &str, said: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  replicas: 1\n  progressDeadlineSeconds: 6\n{more}  \
         selector: {{ matchLabels: {{ app: web }} }}\n  template:\n    metadata:\n      labels:\n        app: web\n{said}    spec:\n      \
         containers:\n      - name: web\n        image: shop/web:{tag}\n"
    )
}

/// The manifest of a case.
fn manifest(leg: &str) -> String {
    const PASSWORD: &str = "${secrets.getValue(\"basket password\")}";
    let map = |name: &str, data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {data}\n")
    };
    match leg {
        "without-status" => "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: crates.storm.example }
spec:
  group: storm.example
  scope: Namespaced
  names: { plural: crates, singular: crate, kind: Crate }
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, properties: { spec: { type: object, x-kubernetes-preserve-unknown-fields: true } } } }
---
apiVersion: storm.example/v1
kind: Crate
metadata: { name: first }
spec: { weight: 7 }
"
        .to_owned(),
        "huge" => map("huge", "{{ repeat 921600 \"x\" }}"),
        "many" => format!("{{{{- range until 500 }}}}\n---\n{}{{{{- end }}}}\n", map("many-{{ . }}", "\"{{ . }}\"")),
        "discreet" => format!(
            "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: login }}\nstringData:\n  password: {PASSWORD}\n",
            web("v1", "", "") + &format!("        env:\n        - name: PASSWORD\n          value: {PASSWORD}\n")
        ),
        "unknown-kind" => "apiVersion: shop.example/v1\nkind: Basket\nmetadata: { name: basket }\n".to_owned(),
        "no-yaml" => "apiVersion: v1\nkind: ConfigMap\nmetadata: name: twice: thrice\n".to_owned(),
        "no-object" => "- just\n- a\n- list\n".to_owned(),
        "gives-up" => "{{ fail \"the basket is empty\" }}\n".to_owned(),
        "nil" => map("nil", "{{ .Values.no.such.thing }}"),
        "of-others" => web("v1", "", "")
            + "---\n"
            + &map("theirs", "ours").replace("theirs\n", "theirs\n  annotations: { harness.io/skip-versioning: \"true\" }\n"),
        "no-revisions" => web("v1", "  revisionHistoryLimit: 0\n", ""),
        "reserved" => map("{{ .Release.Name }}", "x")
            .replace("\ndata:", "\n  annotations: { harness.io/skip-versioning: \"true\" }\ndata:"),
        "indiscreet" => web("v1", "", &format!("        password: {PASSWORD}\n")),
        "quota" => web("v1", "", ""),
        "no-image" => web("v1-nopull", "", ""),
        "crashes" => web("v1-crash", "", ""),
        "unready" => web("v1-never", "", ""),
        "endless" => "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}\n".to_owned(),
        _ => web("v1", "", ""),
    }
}

/// A service whose manifests are those of the leg that deploys it.
fn of_the_leg(leg: &str) -> (String, String) {
    let text = format!("{{{{- if eq .Values.leg \"{leg}\" }}}}\n{}{{{{- end }}}}\n", manifest(leg));
    (format!("templates/{leg}.yaml"), text)
}

#[test]
fn manifests_that_are_wrong_fail_their_own_legs_and_tell_no_secret() {
    run(async {
        let shop = Shop::open("BadManifests").await?;
        let (east, _) = pair()?;
        let street = Street::new(&east, "badmanifests", &CASES)?;
        keep(&shop.server, "basket password", SECRET).await?;
        let theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: theirs }\ndata: { key: theirs }\n";
        let of_others = street.namespace("of-others");
        east.kubectl_with(
            &["-n", &of_others, "apply", "--server-side", "--field-manager=argo", "-f", "-"],
            theirs,
        )?;
        let quota = street.namespace("quota");
        east.kubectl(&["-n", &quota, "create", "quota", "none", "--hard=pods=0"])?;
        east.wait(("quota", &quota, "none"), DEADLINE, |quota| quota["status"]["hard"]["pods"] == "0")?;
        let mut files: Vec<(String, String)> = CASES.iter().map(|case| of_the_leg(case.leg)).collect();
        files.push(of_the_leg("endless"));
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let hurry = [rollout(json!({ "timeoutMillis": 6_000 }))];
        let tree = street
            .definitions(application(&shop), &CASES)
            .definition("endless", &east, &street.base)
            .kubernetes_service(SERVICE, &files)
            .values("leg: ${infra.name}\n")
            .workflow("roll", rolling())
            .workflow("hurry", on_cluster("ROLLING", &hurry, &[rollback()]));
        shop.tell(tree).await?;
        let before = [("of-others", "ConfigMap/theirs")];
        let shipped = ensure_cases(&shop, &street, &CASES, &before).await?;
        let found = east.get("configmap", &of_others, "theirs")?;
        ensure!(found["data"]["key"] == "theirs", "{found}");
        let huge = east.get("configmap", &street.namespace("huge"), "huge-1")?;
        ensure!(huge["data"]["key"].as_str().is_some_and(|text| text.len() == 921_600));
        let crate_of = street.namespace("without-status");
        ensure!(east.get("crates.storm.example", &crate_of, "first")?["spec"]["weight"] == 7);
        let many = street.left()?.remove("many").unwrap_or_default();
        ensure!(many.len() == 500, "{}", many.len());
        for leg in ["quota", "no-image", "crashes", "unready"] {
            let log = shop.log(shipped.leg(leg)?).await?;
            let says = CASES.iter().find(|case| case.leg == leg).map_or(&[][..], |case| case.says);
            ensure!(says.iter().all(|word| log.contains(word)), "{leg}: {log}");
        }
        let discreet = street.namespace("discreet");
        let show = "go-template={{ .data.password | base64decode }}";
        let login = east.kubectl(&["-n", &discreet, "get", "secret", "login-1", "-o", show])?;
        ensure!(login == SECRET, "{login}");
        for leg in ["discreet", "indiscreet"] {
            ensure_hidden(&shop, shipped.leg(leg)?).await?;
        }
        let histories =
            east.kubectl(&["get", "configmaps", "-A", "-l", "harness.io/release-name", "-o", "yaml"])?;
        ensure!(!histories.contains(SECRET), "the secret is in a ConfigMap");

        let began = Instant::now();
        let execution = shop.start_alone("hurry", &[("infrastructure", "endless")]).await?;
        ensure!(shop.server.ended(&execution, DEADLINE).await? == "FAILED");
        let reason = shop.failure(&execution).await?;
        ensure!(reason.class == "TIMEOUT_ERROR" && reason.code == "K8S_TEMPLATE_TIMEOUT", "{reason:?}");
        ensure!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
        Ok(())
    });
}

/// Fails when the secret can be read in what the API says of a leg, or in any file of the server.
async fn ensure_hidden(shop: &Shop, leg: &str) -> Result<()> {
    let reason = format!("{:?}", shop.failure(leg).await?);
    let journal = serde_json::to_string(&shop.server.events(leg).await?)?;
    let log = shop.log(leg).await?;
    for text in [reason, journal, log] {
        ensure!(!text.contains(SECRET), "the secret is told: {text}");
    }
    let mut folders = vec![shop.server.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let told = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                ensure!(!told, "the secret is in {}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn services_whose_manifests_cannot_be_had_are_refused_at_start_and_values_that_are_no_yaml_fail() {
    run(async {
        let shop = Shop::open("NoManifests").await?;
        let (cluster, namespace) = (&shop.east.cluster, &shop.east.namespace);
        let bare = json!({ "artifactType": "DOCKER", "deploymentType": "KUBERNETES" });
        let remote = json!({ "type": "APPLICATION_MANIFEST", "storeType": "Remote",
            "gitFileConfig": { "connectorName": "git", "branch": "main", "filePath": "shop" } });
        let source = json!({ "type": "APPLICATION_MANIFEST", "storeType": "Local" });
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: {{ .Values.name }} }\n";
        let roll = |service: &str| {
            on_clusters(
                "ROLLING",
                &[cluster_phase("Phase 1", &[rollout(json!({}))]).of(service).undo(&[rollback()])],
            )
        };
        let plain =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\ndata:\n  where: ${infra.name}: there\n";
        let tree = shop
            .application()
            .environment(ENVIRONMENT, &[])
            .definition("east", cluster, namespace)
            .kubernetes_service("plain", &[("deep/map.yaml", plain)])
            .workflow("plain", roll("plain"))
            .service("bare", bare.clone())
            .service("remote", bare)
            .file("Services/remote/Manifests/Index.yaml", remote)
            .kubernetes_service("garbled", &[("templates/map.yaml", template)])
            .file("Services/garbled/Values/Index.yaml", source)
            .text("Services/garbled/Values/values.yaml", "name: x\n  y: [z\n")
            .workflow("bare", roll("bare"))
            .workflow("remote", roll("remote"))
            .workflow("garbled", roll("garbled"));
        shop.tell(tree).await?;
        let on = [("infrastructure", "east")];
        shop.refusal("workflow", "bare", &on).await?.is("MANIFESTS_MISSING", "bare")?;
        let refusal = shop.refusal("workflow", "remote", &on).await?;
        refusal.is("MANIFESTS_UNSUPPORTED", "remote")?;
        ensure!(refusal.message.contains("Remote"), "{}", refusal.message);
        for (workflow, says) in [("garbled", "values.yaml"), ("plain", "deep/map.yaml, document 1, line 5")] {
            let execution = shop.start_alone(workflow, &on).await?;
            ensure!(shop.server.ended(&execution, DEADLINE).await? == "FAILED");
            let reason = shop.failure(&execution).await?;
            ensure!(reason.class == APPLICATION && reason.code == "K8S_MANIFEST_INVALID", "{reason:?}");
            ensure!(reason.message.contains(says), "{reason:?}");
        }
        Ok(())
    });
}
