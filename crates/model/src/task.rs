//! Tasks: what a delegate is asked to do, resolved and without any notion of executions but a label for logs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::kind::{Class, KindName};
use crate::kubernetes::{ClusterAccess, ClusterTarget, KubernetesTask};
use crate::plan::{SourcePlan, StepKey};
use crate::rendered::Piece;
use crate::{ExecutionId, Failure, LogId, Rendered, TaskId};

/// Largest payload, bytes as JSON: it has to fit into one frame of the link (4 MiB) with everything around it.
pub const MAX_PAYLOAD: usize = 3 * 1024 * 1024 + 512 * 1024;

/// A task.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Id: derived from execution, step, attempt and instance, so a crash cannot make a second one.
    pub id: TaskId,
    /// Kind.
    pub kind: KindName,
    /// Class.
    pub class: Class,
    /// Attempt of the step, from 1.
    pub attempt: u32,
    /// The step it belongs to; `None` for collections and the like.
    pub step: Option<TaskStep>,
    /// Where its output goes.
    pub log: LogId,
    /// Deadline once started, milliseconds.
    pub timeout_ms: u64,
    /// Delegate selectors: all must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// Capabilities a delegate needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What to do.
    pub payload: Payload,
}

/// Which step a task belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TaskStep {
    /// Execution.
    pub execution: ExecutionId,
    /// Step.
    pub step: StepKey,
    /// Step name, for logs.
    pub name: String,
    /// Host, for tasks per instance.
    pub instance: Option<String>,
}

impl Task {
    /// The id of the task of a step's attempt on an instance.
    #[must_use]
    pub fn id_of(execution: &ExecutionId, step: StepKey, attempt: u32, instance: Option<&str>) -> TaskId {
        TaskId::derived(&[
            "task",
            execution.as_str(),
            &step.to_string(),
            &attempt.to_string(),
            instance.unwrap_or_default(),
        ])
    }

    /// Whether what it begins lives on the delegate that has it, so that no other delegate can look what became of it.
    #[must_use]
    pub fn lives_on_delegate(&self) -> bool {
        matches!(&self.payload, Payload::Script(script) if script.host.is_none())
    }

    /// What it has to reach, as one short text, so that it can be remembered which delegates reach it (`behaviour.md` 19): the host of a command
    /// or script, the URL of a cluster, the host of an HTTP request. `None`: nothing, or nothing that is known before it runs.
    #[must_use]
    pub fn target(&self) -> Option<String> {
        match &self.payload {
            Payload::Command(command) => Some(command.host.host.clone()),
            Payload::Script(script) => script.host.as_ref().map(|host| host.host.clone()),
            Payload::Http(http) => match http.url.0.as_slice() {
                [Piece::Text(url)] => authority(url, true),
                [Piece::Text(begin), ..] => authority(begin, false),
                _ => None,
            },
            Payload::Kubernetes(task) => match &task.cluster.access {
                ClusterAccess::Url { url, .. } => Some(url.clone()),
                ClusterAccess::Delegate {} => None,
            },
            Payload::Collect(_) | Payload::Noop(_) => None,
        }
    }

    /// The id of the log of a step's attempt on an instance.
    #[must_use]
    pub fn log_of(execution: &ExecutionId, step: StepKey, attempt: u32, instance: Option<&str>) -> LogId {
        LogId::derived(&[
            "log",
            execution.as_str(),
            &step.to_string(),
            &attempt.to_string(),
            instance.unwrap_or_default(),
        ])
    }
}

/// Host and port of a URL, or of its beginning, without who signs in. `None` when the text ends before that is sure.
fn authority(url: &str, is_whole: bool) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).or(is_whole.then_some(rest.len()))?;
    let authority = rest.get(..end)?.rsplit('@').next()?;
    (!authority.is_empty()).then(|| authority.to_ascii_lowercase())
}

/// What to do, by driver.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Payload {
    /// A service command on one host (kind `COMMAND`).
    Command(CommandTask),
    /// A script on one host (kind `SHELL_SCRIPT_ON_HOST`) or on the delegate (kind `SHELL_SCRIPT`).
    Script(ScriptTask),
    /// An HTTP request from the delegate (kind `HTTP`).
    Http(HttpTask),
    /// List the builds of an artifact source (kind `COLLECT_ARTIFACTS`).
    Collect(CollectTask),
    /// Something on a Kubernetes cluster (kinds `K8S_*`, `KUBERNETES_SWAP_SERVICE_SELECTORS`).
    Kubernetes(Box<KubernetesTask>),
    /// Nothing, for measurements and tests (kind `NOOP`, only with `--enable-test-kinds`).
    Noop(NoopTask),
}

/// A host and how to sign in to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct HostTarget {
    /// Host name or address, maybe `host:port`.
    pub host: String,
    /// Name of the SSH credential (`hostConnectionAttrsName`, `sshKeyRefName`).
    pub credential: String,
    /// Pinned host keys in known-hosts form or as `SHA256:…` fingerprints; empty: the delegate's host-key policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned_keys: Vec<String>,
}

/// A service command on one host: all units in one task on one connection.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct CommandTask {
    /// Host.
    pub host: HostTarget,
    /// Units, nested commands flattened (their names joined by ` / `).
    pub units: Vec<Unit>,
    /// Environment variables for every script: service configuration variables, `WINGS_RUNTIME_PATH`, `ARTIFACT_FILE_NAME`, ….
    pub environment: Vec<(String, Rendered)>,
    /// The artifact, for units that copy or download it.
    pub artifact: Option<ArtifactFile>,
}

/// One unit of a command.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// Name.
    pub name: String,
    /// What it does.
    pub action: UnitAction,
}

/// What a unit does.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "do", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum UnitAction {
    /// EXEC, SETUP_ENV, DOWNLOAD_ARTIFACT, PROCESS_CHECK_*, PORT_CHECK_*: run a script. SETUP_ENV's exported variables hold for later units.
    Exec {
        /// Script.
        script: Rendered,
        /// Working directory; empty: the login directory.
        directory: Rendered,
        /// Keep the variables that it exports for the units after it.
        keeps_environment: bool,
        /// Class of failure when it exits with another code than 0: application, or verification for checks.
        failure: crate::FailureClass,
    },
    /// SCP with `source: ARTIFACTS`: copy the artifact.
    CopyArtifact {
        /// Directory on the host.
        directory: Rendered,
    },
    /// COPY_CONFIGS: copy the config files.
    CopyFiles {
        /// Directory on the host under which each file's path lies.
        directory: Rendered,
        /// Files.
        files: Vec<FileContent>,
    },
}

/// A file to write.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct FileContent {
    /// Path below the directory.
    pub path: String,
    /// Content by file document (fetched over the link by its document path) or as text.
    pub content: FileSource,
}

/// Where a file's content comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FileSource {
    /// A file document of the catalog, as of a revision.
    Document {
        /// Path of the document.
        path: String,
        /// Catalog revision.
        revision: u64,
    },
    /// The value of a secret.
    Secret {
        /// Name of the secret.
        name: String,
    },
}

/// The artifact as a file that the delegate streams from its source.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactFile {
    /// The build.
    pub artifact: Artifact,
    /// Its source, with the server and the server's credentials by reference.
    pub source: SourcePlan,
}

/// A script.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ScriptTask {
    /// Where: a host, or `None` for the delegate.
    pub host: Option<HostTarget>,
    /// `BASH` or `POWERSHELL`.
    pub language: String,
    /// The script.
    pub script: Rendered,
    /// Working directory (`commandPath`); empty: the attempt folder.
    pub directory: Rendered,
    /// Environment variables.
    pub environment: Vec<(String, Rendered)>,
    /// Names of variables to read back after the script.
    pub outputs: Vec<String>,
    /// Names of variables to read back that are secret.
    pub secret_outputs: Vec<String>,
    /// The cluster whose kubeconfig the script gets, when it asks for one (`${HARNESS_KUBE_CONFIG_PATH}`); only on the delegate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ScriptCluster>,
}

/// The cluster of a script's phase.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ScriptCluster {
    /// The cluster.
    pub target: ClusterTarget,
    /// Namespace of what names none.
    pub namespace: String,
}

/// An HTTP request.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct HttpTask {
    /// Method, upper case.
    pub method: String,
    /// URL.
    pub url: Rendered,
    /// Headers.
    pub headers: Vec<(String, Rendered)>,
    /// Body.
    pub body: Rendered,
    /// Assertion expression without `${}` around the whole (`${httpResponseCode}==200`), as a rendered text whose holes are late; empty: any
    /// status below 400 is good.
    pub assertion: Rendered,
    /// Additional variables: name and expression text over the response.
    pub outputs: Vec<(String, Rendered)>,
    /// Whether the delegate's proxy settings apply.
    pub use_proxy: bool,
}

/// List builds.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct CollectTask {
    /// Source.
    pub source: SourcePlan,
    /// For CUSTOM: the script.
    pub script: Option<Rendered>,
}

/// Nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct NoopTask {
    /// How long it takes.
    pub duration_ms: u64,
    /// Fail with this class instead of succeeding.
    pub fail: Option<crate::FailureClass>,
    /// Fail only in these attempts; empty: in all.
    pub fail_attempts: Vec<u32>,
    /// Outputs.
    pub outputs: BTreeMap<String, String>,
}

/// How a task ended.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Result.
    pub result: TaskResult,
    /// Outputs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputValue>,
    /// Status per unit of a command, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitStatus>,
    /// Builds found by a collection, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<Build>,
    /// When it began on the delegate.
    #[serde(default)]
    pub started_at: crate::Millis,
    /// When it ended on the delegate.
    #[serde(default)]
    pub ended_at: crate::Millis,
}

/// A build found by a collection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Build number.
    pub build_no: String,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Result of a task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "result", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum TaskResult {
    /// Done.
    Succeeded,
    /// Not done, or done badly.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Stopped because it was cancelled.
    Cancelled,
    /// Nobody can say whether it ran; a person must.
    Unknown {
        /// What was found.
        seen: String,
    },
}

/// An output of a task. A secret output is sealed by the server before it is stored; `value` is then empty and `sealed` set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct OutputValue {
    /// Value; empty for a sealed secret.
    pub value: String,
    /// Whether it is secret.
    #[serde(default)]
    pub secret: bool,
    /// Name of the secret record that holds a secret value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// Status of one unit of a command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct UnitStatus {
    /// Unit.
    pub name: String,
    /// `SUCCESS`, `FAILURE` or, for units not reached, `QUEUED` (`behaviour.md` 13.1).
    pub status: String,
    /// Exit code of a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long, milliseconds.
    pub duration_ms: u64,
}

impl Outcome {
    /// An outcome without outputs.
    #[must_use]
    pub fn of(result: TaskResult) -> Self {
        Self {
            result,
            outputs: BTreeMap::new(),
            units: Vec::new(),
            builds: Vec::new(),
            started_at: 0,
            ended_at: 0,
        }
    }

    /// Done.
    #[must_use]
    pub fn succeeded() -> Self {
        Self::of(TaskResult::Succeeded)
    }

    /// Failed.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::of(TaskResult::Failed { failure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendered::Hole;

    #[test]
    fn an_http_request_reaches_for_the_host_of_its_url() {
        let of = |url: Rendered| {
            let text = || Rendered::text("");
            let http = HttpTask {
                method: "GET".to_owned(),
                url,
                headers: Vec::new(),
                body: text(),
                assertion: text(),
                outputs: Vec::new(),
                use_proxy: false,
            };
            Task {
                id: "t".into(),
                kind: "HTTP".into(),
                class: Class::Idempotent,
                attempt: 1,
                step: None,
                log: "l".into(),
                timeout_ms: 1,
                selectors: Vec::new(),
                capabilities: Vec::new(),
                payload: Payload::Http(http),
            }
            .target()
        };
        let with_hole = |begin: &str| {
            let hole = Piece::Hole(Hole::Secret { name: "s".to_owned() });
            Rendered(vec![Piece::Text(begin.to_owned()), hole])
        };
        assert_eq!(of(Rendered::text("http://Who:s3@Web:8080/a@b")), Some("web:8080".to_owned()));
        assert_eq!(of(Rendered::text("https://web")), Some("web".to_owned()));
        assert_eq!(of(with_hole("https://web/?token=")), Some("web".to_owned()));
        assert_eq!(of(with_hole("https://we")), None, "the host is not known before it runs");
        assert_eq!(of(Rendered::text("/healthz")), None);
    }
}
