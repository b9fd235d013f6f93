//! The configuration tree of a service on Kubernetes with a definition for each namespace, and the server that is told of the cluster.

use anyhow::Result;
use manifold_testkit::cluster::Cluster;
use manifold_testkit::server::Server;
use serde_json::json;

use crate::tree::{APPLICATION, File, PIPELINE, PIPELINE_YAML};

/// Name of the release in every namespace, and of the `ConfigMap` with its history.
pub const RELEASE: &str = "release-web";
/// Name of the Deployment and of the Service.
pub const WEB: &str = "web";
/// Name of the `ConfigMap`, before it is versioned.
pub const SETTINGS: &str = "settings";
/// Pods of the Deployment.
pub const REPLICAS: u32 = 3;
/// Name of the cloud provider; its secrets begin so.
const PROVIDER: &str = "cluster";

const CONFIG_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { version: \"${artifact.buildNo}\" }
";
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
";

/// The Deployment; with `settings` its pods read the `ConfigMap`.
fn deployment(replicas: u32, settings: bool) -> String {
    let environment = if settings { "        envFrom: [{ configMapRef: { name: settings } }]\n" } else { "" };
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      containers:
      - name: web
        image: ${{artifact.metadata.image}}
{environment}"
    )
}

/// A Deployment, a Service and a `ConfigMap` for each of these namespaces.
pub fn whole(cluster: &Cluster, namespaces: &[String]) -> Vec<File> {
    let manifests =
        [("settings.yaml", CONFIG_MAP), ("service.yaml", SERVICE), ("web.yaml", &deployment(REPLICAS, true))];
    tree(cluster, namespaces, &manifests)
}

/// A Deployment of one pod for each of these namespaces.
pub fn small(cluster: &Cluster, namespaces: &[String]) -> Vec<File> {
    tree(cluster, namespaces, &[("web.yaml", &deployment(1, false))])
}

fn tree(cluster: &Cluster, namespaces: &[String], manifests: &[(&str, &str)]) -> Vec<File> {
    let head = "harnessApiVersion: '1.0'\n";
    let application = format!("Setup/Applications/{APPLICATION}");
    let service = format!("{application}/Services/cart");
    let environment = format!("{application}/Environments/production");
    let mut files = vec![
        (
            "Setup/Artifact Servers/hub.yaml".to_owned(),
            format!("{head}type: DOCKER\nurl: http://127.0.0.1:1/v2/\n"),
        ),
        (format!("Setup/Cloud Providers/{PROVIDER}.yaml"), format!("{head}{}", provider(cluster))),
        (format!("{application}/Index.yaml"), format!("{head}type: APPLICATION\n")),
        (format!("{environment}/Index.yaml"), format!("{head}type: ENVIRONMENT\nenvironmentType: PROD\n")),
        (
            format!("{service}/Index.yaml"),
            format!("{head}type: SERVICE\nartifactType: DOCKER\ndeploymentType: KUBERNETES\n"),
        ),
        (
            format!("{service}/Artifact Servers/image.yaml"),
            format!(
                "{head}type: DOCKER\nserverName: hub\nimageName: shop/web\nmetadataOnly: true\ncollectionEnabled: false\n"
            ),
        ),
        (
            format!("{service}/Manifests/Index.yaml"),
            format!("{head}type: APPLICATION_MANIFEST\nstoreType: Local\n"),
        ),
        (format!("{application}/Workflows/roll.yaml"), format!("{head}{}", workflow(namespaces))),
        (format!("{application}/Pipelines/{PIPELINE}.yaml"), PIPELINE_YAML.to_owned()),
    ];
    files.extend(
        manifests
            .iter()
            .map(|(name, text)| (format!("{service}/Manifests/Files/{name}"), (*text).to_owned())),
    );
    files.extend(namespaces.iter().map(|namespace| {
        let path = format!("{environment}/Infrastructure Definitions/{namespace}.yaml");
        (path, format!("{head}{}", definition(namespace)))
    }));
    files
}

fn provider(cluster: &Cluster) -> String {
    format!(
        "type: KUBERNETES_CLUSTER
authType: SERVICE_ACCOUNT
masterUrl: {}
serviceAccountToken: safeharness:{PROVIDER} token
caCert: safeharness:{PROVIDER} authority
skipValidation: true
",
        cluster.url()
    )
}

fn definition(namespace: &str) -> String {
    format!(
        "type: INFRA_DEFINITION
cloudProviderType: KUBERNETES_CLUSTER
deploymentType: KUBERNETES
infrastructure:
- type: DIRECT_KUBERNETES
  cloudProviderName: {PROVIDER}
  namespace: {namespace}
  releaseName: {RELEASE}
"
    )
}

fn workflow(namespaces: &[String]) -> String {
    format!(
        "type: ROLLING
concurrencyStrategy: INFRA
envName: production
phases:
- type: KUBERNETES
  name: Roll
  infraDefinitionName: {}
  serviceName: cart
  phaseSteps:
  - type: K8S_PHASE_STEP
    name: Deploy
    steps:
    - type: K8S_DEPLOYMENT_ROLLING
      name: Rollout Deployment
      properties: {{ stateTimeoutInMinutes: 60 }}
    stepsInParallel: false
  templateExpressions:
  - expression: ${{infrastructure}}
    fieldName: infraDefinitionId
    metadata:
    - name: entityType
      value: INFRASTRUCTURE_DEFINITION
templatized: true
userVariables:
- type: ENTITY
  name: infrastructure
  fixed: false
  mandatory: true
",
        namespaces.first().map_or("", String::as_str)
    )
}

/// Tells a server the token for the cluster and its certificate authority.
pub async fn introduce(server: &Server, cluster: &Cluster) -> Result<()> {
    const CREATE: &str = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
    for (what, value) in [("token", cluster.token().to_owned()), ("authority", cluster.ca_pem()?)] {
        let secret = json!({ "name": format!("{PROVIDER} {what}"), "value": value });
        let input = json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": secret });
        server.data_of(CREATE, json!({ "i": input })).await?;
    }
    Ok(())
}
