//! Configuration trees for clusters: manifests and values of a service, environments, definitions on clusters, steps.

use manifold_testkit::cluster::Cluster;
use serde_json::{Value, json};

use crate::tree::{Application, Phase, SERVICE, Workflow, phase, step, with, workflow};

/// The environment of every tree.
pub const ENVIRONMENT: &str = "prod";
/// The image of the service, without a tag.
pub const IMAGE: &str = "shop/web";
/// A Deployment of two Pods with the image of the artifact.
pub const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: web
        image: ${artifact.metadata.image}
";

/// Name of the secret with the token for a cluster.
pub fn token_of(cluster: &str) -> String {
    format!("{cluster} token")
}

/// Name of the secret with the certificate authority of a cluster.
pub fn authority_of(cluster: &str) -> String {
    format!("{cluster} authority")
}

impl Application {
    /// A service on Kubernetes with an image and these manifests, by path.
    pub fn on_kubernetes(self, manifests: &[(&str, &str)]) -> Self {
        let source = json!({ "type": "DOCKER", "serverName": "hub", "imageName": IMAGE, "metadataOnly": true,
            "collectionEnabled": false });
        self.account_file(
            "Artifact Servers/hub.yaml",
            json!({ "type": "DOCKER", "url": "http://127.0.0.1:1/v2/" }),
        )
        .kubernetes_service(SERVICE, manifests)
        .file(&format!("Services/{SERVICE}/Artifact Servers/image.yaml"), source)
    }

    /// A service on Kubernetes with these manifests, by path.
    pub fn kubernetes_service(self, name: &str, manifests: &[(&str, &str)]) -> Self {
        self.service(name, json!({ "artifactType": "DOCKER", "deploymentType": "KUBERNETES" }))
            .file(
                &format!("Services/{name}/Manifests/Index.yaml"),
                json!({ "type": "APPLICATION_MANIFEST", "storeType": "Local" }),
            )
            .manifests(name, manifests)
    }

    /// More manifests of a service, or other text for the same ones.
    pub fn manifests(self, service: &str, manifests: &[(&str, &str)]) -> Self {
        manifests.iter().fold(self, |application, (path, text)| {
            application.text(&format!("Services/{service}/Manifests/Files/{path}"), text)
        })
    }

    /// Configuration variables of the service.
    pub fn service_variables(self, variables: &[(&str, &str)]) -> Self {
        let variables: Vec<Value> = variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "valueType": "TEXT" }))
            .collect();
        self.service(
            SERVICE,
            json!({ "artifactType": "DOCKER", "deploymentType": "KUBERNETES", "configVariables": variables }),
        )
    }

    /// Values of the service.
    pub fn values(self, text: &str) -> Self {
        self.file(
            &format!("Services/{SERVICE}/Values/Index.yaml"),
            json!({ "type": "APPLICATION_MANIFEST", "storeType": "Local" }),
        )
        .text(&format!("Services/{SERVICE}/Values/values.yaml"), text)
    }

    /// Values of the environment: for a service, or for all.
    pub fn environment_values(self, service: Option<&str>, text: &str) -> Self {
        let (folder, kind) = match service {
            Some(service) => {
                (format!("Services/{service}/"), "APPLICATION_MANIFEST_VALUES_ENV_SERVICE_OVERRIDE")
            }
            None => (String::new(), "APPLICATION_MANIFEST_VALUES_ENV_OVERRIDE"),
        };
        let folder = format!("Environments/{ENVIRONMENT}/Values/{folder}");
        self.file(&format!("{folder}Index.yaml"), json!({ "type": kind, "storeType": "Local" }))
            .text(&format!("{folder}values.yaml"), text)
    }

    /// The cloud provider of a cluster, named as it is.
    pub fn cluster(self, cluster: &Cluster) -> Self {
        let provider = json!({ "type": "KUBERNETES_CLUSTER", "authType": "SERVICE_ACCOUNT", "masterUrl": cluster.url(),
            "serviceAccountToken": format!("safeharness:{}", token_of(cluster.name())),
            "caCert": format!("safeharness:{}", authority_of(cluster.name())), "skipValidation": true });
        self.account_file(&format!("Cloud Providers/{}.yaml", cluster.name()), provider)
    }

    /// A definition on a namespace of a cluster.
    pub fn definition(self, name: &str, cluster: &Cluster, namespace: &str) -> Self {
        self.definition_with(name, cluster, namespace, json!({}))
    }

    /// A definition on a namespace of a cluster, with more keys of its item.
    pub fn definition_with(self, name: &str, cluster: &Cluster, namespace: &str, more: Value) -> Self {
        let item = json!({ "type": "DIRECT_KUBERNETES", "cloudProviderName": cluster.name(), "namespace": namespace,
            "releaseName": "release-${infra.kubernetes.infraId}" });
        let definition = json!({ "cloudProviderType": "KUBERNETES_CLUSTER", "deploymentType": "KUBERNETES",
            "infrastructure": [with(item, more)] });
        self.cluster(cluster).infrastructure(ENVIRONMENT, name, definition)
    }
}

/// A phase on clusters with these steps.
pub fn cluster_phase(name: &str, steps: &[Value]) -> Phase {
    phase(name, steps).kind("KUBERNETES", "K8S_PHASE_STEP")
}

/// A workflow of one phase on clusters, rolled back on failures of every class.
pub fn on_cluster(kind: &str, steps: &[Value], undo: &[Value]) -> Workflow {
    on_clusters(kind, &[cluster_phase("Phase 1", steps).undo(undo)])
}

/// A workflow of phases on clusters, rolled back on failures of every class.
pub fn on_clusters(kind: &str, phases: &[Phase]) -> Workflow {
    let strategy = json!({ "executionScope": "WORKFLOW", "repairActionCode": "ROLLBACK_WORKFLOW", "retryCount": 0,
        "failureTypes": ["APPLICATION_ERROR", "CONNECTIVITY", "AUTHENTICATION",
            "VERIFICATION_FAILURE", "TIMEOUT_ERROR", "DELEGATE_ERROR"] });
    workflow(phases).with(json!({ "type": kind, "failureStrategies": [strategy] }))
}

/// The rolling workflow: rollout and rollback.
pub fn rolling() -> Workflow {
    on_cluster("ROLLING", &[rollout(json!({}))], &[rollback()])
}

/// Rollout Deployment.
pub fn rollout(more: Value) -> Value {
    step("K8S_DEPLOYMENT_ROLLING", "Rollout Deployment", with(json!({ "stateTimeoutInMinutes": 2 }), more))
}

/// Rollback Deployment.
pub fn rollback() -> Value {
    step("K8S_DEPLOYMENT_ROLLING_ROLLBACK", "Rollback Deployment", json!({ "stateTimeoutInMinutes": 2 }))
}

/// Canary Deployment.
pub fn canary(instances: &str, unit: &str) -> Value {
    let properties = json!({ "instances": instances, "instanceUnitType": unit, "stateTimeoutInMinutes": 2 });
    step("K8S_CANARY_DEPLOY", "Canary Deployment", properties)
}

/// Canary Delete.
pub fn canary_delete() -> Value {
    delete("${k8s.canaryWorkload}")
}

/// Delete.
pub fn delete(resources: &str) -> Value {
    step("K8S_DELETE", "Delete", json!({ "resources": resources, "stateTimeoutInMinutes": 2 }))
}

/// Stage Deployment.
pub fn stage_deployment() -> Value {
    step("K8S_BLUE_GREEN_DEPLOY", "Stage Deployment", json!({ "stateTimeoutInMinutes": 2 }))
}

/// Swap Primary with Stage.
pub fn swap() -> Value {
    let properties =
        json!({ "service1": "${k8s.primaryServiceName}", "service2": "${k8s.stageServiceName}" });
    step("KUBERNETES_SWAP_SERVICE_SELECTORS", "Swap Primary with Stage", properties)
}

/// Apply.
pub fn apply(files: &str, more: Value) -> Value {
    step("K8S_APPLY", "Apply", with(json!({ "filePaths": files, "stateTimeoutInMinutes": 2 }), more))
}

/// Scale.
pub fn scale(workload: &str, instances: &str, unit: &str) -> Value {
    let properties = json!({ "workload": workload, "instances": instances, "instanceUnitType": unit,
        "stateTimeoutInMinutes": 2 });
    step("K8S_SCALE", "Scale", properties)
}

/// A step under another name.
pub fn named(name: &str, step: Value) -> Value {
    with(step, json!({ "name": name }))
}

/// A script on the delegate with the kubeconfig of its phase.
pub fn with_kubeconfig(name: &str, text: &str) -> Value {
    crate::tree::script(name, &format!("set -e\nexport KUBECONFIG=${{HARNESS_KUBE_CONFIG_PATH}}\n{text}"))
}
