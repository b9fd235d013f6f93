//! The wrapper on this machine, with every POSIX shell that is here, and the contract of probe-able tasks over it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::command::{self, OUTPUT_LIMIT, Settings};
use manifold_driver::contract::{self, Hooks, Known};
use manifold_driver::local::Runner;
use manifold_driver::{Context, Driver, Found, Resolver, script};
use manifold_model::kind::{Class, KindSpec};
use manifold_model::task::{Outcome, Payload, ScriptTask, Task, TaskResult};
use manifold_model::{FailureClass, Hole, LogId, Piece, Rendered, TaskId};

struct Scripts(Runner);

#[async_trait]
impl Driver for Scripts {
    fn kinds(&self) -> Vec<KindSpec> {
        Vec::new()
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let Payload::Script(script) = &task.payload else { panic!() };
        script::perform(&self.0, self.0.attempt(task), task, script, context).await
    }

    async fn probe(&self, task: &Task, context: &Context) -> Found {
        let Payload::Script(script) = &task.payload else { panic!() };
        script::probe(&self.0, &self.0.attempt(task), task, script, context).await
    }
}

fn task(text: &str, outputs: &[&str]) -> Task {
    Task {
        id: TaskId::random(),
        kind: "SHELL_SCRIPT".into(),
        class: Class::Probeable,
        attempt: 1,
        step: None,
        log: LogId::random(),
        timeout_ms: 60_000,
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload: Payload::Script(ScriptTask {
            host: None,
            language: "BASH".into(),
            script: Rendered::text(text),
            directory: Rendered::default(),
            environment: vec![("GREETING".into(), Rendered::text("hello\n'world'"))],
            outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
            secret_outputs: vec!["TOKEN".into()],
            cluster: None,
        }),
    }
}

struct Bench {
    folder: tempfile::TempDir,
    next: AtomicU64,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), next: AtomicU64::new(0) }
    }

    fn driver(&self) -> Scripts {
        let root = self.folder.path().join("attempts");
        let settings = Settings {
            root: root.to_str().unwrap().into(),
            grace: Duration::from_millis(500),
            ..Settings::default()
        };
        Scripts(Runner::new(settings))
    }

    fn ledger(&self, task: &Task) -> PathBuf {
        self.folder.path().join(format!("ledger{}", task.id))
    }
}

#[async_trait]
impl Hooks for Bench {
    async fn task(&self, takes: Duration) -> Task {
        self.next.fetch_add(1, Ordering::Relaxed);
        let mut task = task("", &[]);
        let ledger = self.ledger(&task);
        // It does not listen to SIGTERM.
        let text = format!(
            "trap '' TERM; echo $$ >>'{0}'; i=0; while [ $i -lt {1} ]; do sleep 0.05; i=$((i+1)); done",
            ledger.display(),
            takes.as_millis() / 50
        );
        let Payload::Script(script) = &mut task.payload else { panic!() };
        script.script = Rendered::text(text);
        task
    }

    async fn effects(&self, task: &Task) -> u64 {
        std::fs::read_to_string(self.ledger(task)).map_or(0, |text| text.lines().count() as u64)
    }

    async fn runs(&self, task: &Task) -> bool {
        let pids = std::fs::read_to_string(self.ledger(task)).unwrap_or_default();
        pids.lines().any(|pid| {
            std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"))
                .is_ok_and(|stat| command::marker::read_start(&stat).is_some())
        })
    }

    async fn flood(&self, bytes: u64) -> Option<Task> {
        Some(task(&format!("yes 0123456789 | head -c {bytes}; echo the end"), &[]))
    }

    async fn failing(&self) -> Vec<(Task, FailureClass)> {
        vec![(task("exit 3", &[]), FailureClass::Application), {
            let mut task = task("sleep 30", &[]);
            task.timeout_ms = 300;
            (task, FailureClass::Timeout)
        }]
    }

    fn resolver(&self) -> Arc<dyn Resolver> {
        let mut known = Known::default();
        known.secrets.insert("pw".into(), "s3cr3t-value".into());
        Arc::new(known)
    }
}

fn moments() -> Vec<Duration> {
    [0, 1, 3, 6, 10, 15, 30, 60, 120, 250].map(Duration::from_millis).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_probeable() {
    let bench = Bench::new();
    contract::probeable(&bench.driver(), &bench, &moments()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_and_deadline_hold_against_a_script_that_ignores_sigterm() {
    let bench = Bench::new();
    contract::cancelled(&bench.driver(), &bench, &moments()).await.unwrap();
    contract::deadline(&bench.driver(), &bench).await.unwrap();
    contract::classed(&bench.driver(), &bench).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_output_is_bounded() {
    let bench = Bench::new();
    contract::bounded(&bench.driver(), &bench, 1_000_000_000, OUTPUT_LIMIT + 8192).await.unwrap();
}

async fn run(bench: &Bench, task: &Task) -> (Outcome, String) {
    let (context, log) = contract::context(bench.resolver());
    let outcome = bench.driver().perform(task, &context).await;
    (outcome, log.text(script::LOG_UNIT))
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_come_back_and_an_early_exit_loses_them() {
    let bench = Bench::new();
    let (outcome, log) =
        run(&bench, &task("A=\"$GREETING\"; TOKEN=abc; echo $LINENO; echo err >&2", &["A", "UNSET"])).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    assert_eq!(outcome.outputs["A"].value, "hello\n'world'");
    assert_eq!(outcome.outputs["TOKEN"].value, "");
    assert!(outcome.outputs["TOKEN"].sealed.is_some());
    assert!(!outcome.outputs.contains_key("UNSET"));
    assert_eq!(log, "1\nerr\n");

    let (outcome, _) = run(&bench, &task("A=1; exit 0; A=2", &["A"])).await;
    assert_eq!((outcome.result, outcome.outputs.len()), (TaskResult::Succeeded, 0));

    let (outcome, _) = run(&bench, &task("set -e; A=1; false; A=2", &["A"])).await;
    assert!(matches!(outcome.result, TaskResult::Failed { failure } if failure.message.contains("code 1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_neither_in_arguments_nor_in_a_file() {
    let bench = Bench::new();
    let mut task = task("", &[]);
    let Payload::Script(script) = &mut task.payload else { panic!() };
    script.script = Rendered(vec![
        Piece::Text(
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c s3cr3t-v[a]lue; P='".into(),
        ),
        Piece::Hole(Hole::Secret { name: "pw".into() }),
        Piece::Text("'; echo ${#P}; grep -r s3cr3t-v[a]lue \"$PWD\"; ls -ld \"$PWD\"".into()),
    ]);
    let (_, log) = run(&bench, &task).await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["0", "12"], "{log}");
    assert!(lines[2].starts_with("drwx------") && lines.len() == 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_left_behind_does_not_hold_the_script_and_lives_on() {
    let bench = Bench::new();
    let pid_file = bench.folder.path().join("pid");
    let text = format!("(sleep 20; echo late) & echo $! >'{}'; echo started", pid_file.display());
    let began = std::time::Instant::now();
    let (outcome, log) = run(&bench, &task(&text, &[])).await;
    assert_eq!((outcome.result, log.as_str()), (TaskResult::Succeeded, "started\n"));
    assert!(began.elapsed() < Duration::from_secs(10));
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(Path::new("/proc").join(pid.trim()).exists());
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_folders_go_but_not_where_something_runs() {
    let bench = Bench::new();
    let attempts = bench.folder.path().join("attempts");
    let me = std::process::id();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start = command::marker::read_start(&stat).unwrap();
    for (name, mark) in [
        ("old-1", String::new()),
        ("running-1", format!("{} {me} {start} .", boot.trim())),
        ("gone-1", "b 1 1 .".to_owned()),
    ] {
        std::fs::create_dir_all(attempts.join(name)).unwrap();
        std::fs::write(attempts.join(name).join("0.mark"), format!("{mark}\n")).unwrap();
        let touched =
            std::process::Command::new("touch").args(["-d", "2 days ago"]).arg(attempts.join(name)).status();
        assert!(touched.unwrap().success());
    }
    let (outcome, _) = run(&bench, &task("true", &[])).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while attempts.join("old-1").exists() || attempts.join("gone-1").exists() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(attempts.join("running-1").exists());
}
