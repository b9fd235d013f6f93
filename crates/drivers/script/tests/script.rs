//! Scripts as real processes: the contract of a probe-able driver, and what behaviour.md 23 says of the Shell Script step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::command::{OUTPUT_LIMIT, Settings};
use manifold_driver::contract::{self, Captured, Hooks, Known};
use manifold_driver::{Driver, Resolver};
use manifold_driver_script::{ScriptDriver, spec};
use manifold_model::kind::{Class, KindName};
use manifold_model::kubernetes::{ClusterAccess, ClusterSignIn, ClusterTarget};
use manifold_model::task::{HostTarget, Outcome, Payload, ScriptCluster, ScriptTask, Task, TaskResult};
use manifold_model::{Failure, FailureClass, Hole, LogId, Piece, Rendered, TaskId, code};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    driver: ScriptDriver,
    resolver: Arc<Known>,
    next: AtomicU64,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            root: folder.path().join("attempts").to_str().unwrap().to_owned(),
            grace: Duration::from_millis(500),
            ..Settings::default()
        };
        let secrets = [("token".to_owned(), "s3cret-value".to_owned())].into();
        let resolver = Arc::new(Known { secrets, ..Known::default() });
        Self { folder, driver: ScriptDriver::new(settings), resolver, next: AtomicU64::new(0) }
    }

    fn script(&self, script: impl Into<String>) -> ScriptTask {
        ScriptTask {
            host: None,
            language: "BASH".to_owned(),
            script: Rendered::text(script),
            directory: Rendered::default(),
            environment: Vec::new(),
            outputs: Vec::new(),
            secret_outputs: Vec::new(),
            cluster: None,
        }
    }

    fn task(&self, script: ScriptTask) -> Task {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        Task {
            id: TaskId::derived(&["script", &number.to_string()]),
            kind: KindName::from("SHELL_SCRIPT"),
            class: Class::Probeable,
            attempt: 1,
            step: None,
            log: LogId::from("log"),
            timeout_ms: 60_000,
            selectors: Vec::new(),
            capabilities: Vec::new(),
            payload: Payload::Script(script),
        }
    }

    async fn run(&self, script: ScriptTask) -> (Outcome, Arc<Captured>) {
        let task = self.task(script);
        let (context, log) = contract::context(self.resolver.clone());
        (self.driver.perform(&task, &context).await, log)
    }

    fn ledger(&self, task: &Task) -> PathBuf {
        self.folder.path().join(format!("ledger-{}", task.id))
    }

    fn pid(&self, task: &Task) -> PathBuf {
        self.folder.path().join(format!("pid-{}", task.id))
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn failure_of(outcome: &Outcome) -> &Failure {
    match &outcome.result {
        TaskResult::Failed { failure } => failure,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[async_trait]
impl Hooks for Bench {
    async fn task(&self, takes: Duration) -> Task {
        let mut task = self.task(self.script(""));
        let script = format!(
            "echo $$ >{}; echo done >>{}; sleep {}",
            quoted(&self.pid(&task)),
            quoted(&self.ledger(&task)),
            takes.as_secs_f64(),
        );
        task.payload = Payload::Script(self.script(script));
        task
    }

    async fn effects(&self, task: &Task) -> u64 {
        match std::fs::read_to_string(self.ledger(task)) {
            Ok(text) => text.lines().count() as u64,
            Err(_) => 0,
        }
    }

    async fn runs(&self, task: &Task) -> bool {
        let Ok(pid) = std::fs::read_to_string(self.pid(task)) else { return false };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn flood(&self, bytes: u64) -> Option<Task> {
        Some(self.task(self.script(format!("head -c {bytes} /dev/zero | tr '\\0' x"))))
    }

    async fn failing(&self) -> Vec<(Task, FailureClass)> {
        let mut hangs = self.task(self.script("sleep 60"));
        hangs.timeout_ms = 300;
        let powershell = ScriptTask { language: "POWERSHELL".to_owned(), ..self.script("Write-Host") };
        let name = ScriptTask { outputs: vec!["not a name".to_owned()], ..self.script("true") };
        vec![
            (self.task(self.script("exit 3")), FailureClass::Application),
            (self.task(self.script("no-such-command")), FailureClass::Application),
            (self.task(powershell), FailureClass::Application),
            (self.task(name), FailureClass::Application),
            (hangs, FailureClass::Timeout),
        ]
    }

    fn resolver(&self) -> Arc<dyn Resolver> {
        self.resolver.clone()
    }
}

fn millis(moments: &[u64]) -> Vec<Duration> {
    moments.iter().map(|moment| Duration::from_millis(*moment)).collect()
}

#[tokio::test]
async fn it_is_probeable() {
    let bench = Bench::new();
    let moments = millis(&[0, 5, 10, 20, 40, 80, 160, 320, 2000]);
    contract::probeable(&bench.driver, &bench, &moments).await.unwrap();
}

#[tokio::test]
async fn it_stops_when_cancelled_and_holds_its_deadline() {
    let bench = Bench::new();
    contract::cancelled(&bench.driver, &bench, &millis(&[0, 10, 40, 200])).await.unwrap();
    contract::deadline(&bench.driver, &bench).await.unwrap();
}

#[tokio::test]
async fn its_output_is_bounded_and_its_failures_have_classes() {
    let bench = Bench::new();
    contract::bounded(&bench.driver, &bench, 1024 * 1024 * 1024, OUTPUT_LIMIT + 16 * 1024).await.unwrap();
    contract::classed(&bench.driver, &bench).await.unwrap();
}

#[tokio::test]
async fn a_script_that_ignores_sigterm_is_killed() {
    let bench = Bench::new();
    let mut task = bench.task(bench.script(""));
    let pid = quoted(&bench.pid(&task));
    task.payload =
        Payload::Script(bench.script(format!("trap '' TERM; echo $$ >{pid}; while :; do sleep 1; done")));
    task.timeout_ms = 500;
    let (context, _) = contract::context(bench.resolver.clone());
    let outcome = bench.driver.perform(&task, &context).await;
    let failure = failure_of(&outcome);
    assert_eq!((failure.class, failure.code.clone()), (FailureClass::Timeout, code!("COMMAND_TIMEOUT")));
    assert!(!bench.runs(&task).await);
}

#[tokio::test]
async fn output_variables_are_read_back_and_secret_ones_sealed() {
    let bench = Bench::new();
    let script = ScriptTask {
        outputs: vec!["url".to_owned(), "lines".to_owned(), "unset".to_owned()],
        secret_outputs: vec!["pass".to_owned()],
        ..bench.script("export url=http://x\nlines=$'a\\nb'\npass=hunter2\n")
    };
    let (outcome, log) = bench.run(script).await;
    assert_eq!(outcome.result, TaskResult::Succeeded, "{}", log.all());
    let value = |name: &str| outcome.outputs[name].clone();
    assert_eq!((value("url").value.as_str(), value("lines").value.as_str()), ("http://x", "a\nb"));
    assert!(!outcome.outputs.contains_key("unset"));
    let pass = value("pass");
    assert_eq!((pass.value.as_str(), pass.secret), ("", true));
    assert_eq!(pass.sealed.as_deref(), Some("sealed-pass-7"));
}

#[tokio::test]
async fn an_output_variable_that_no_expression_could_take_is_refused() {
    let bench = Bench::new();
    let script = ScriptTask {
        outputs: vec!["a".to_owned()],
        ..bench.script("a=$(head -c 300000 /dev/zero | tr '\\0' x)")
    };
    let (outcome, _) = bench.run(script).await;
    assert_eq!(failure_of(&outcome).code, code!("SCRIPT_OUTPUT_TOO_LARGE"));
    assert!(outcome.outputs.is_empty());
}

#[tokio::test]
async fn an_early_exit_loses_the_outputs_and_the_exit_code_decides() {
    let bench = Bench::new();
    let script = ScriptTask { outputs: vec!["a".to_owned()], ..bench.script("a=1; exit 0") };
    let (outcome, _) = bench.run(script).await;
    assert_eq!((outcome.result, outcome.outputs.len()), (TaskResult::Succeeded, 0));
    let (outcome, log) = bench.run(bench.script("echo before; false; echo after")).await;
    assert_eq!(outcome.result, TaskResult::Succeeded, "without set -e the last command decides");
    assert!(log.text("Execute").starts_with("before\nafter\n"), "{}", log.all());
    let (outcome, log) = bench.run(bench.script("set -e\necho before\nfalse\necho after")).await;
    assert_eq!(failure_of(&outcome).code, code!("COMMAND_FAILED"));
    let text = log.text("Execute");
    assert!(text.starts_with("before\nScript ended: FAILURE (") && text.contains("code 1"), "{text}");
}

#[tokio::test]
async fn it_sees_a_fixed_environment_and_runs_where_it_is_told() {
    let bench = Bench::new();
    let script = ScriptTask {
        environment: vec![("GREETING".to_owned(), Rendered::text("hello 'you' $HOME"))],
        directory: Rendered::text(bench.folder.path().to_str().unwrap()),
        ..bench.script("pwd; echo \"$GREETING\"; env | cut -d= -f1")
    };
    let (outcome, log) = bench.run(script).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let text = log.text("Execute");
    let place = bench.folder.path().to_str().unwrap();
    assert!(text.starts_with(&format!("{place}\nhello 'you' $HOME\n")), "{text}");
    // Set by the test runner, as secrets of a server would be.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn a_secret_reaches_the_script_but_no_argument_and_no_file() {
    let bench = Bench::new();
    let hole = Piece::Hole(Hole::Secret { name: "token".to_owned() });
    let script = ScriptTask {
        script: Rendered(vec![
            Piece::Text("token='".to_owned()),
            hole,
            Piece::Text(
                "'; echo ${#token}; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[s]3cret-value'"
                    .to_owned(),
            ),
        ]),
        ..bench.script("")
    };
    let (outcome, log) = bench.run(script).await;
    assert_eq!(failure_of(&outcome).code, code!("COMMAND_FAILED"), "grep finds nothing");
    assert!(log.text("Execute").starts_with("12\n0\n"), "{}", log.all());
    let mut folders = vec![bench.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!content.contains("s3cret-value"), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_script_for_a_host_is_refused() {
    let bench = Bench::new();
    let host = HostTarget { host: "eu-1".to_owned(), credential: "ops".to_owned(), pinned_keys: Vec::new() };
    let (outcome, _) = bench.run(ScriptTask { host: Some(host), ..bench.script("true") }).await;
    assert_eq!(failure_of(&outcome).code, code!("SCRIPT_NOT_FOR_DELEGATE"));
}

#[test]
fn the_kind_is_probeable_and_lets_scripts_keep_what_has_no_value() {
    let spec = spec();
    assert_eq!(spec.class_of(&serde_json::Map::new()), Class::Probeable);
    let script = spec.properties.iter().find(|property| property.name == "scriptString").unwrap();
    assert!(script.required && !script.strict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_the_kubeconfig_of_its_cluster_while_it_runs() {
    let bench = Bench::new();
    let access = ClusterAccess::Url {
        url: "https://east.example".to_owned(),
        ca: Some("-----BEGIN CERTIFICATE-----".to_owned()),
        sign_in: ClusterSignIn::Token { token: "secretName:token".to_owned() },
        insecure: false,
    };
    let target = ClusterTarget { name: "east".to_owned(), access };
    let cluster = Some(ScriptCluster { target, namespace: "it's".to_owned() });
    let text = "stat -c %a \"${HARNESS_KUBE_CONFIG_PATH}\"; P=$KUBECONFIG; C=$(cat \"$KUBECONFIG\"); \
                cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c s3cret-v[a]lue; true";
    let script = ScriptTask { cluster, outputs: vec!["P".into(), "C".into()], ..bench.script(text) };
    let (outcome, log) = bench.run(script.clone()).await;
    assert_eq!(outcome.result, TaskResult::Succeeded, "{}", log.all());
    assert!(log.all().starts_with("600\n0\n"), "{}", log.all());
    let config: serde_json::Value = serde_json::from_str(&outcome.outputs["C"].value).unwrap();
    assert_eq!(config["users"][0]["user"]["token"], "s3cret-value");
    assert_eq!(config["contexts"][0]["context"]["namespace"], "it's");
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://east.example");
    assert!(!Path::new(&outcome.outputs["P"].value).exists(), "it goes with the script");

    let failing = ScriptTask { script: Rendered::text("echo \"P=$KUBECONFIG\"; exit 3"), ..script.clone() };
    let (_, log) = bench.run(failing).await;
    let path = log.all().lines().find_map(|line| line.strip_prefix("P=").map(str::to_owned)).unwrap();
    assert!(!Path::new(&path).exists());

    let task =
        bench.task(ScriptTask { script: Rendered::text("echo \"P=$KUBECONFIG\"; sleep 60"), ..script });
    let (context, log) = contract::context(bench.resolver.clone());
    let stop = async {
        let began = async {
            while !log.all().contains("P=") {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(20), began).await.unwrap();
        context.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.driver.perform(&task, &context), stop);
    assert_eq!(outcome.result, TaskResult::Cancelled);
    let path = log.all().lines().find_map(|line| line.strip_prefix("P=").map(str::to_owned)).unwrap();
    assert!(!Path::new(&path).exists());
}

#[tokio::test]
async fn the_delegates_own_kubeconfig_is_copied_with_the_namespace_of_the_phase() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("config");
    let text = "current-context: here\ncontexts: [{ name: here, context: { cluster: c, namespace: other } }]\n";
    std::fs::write(&own, text).unwrap();
    let settings = Settings {
        root: folder.path().join("attempts").to_str().unwrap().to_owned(),
        kubeconfig: Some(own.clone()),
        ..Settings::default()
    };
    let bench = Bench { driver: ScriptDriver::new(settings), ..Bench::new() };
    let target = ClusterTarget { name: "here".to_owned(), access: ClusterAccess::Delegate {} };
    let cluster = Some(ScriptCluster { target, namespace: "shop".to_owned() });
    let (_, log) =
        bench.run(ScriptTask { cluster, ..bench.script("cat \"$HARNESS_KUBE_CONFIG_PATH\"") }).await;
    assert!(log.all().contains("\"namespace\":\"shop\""), "{}", log.all());
    assert_eq!(std::fs::read_to_string(&own).unwrap(), text);
}
