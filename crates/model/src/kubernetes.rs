//! Tasks on a Kubernetes cluster (`behaviour.md` 22): what a delegate is told, resolved, the content of manifests left as references to file
//! documents so that 10,000 legs do not carry 10,000 copies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Rendered;
use crate::task::FileSource;

/// What to do on a cluster.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesTask {
    /// The cluster.
    pub cluster: ClusterTarget,
    /// Namespace of objects that name none; it exists beforehand.
    pub namespace: String,
    /// Release name: the name of the `ConfigMap` that keeps the release's history, and the value of the label `harness.io/release-name`.
    pub release: String,
    /// The objects, for actions that deploy or delete by file.
    pub manifests: Manifests,
    /// What to do.
    pub action: KubernetesAction,
}

/// A cluster and how to sign in to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTarget {
    /// Name of the cloud provider, for messages.
    pub name: String,
    /// How to reach it.
    pub access: ClusterAccess,
}

/// How to reach a cluster. Credentials are references to secrets as configuration writes them (`safeharness:eu-token`, or the bare name);
/// certificates may also stand there as PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "by", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ClusterAccess {
    /// As the delegate itself: its service account inside a cluster, else its kubeconfig (`useKubernetesDelegate`).
    Delegate {},
    /// By the URL of the API server.
    Url {
        /// `masterUrl`.
        url: String,
        /// `caCert`; without one the system's authorities count.
        ca: Option<String>,
        /// Who signs in.
        sign_in: ClusterSignIn,
        /// Whether the server's certificate is taken unseen (`insecureSkipTlsVerify`), never by default.
        insecure: bool,
    },
}

/// Who signs in to a cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "as", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ClusterSignIn {
    /// `serviceAccountToken`.
    Token {
        /// Secret.
        token: String,
    },
    /// `username` and `password`, sent as HTTP Basic.
    Password {
        /// User name, or a secret with it.
        user: String,
        /// Whether `user` is a secret (`usernameSecretId`, `useEncryptedUsername`).
        user_is_secret: bool,
        /// Secret.
        password: String,
    },
    /// `clientCert` and `clientKey`.
    Certificate {
        /// Certificate.
        certificate: String,
        /// Secret with the private key.
        key: String,
        /// Secret with the key's passphrase.
        passphrase: Option<String>,
    },
    /// Nobody.
    Anonymous {},
}

/// The manifests of a service with their values.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifests {
    /// Manifest files, sorted by path.
    pub files: Vec<TextFile>,
    /// Values files for Go templates, low precedence first: service, environment for all services, environment for this service. They are
    /// merged by key (`behaviour.md` 12.3, 22).
    pub values: Vec<TextFile>,
    /// Values of the step itself, which win over all files.
    pub inline_values: Option<Rendered>,
    /// Every `${…}` span that the files hold, as written there, and what stands for it. Spans without an entry stay as they are.
    pub spans: BTreeMap<String, Rendered>,
    /// Whether the files are Go templates, which `helm template` renders.
    pub templated: bool,
    /// `skipVersioningForAllK8sObjects`.
    pub skip_versioning: bool,
    /// The manifests that an earlier step exported, to be deployed instead of the files (Inherit Manifest).
    pub inherited: Option<Rendered>,
}

/// A text file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TextFile {
    /// Path as people name it: below `Manifests/Files`, or the path of the values document.
    pub path: String,
    /// Where its content comes from.
    pub source: FileSource,
}

/// What is done on the cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "do", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum KubernetesAction {
    /// `K8S_DEPLOYMENT_ROLLING`: apply everything and wait until it is steady.
    Rollout {
        /// Leave the dry run out.
        skip_dry_run: bool,
        /// Only render: the output `manifests` holds the text, nothing is deployed (Export Manifest).
        export: bool,
    },
    /// `K8S_DEPLOYMENT_ROLLING_ROLLBACK`: workloads back to the last successful release.
    RollbackRollout {},
    /// `K8S_CANARY_DEPLOY`: a copy of the workload named `<name>-canary`.
    Canary {
        /// How many instances.
        instances: Instances,
        /// Leave the dry run out.
        skip_dry_run: bool,
        /// As for a rollout.
        export: bool,
    },
    /// `K8S_BLUE_GREEN_DEPLOY`: the workload as `<name>-<colour>` behind the stage service.
    BlueGreen {
        /// Leave the dry run out.
        skip_dry_run: bool,
        /// As for a rollout.
        export: bool,
    },
    /// `KUBERNETES_SWAP_SERVICE_SELECTORS`: two services exchange their selectors.
    Swap {
        /// First service.
        service1: String,
        /// Second service.
        service2: String,
        /// Whether this undoes a swap of this execution: then nothing happens when there was none.
        undo: bool,
    },
    /// `K8S_APPLY`: apply some of the files; neither versioned nor rolled back.
    Apply {
        /// Paths of manifest files.
        files: Vec<String>,
        /// Leave the dry run out.
        skip_dry_run: bool,
        /// Don't wait.
        skip_steady_state: bool,
        /// Take the files as they are, without Go templates.
        skip_rendering: bool,
    },
    /// `K8S_SCALE`.
    Scale {
        /// `[namespace/]Kind/name`.
        workload: String,
        /// How many instances.
        instances: Instances,
        /// Don't wait.
        skip_steady_state: bool,
    },
    /// `K8S_DELETE`.
    Delete {
        /// What.
        resources: DeleteResources,
    },
}

/// A number of instances.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "unit", content = "value", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Instances {
    /// So many.
    Count(u32),
    /// So many of a hundred of those that there are, rounded up, at least one unless it is 0 (50 % of 3 is 2).
    Percentage(u32),
}

/// What is deleted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "by", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum DeleteResources {
    /// These: `[namespace/]Kind/name`.
    Named {
        /// Names.
        names: Vec<String>,
    },
    /// Everything of the release (`*`).
    Release {
        /// Its namespaces too (`deleteNamespacesForRelease`).
        namespaces: bool,
    },
    /// What these manifest files hold.
    Files {
        /// Paths.
        files: Vec<String>,
    },
}

impl DeleteResources {
    /// From a step's `resources`: `*`, or a list by comma of `[namespace/]Kind/name`, or of paths of manifest files (they end in `.yaml` or
    /// `.yml`). `None` when it names nothing, or names and files together.
    #[must_use]
    pub fn parse(text: &str, namespaces: bool) -> Option<Self> {
        let items = list(text);
        if items.iter().any(|item| item == "*") {
            return (items.len() == 1).then_some(Self::Release { namespaces });
        }
        let files = items.iter().filter(|item| is_manifest_path(item)).count();
        match (files, items.len()) {
            (_, 0) => None,
            (0, _) => Some(Self::Named { names: items }),
            (files, all) => (files == all).then_some(Self::Files { files: items }),
        }
    }
}

/// Items of a list by comma, without the empty ones.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Whether an item of a list names a manifest file, not an object.
#[must_use]
pub fn is_manifest_path(item: &str) -> bool {
    [".yaml", ".yml"].iter().any(|end| item.to_ascii_lowercase().ends_with(end))
}

/// Longest name that Kubernetes takes for a namespace, and for the value of a label.
const MAX_LABEL: usize = 63;

/// Whether a text may name a namespace or a release: a DNS label (RFC 1123).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_LABEL
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

/// Step types that act on a cluster.
pub mod kind {
    /// Rollout Deployment.
    pub const ROLLOUT: &str = "K8S_DEPLOYMENT_ROLLING";
    /// Rollback Deployment.
    pub const ROLLOUT_ROLLBACK: &str = "K8S_DEPLOYMENT_ROLLING_ROLLBACK";
    /// Canary Deployment.
    pub const CANARY: &str = "K8S_CANARY_DEPLOY";
    /// Stage Deployment (blue/green).
    pub const BLUE_GREEN: &str = "K8S_BLUE_GREEN_DEPLOY";
    /// Swap Primary with Stage, Swap Service Selectors.
    pub const SWAP: &str = "KUBERNETES_SWAP_SERVICE_SELECTORS";
    /// Apply.
    pub const APPLY: &str = "K8S_APPLY";
    /// Scale.
    pub const SCALE: &str = "K8S_SCALE";
    /// Delete, and Canary Delete.
    pub const DELETE: &str = "K8S_DELETE";
    /// All of them.
    pub const ALL: [&str; 8] = [ROLLOUT, ROLLOUT_ROLLBACK, CANARY, BLUE_GREEN, SWAP, APPLY, SCALE, DELETE];
}

/// The capability of a delegate that can render Go templates.
pub const HELM: &str = "helm";

/// Outputs of Kubernetes tasks by name: the engine shows them as `${k8s.…}`, and [`output::MANIFESTS`] as `${k8sResources.manifests}`.
pub mod output {
    /// Name of the primary service of a blue/green deployment.
    pub const PRIMARY_SERVICE: &str = "primaryServiceName";
    /// Name of its stage service.
    pub const STAGE_SERVICE: &str = "stageServiceName";
    /// `[namespace/]Kind/name` of the canary workload.
    pub const CANARY_WORKLOAD: &str = "canaryWorkload";
    /// The manifests that an export step rendered.
    pub const MANIFESTS: &str = "manifests";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_a_delete_step() {
        let named = |names: &[&str]| {
            Some(DeleteResources::Named { names: names.iter().map(|name| (*name).to_owned()).collect() })
        };
        let files = |files: &[&str]| {
            Some(DeleteResources::Files { files: files.iter().map(|file| (*file).to_owned()).collect() })
        };
        for (text, expected) in [
            ("*", Some(DeleteResources::Release { namespaces: true })),
            ("Deployment/web, shop/Job/x,", named(&["Deployment/web", "shop/Job/x"])),
            ("jobs/a.yaml, b.yml", files(&["jobs/a.yaml", "b.yml"])),
            ("jobs/a.yaml, Job/x", None),
            ("*, Job/x", None),
            (" , ", None),
        ] {
            assert_eq!(DeleteResources::parse(text, true), expected, "{text}");
        }
    }

    #[test]
    fn dns_labels() {
        let longest = "a".repeat(63);
        for good in ["a", "shop-1", "0", longest.as_str()] {
            assert!(is_dns_label(good), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in ["", "-a", "a-", "Shop", "a.b", "a_b", "ä", longer.as_str()] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }
}
