//! The SSH driver against real sshd: the contract of its class, signing in, host keys, units, files, lost connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use manifold_driver::command::{OUTPUT_LIMIT, Settings, marker};
use manifold_driver::contract::{self, Captured, Hooks, Known};
use manifold_driver::{Context, Driver, Found, OpenCredential, Resolver, SecretBytes};
use manifold_driver_ssh::{ArtifactDriver, Dialer, HostKeyPolicy, SshConfig, SshDriver};
use manifold_model::artifact::Artifact;
use manifold_model::kind::Class;
use manifold_model::plan::SourcePlan;
use manifold_model::secret::SshMethod;
use manifold_model::task::{
    ArtifactFile, CollectTask, CommandTask, FileContent, FileSource, HostTarget, Outcome, Payload,
    ScriptTask, Task, TaskResult, Unit, UnitAction,
};
use manifold_model::{ArtifactId, EntityId, FailureClass, Hole, LogId, Piece, Rendered, SecretId, TaskId};
use manifold_testkit::sshd::Fleet;
use serde_json::json;

fn credential(fleet: &Fleet, key: &str, passphrase: Option<&str>) -> OpenCredential {
    OpenCredential {
        user_name: fleet.user().to_owned(),
        port: 22,
        method: SshMethod::SshKey { key: SecretId::from("k"), passphrase: None },
        secret: Some(SecretBytes::new(key.as_bytes().to_vec())),
        passphrase: passphrase.map(|text| SecretBytes::new(text.as_bytes().to_vec())),
    }
}

fn config(fleet: &Fleet) -> SshConfig {
    SshConfig {
        known_hosts: vec![fleet.known_hosts()],
        attempts: Settings { grace: Duration::from_millis(500), ..Settings::default() },
        ..SshConfig::default()
    }
}

fn task(payload: Payload) -> Task {
    Task {
        id: TaskId::random(),
        kind: "COMMAND".into(),
        class: Class::Probeable,
        attempt: 1,
        step: None,
        log: LogId::random(),
        timeout_ms: 60_000,
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload,
    }
}

fn exec(name: &str, script: &str) -> Unit {
    let action = UnitAction::Exec {
        script: Rendered::text(script),
        directory: Rendered::default(),
        keeps_environment: false,
        failure: FailureClass::Application,
    };
    Unit { name: name.to_owned(), action }
}

struct Bench {
    fleet: Fleet,
    known: Arc<Known>,
}

impl Bench {
    fn new(hosts: usize) -> Self {
        let fleet = Fleet::start(hosts).unwrap();
        let mut known = Known::default();
        known.credentials.insert("key".into(), credential(&fleet, &fleet.user_key().unwrap(), None));
        known.secrets.insert("pw".into(), "s3cr3t-value".into());
        known.files.insert("conf".into(), Bytes::from_static(b"port=80\n"));
        Self { fleet, known: Arc::new(known) }
    }

    fn driver(&self) -> SshDriver {
        SshDriver::new(config(&self.fleet))
    }

    fn target(&self, host: usize) -> HostTarget {
        HostTarget {
            host: self.fleet.hosts()[host].to_string(),
            credential: "key".into(),
            pinned_keys: Vec::new(),
        }
    }

    fn command(&self, host: usize, units: Vec<Unit>) -> Task {
        task(Payload::Command(CommandTask {
            host: self.target(host),
            units,
            environment: vec![
                ("APP".into(), Rendered::text("shop")),
                ("WINGS_RUNTIME_PATH".into(), Rendered::text("$HOME/$APP/runtime")),
            ],
            artifact: None,
        }))
    }

    fn context(&self) -> (Context, Arc<Captured>) {
        contract::context(Arc::clone(&self.known) as Arc<dyn Resolver>)
    }

    async fn run(&self, task: &Task) -> (Outcome, Arc<Captured>) {
        let (context, log) = self.context();
        (self.driver().perform(task, &context).await, log)
    }

    fn ledger(&self, task: &Task) -> PathBuf {
        self.fleet.folder().join(format!("ledger{}", task.id))
    }
}

fn units(outcome: &Outcome) -> Vec<(&str, Option<i32>)> {
    outcome.units.iter().map(|unit| (unit.status.as_str(), unit.exit_code)).collect()
}

fn failure(outcome: &Outcome) -> (FailureClass, &str, &str) {
    match &outcome.result {
        TaskResult::Failed { failure } => (failure.class, &failure.code.0, &failure.message),
        other => panic!("{other:?}"),
    }
}

#[async_trait]
impl Hooks for Bench {
    async fn task(&self, takes: Duration) -> Task {
        let mut task = self.command(0, Vec::new());
        let text = format!(
            "trap '' TERM; echo $$ >>'{0}'; i=0; while [ $i -lt {1} ]; do sleep 0.05; i=$((i+1)); done",
            self.ledger(&task).display(),
            takes.as_millis() / 50
        );
        let Payload::Command(command) = &mut task.payload else { panic!() };
        command.units = vec![exec("first", "true"), exec("effect", &text), exec("last", "true")];
        task
    }

    async fn effects(&self, task: &Task) -> u64 {
        std::fs::read_to_string(self.ledger(task)).map_or(0, |text| text.lines().count() as u64)
    }

    async fn runs(&self, task: &Task) -> bool {
        let pids = std::fs::read_to_string(self.ledger(task)).unwrap_or_default();
        pids.lines().any(|pid| {
            std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"))
                .is_ok_and(|stat| marker::read_start(&stat).is_some())
        })
    }

    async fn flood(&self, bytes: u64) -> Option<Task> {
        Some(self.command(0, vec![exec("flood", &format!("yes 0123456789 | head -c {bytes}; echo the end"))]))
    }

    async fn failing(&self) -> Vec<(Task, FailureClass)> {
        let nobody = |host: &str| {
            let mut task = self.command(0, vec![exec("a", "true")]);
            let Payload::Command(command) = &mut task.payload else { panic!() };
            command.host.host = host.to_owned();
            task
        };
        let mut slow = self.command(0, vec![exec("a", "sleep 30")]);
        slow.timeout_ms = 500;
        let mut check = self.command(0, vec![exec("a", "exit 1")]);
        let Payload::Command(command) = &mut check.payload else { panic!() };
        let UnitAction::Exec { failure, .. } = &mut command.units[0].action else { panic!() };
        *failure = FailureClass::Verification;
        vec![
            (nobody("127.0.0.1:1"), FailureClass::Connectivity),
            (nobody("no-such-host.invalid"), FailureClass::Connectivity),
            (self.command(0, vec![exec("a", "exit 1")]), FailureClass::Application),
            (check, FailureClass::Verification),
            (slow, FailureClass::Timeout),
        ]
    }

    fn resolver(&self) -> Arc<dyn Resolver> {
        Arc::clone(&self.known) as Arc<dyn Resolver>
    }
}

fn moments(milliseconds: &[u64]) -> Vec<Duration> {
    milliseconds.iter().copied().map(Duration::from_millis).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_probeable() {
    let bench = Bench::new(1);
    let moments = moments(&[0, 10, 25, 40, 50, 60, 80, 100, 150, 250, 350]);
    contract::probeable(&bench.driver(), &bench, &moments).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_deadline_flood_and_classes() {
    let bench = Bench::new(1);
    let driver = bench.driver();
    contract::cancelled(&driver, &bench, &moments(&[0, 20, 50, 70, 100, 300])).await.unwrap();
    contract::deadline(&driver, &bench).await.unwrap();
    contract::classed(&driver, &bench).await.unwrap();
    contract::bounded(&driver, &bench, 300_000_000, OUTPUT_LIMIT + 8192).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn units_run_in_order_and_stop_at_the_first_failure() {
    let bench = Bench::new(1);
    let mut setup = exec("setup", "export COLOR='deep blue'; mkdir -p \"$WINGS_RUNTIME_PATH\"");
    let UnitAction::Exec { keeps_environment, .. } = &mut setup.action else { panic!() };
    *keeps_environment = true;
    let mut here = exec("here", "echo \"$COLOR in $PWD\"");
    let UnitAction::Exec { directory, .. } = &mut here.action else { panic!() };
    *directory = Rendered::text("$WINGS_RUNTIME_PATH");
    let configs = Unit {
        name: "configs".into(),
        action: UnitAction::CopyFiles {
            directory: Rendered::text("$WINGS_RUNTIME_PATH/$COLOR"),
            files: vec![FileContent {
                path: "etc/a.conf".into(),
                content: FileSource::Document { path: "conf".into(), revision: 1 },
            }],
        },
    };
    let task = bench.command(
        0,
        vec![setup, here, configs, exec("boom", "exit 7"), exec("never", "echo never >&2; touch /never")],
    );
    let (outcome, log) = bench.run(&task).await;
    assert_eq!(
        units(&outcome),
        [
            ("SUCCESS", Some(0)),
            ("SUCCESS", Some(0)),
            ("SUCCESS", None),
            ("FAILURE", Some(7)),
            ("QUEUED", None)
        ],
        "{outcome:?} {}",
        log.all()
    );
    let home = bench.fleet.home();
    assert_eq!(log.text("here"), format!("deep blue in {}/shop/runtime\n", home.display()));
    let copied = std::fs::read_to_string(home.join("shop/runtime/deep blue/etc/a.conf")).unwrap();
    assert_eq!(copied, "port=80\n");
    let (class, code, message) = failure(&outcome);
    assert_eq!((class, code), (FailureClass::Application, "COMMAND_FAILED"));
    assert!(message.contains("boom exited with code 7"), "{message}");
    // What was kept for later units is gone, and what the probe tells is the same.
    let folder = home.join(".manifold/attempts").join(format!("{}-1", task.id));
    assert!(folder.join("0.end").exists() && !folder.join("env").exists());
    let (context, _) = bench.context();
    let Found::Ended(found) = bench.driver().probe(&task, &context).await else { panic!() };
    assert_eq!((found.result, units(&outcome)), (outcome.result.clone(), units(&outcome)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_on_a_host_gives_its_variables_back() {
    let bench = Bench::new(1);
    let mut task = task(Payload::Script(ScriptTask {
        host: Some(bench.target(0)),
        language: "BASH".into(),
        script: Rendered(vec![
            Piece::Text("P='".into()),
            Piece::Hole(Hole::Secret { name: "pw".into() }),
            Piece::Text(
                "'; LEN=${#P}; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c s3cr3t-v[a]lue"
                    .into(),
            ),
        ]),
        directory: Rendered::default(),
        environment: Vec::new(),
        outputs: vec!["LEN".into()],
        secret_outputs: vec!["P".into()],
        cluster: None,
    }));
    task.kind = "SHELL_SCRIPT_ON_HOST".into();
    let (outcome, log) = bench.run(&task).await;
    // grep counts none and so ends with 1.
    assert_eq!(log.all(), "0\n");
    assert_eq!(failure(&outcome).1, "COMMAND_FAILED");
    let Payload::Script(script) = &mut task.payload else { panic!() };
    script.script.0.push(Piece::Text("; true".into()));
    task.id = TaskId::random();
    let (outcome, _) = bench.run(&task).await;
    assert_eq!(outcome.outputs["LEN"].value, "12");
    assert_eq!((outcome.outputs["P"].value.as_str(), outcome.outputs["P"].secret), ("", true));
    let (context, _) = bench.context();
    let Found::Ended(found) = bench.driver().probe(&task, &context).await else { panic!() };
    assert_eq!(found.outputs, outcome.outputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_made_again_and_nothing_runs_twice() {
    let bench = Bench::new(1);
    let task = bench.command(0, Vec::new());
    let ledger = bench.ledger(&task);
    let mut task = task;
    let Payload::Command(command) = &mut task.payload else { panic!() };
    let text =
        format!("echo once >>'{}'; for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done", ledger.display());
    command.units = vec![exec("count", &text), exec("after", "echo after")];
    let (context, log) = bench.context();
    let cutting = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !log.text("count").contains('3') {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(bench.fleet.cut().unwrap() > 0);
    };
    let driver = bench.driver();
    let (outcome, ()) = tokio::join!(driver.perform(&task, &context), cutting);
    assert_eq!(outcome.result, TaskResult::Succeeded, "{}", log.all());
    assert_eq!(std::fs::read_to_string(ledger).unwrap(), "once\n");
    let said: String = log.text("count").lines().filter(|line| line.len() == 1).collect();
    assert_eq!(said, "12345678");
    assert_eq!(log.text("after"), "after\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_sort_open_the_door_and_wrong_ones_do_not() {
    let bench = Bench::new(1);
    let fleet = &bench.fleet;
    let rsa = fleet.add_key("rsa", &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"]).unwrap();
    let locked = fleet.add_key("locked", &["-t", "ecdsa", "-N", "open sesame"]).unwrap();
    let stranger = {
        let other = Fleet::start(1).unwrap();
        other.user_key().unwrap()
    };
    let by_file = OpenCredential {
        method: SshMethod::SshKeyFilePath {
            path: fleet.user_key_file().to_str().unwrap().into(),
            passphrase: None,
        },
        secret: None,
        ..credential(fleet, "", None)
    };
    let missing = OpenCredential {
        method: SshMethod::SshKeyFilePath { path: "/no/such/key".into(), passphrase: None },
        ..by_file.clone()
    };
    for (what, credential, expected) in [
        ("rsa", credential(fleet, &rsa, None), None),
        ("passphrase", credential(fleet, &locked, Some("open sesame")), None),
        ("file", by_file, None),
        ("wrong passphrase", credential(fleet, &locked, Some("open barley")), Some("SSH_KEY_UNREADABLE")),
        ("no passphrase", credential(fleet, &locked, None), Some("SSH_KEY_UNREADABLE")),
        ("stranger", credential(fleet, &stranger, None), Some("SIGN_IN_REFUSED")),
        ("no file", missing, Some("SSH_KEY_UNREADABLE")),
    ] {
        let known =
            Known { credentials: BTreeMap::from([("key".to_owned(), credential)]), ..Known::default() };
        let (context, _) = contract::context(Arc::new(known));
        let outcome = bench.driver().perform(&bench.command(0, vec![exec("a", "true")]), &context).await;
        match expected {
            None => assert_eq!(outcome.result, TaskResult::Succeeded, "{what}"),
            Some(code) => assert_eq!(failure(&outcome).0, FailureClass::Authentication, "{what} {code}"),
        }
        if let Some(code) = expected {
            assert_eq!(failure(&outcome).1, code, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_are_never_accepted_in_silence() {
    let bench = Bench::new(1);
    let unknown = bench.fleet.folder().join("empty_known_hosts");
    let strict = SshConfig { known_hosts: vec![unknown.clone()], ..config(&bench.fleet) };
    let accepting = SshConfig { host_keys: HostKeyPolicy::AcceptNew, ..strict.clone() };
    let (context, _) = bench.context();
    let task = || bench.command(0, vec![exec("a", "true")]);
    let with =
        async |config: &SshConfig, task: Task| SshDriver::new(config.clone()).perform(&task, &context).await;

    let outcome = with(&strict, task()).await;
    let (class, code, message) = failure(&outcome);
    assert_eq!((class, code), (FailureClass::Authentication, "HOST_KEY_UNKNOWN"));
    assert!(message.contains(&bench.fleet.fingerprint().unwrap()), "{message}");
    assert!(!unknown.exists());

    assert_eq!(with(&accepting, task()).await.result, TaskResult::Succeeded);
    assert_eq!(with(&strict, task()).await.result, TaskResult::Succeeded);

    // The key changes: refused under either policy.
    let other = Fleet::start(1).unwrap();
    let host = bench.fleet.hosts()[0];
    std::fs::write(&unknown, format!("[{}]:{} {}\n", host.ip(), host.port(), other.host_key().unwrap()))
        .unwrap();
    for config in [&strict, &accepting] {
        let outcome = with(config, task()).await;
        let (class, code, message) = failure(&outcome);
        assert_eq!((class, code), (FailureClass::Authentication, "HOST_KEY_CHANGED"));
        assert!(message.contains(&other.fingerprint().unwrap()), "{message}");
    }

    for (pin, good) in [(bench.fleet.fingerprint().unwrap(), true), (other.fingerprint().unwrap(), false)] {
        let mut task = task();
        let Payload::Command(command) = &mut task.payload else { panic!() };
        command.host.pinned_keys = vec![pin];
        assert_eq!(with(&accepting, task).await.result == TaskResult::Succeeded, good);
    }
}

fn source(kind: &str, server: serde_json::Value, properties: serde_json::Value) -> SourcePlan {
    SourcePlan {
        id: EntityId::from("source"),
        name: "builds".into(),
        kind: kind.into(),
        properties: properties.as_object().unwrap().clone(),
        server_kind: None,
        server: server.as_object().unwrap().clone(),
    }
}

fn artifact(source: SourcePlan, metadata: BTreeMap<String, String>) -> ArtifactFile {
    let artifact = Artifact {
        id: ArtifactId::from("a"),
        source: source.id.clone(),
        source_name: source.name.clone(),
        source_kind: source.kind.clone(),
        build_no: "1".into(),
        metadata,
        collected_at: 0,
    };
    ArtifactFile { artifact, source }
}

fn copy(bench: &Bench, file: ArtifactFile) -> Task {
    let action = UnitAction::CopyArtifact { directory: Rendered::text("$WINGS_RUNTIME_PATH") };
    let mut task = bench.command(0, vec![Unit { name: "copy".into(), action }]);
    let Payload::Command(command) = &mut task.payload else { panic!() };
    command.artifact = Some(file);
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_streamed_checked_and_put_in_place_at_once() {
    let bench = Bench::new(2);
    let content: Vec<u8> = (0..10_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let there = bench.fleet.folder().join("app-1.tgz");
    std::fs::write(&there, &content).unwrap();
    let digest = manifold_driver_ssh::transfer::sha256(&content);
    let local = |more: &[(&str, &str)]| {
        let mut metadata = BTreeMap::from([("path".to_owned(), there.to_str().unwrap().to_owned())]);
        metadata.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        copy(&bench, artifact(source("CUSTOM", json!({}), json!({})), metadata))
    };
    let placed = bench.fleet.home().join("shop/runtime/app-1.tgz");
    for more in
        [vec![], vec![("sha256", digest.as_str())], vec![("size", "10000000"), ("fileName", "app-1.tgz")]]
    {
        let _ = std::fs::remove_file(&placed);
        let (outcome, log) = bench.run(&local(&more)).await;
        assert_eq!(outcome.result, TaskResult::Succeeded, "{more:?}");
        assert!(log.text("copy").contains(&digest));
        assert!(std::fs::read(&placed).unwrap() == content);
    }
    // Twice is as good as once, and the file stays what it was when another cannot be checked.
    for (more, code) in [
        (("sha256", "0".repeat(64)), "COPY_FAILED"),
        (("md5", "0".repeat(32)), "COPY_FAILED"),
        (("size", "5".to_owned()), "ARTIFACT_CHANGED"),
        (("path", "/no/such/file".to_owned()), "ARTIFACT_UNREADABLE"),
    ] {
        let (outcome, _) = bench.run(&local(&[(more.0, &more.1)])).await;
        assert_eq!(failure(&outcome).1, code);
        assert!(std::fs::read(&placed).unwrap() == content);
        assert_eq!(
            std::fs::read_dir(placed.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
    // The other host serves it over SFTP.
    let server = json!({"url": format!("sftp://{}", bench.fleet.hosts()[1]), "sshKeyRefName": "key"});
    std::fs::remove_file(&placed).unwrap();
    let metadata = BTreeMap::from([("artifactPath".to_owned(), there.to_str().unwrap().to_owned())]);
    let (outcome, _) = bench.run(&copy(&bench, artifact(source("SFTP", server, json!({})), metadata))).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    assert!(std::fs::read(&placed).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_are_listed_from_sftp_and_by_script() {
    let bench = Bench::new(1);
    let releases = bench.fleet.folder().join("releases");
    for version in ["1.0", "1.1"] {
        std::fs::create_dir_all(releases.join(version)).unwrap();
        std::fs::write(releases.join(version).join("app.tgz"), version).unwrap();
    }
    let attempts = bench.fleet.folder().join("attempts").to_str().unwrap().to_owned();
    let dialer = Arc::new(Dialer::new(config(&bench.fleet)));
    let driver = ArtifactDriver::new(dialer, Settings { root: attempts, ..Settings::default() });
    let (context, _) = bench.context();
    let collect = |source: SourcePlan, script: Option<&str>| {
        task(Payload::Collect(CollectTask { source, script: script.map(Rendered::text) }))
    };
    let numbers = |outcome: &Outcome| -> Vec<String> {
        let mut numbers: Vec<String> = outcome.builds.iter().map(|build| build.build_no.clone()).collect();
        numbers.sort();
        numbers
    };
    let server = json!({"url": format!("sftp://{}", bench.fleet.hosts()[0]), "sshKeyRefName": "key"});
    let pattern = format!("{}/*/app.tgz", releases.display());
    let by_sftp = collect(source("SFTP", server.clone(), json!({"artifactPaths": [pattern]})), None);
    let outcome = driver.perform(&by_sftp, &context).await;
    assert_eq!(numbers(&outcome), ["1.0", "1.1"], "{outcome:?}");
    // What is listed can be copied.
    let build = outcome.builds[0].clone();
    let (outcome, _) =
        bench.run(&copy(&bench, artifact(source("SFTP", server, json!({})), build.metadata))).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let placed = std::fs::read_to_string(bench.fleet.home().join("shop/runtime/app.tgz")).unwrap();
    assert_eq!(placed, build.build_no);

    let properties =
        json!({"scripts": [{"customRepositoryMapping": {"artifactRoot": "$.items[*]", "buildNoPath": "v"}}]});
    let script = "echo '{\"items\": [{\"v\": 7}, {\"v\": 8}]}' >\"$ARTIFACT_RESULT_PATH\"";
    let by_script = collect(source("CUSTOM", json!({}), properties.clone()), Some(script));
    assert_eq!(numbers(&driver.perform(&by_script, &context).await), ["7", "8"]);
    let silent = collect(source("CUSTOM", json!({}), properties), Some("true"));
    assert_eq!(failure(&driver.perform(&silent, &context).await).1, "ARTIFACT_LIST_UNREADABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_taken_up_again_does_not_copy_over_what_later_units_made_of_the_file() {
    let bench = Bench::new(1);
    let there = bench.fleet.folder().join("app.conf");
    std::fs::write(&there, "as delivered").unwrap();
    let metadata = BTreeMap::from([("path".to_owned(), there.to_str().unwrap().to_owned())]);
    let mut task = copy(&bench, artifact(source("CUSTOM", json!({}), json!({})), metadata));
    let Payload::Command(command) = &mut task.payload else { panic!() };
    command.units.push(exec("change", "echo changed >\"$WINGS_RUNTIME_PATH/app.conf\""));
    command.units.push(exec("last", "sleep 1.5"));
    let placed = bench.fleet.home().join("shop/runtime/app.conf");
    let (context, _) = bench.context();
    let changed = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&placed).unwrap_or_default() != "changed\n" {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let driver = bench.driver();
    // The delegate dies while the last unit runs.
    tokio::select! {
        outcome = driver.perform(&task, &context) => panic!("{outcome:?}"),
        () = changed => {}
    }
    assert_eq!(driver.probe(&task, &context).await, Found::Running);
    assert_eq!(driver.perform(&task, &context).await.result, TaskResult::Succeeded);
    assert_eq!(std::fs::read_to_string(&placed).unwrap(), "changed\n");
}

/// A web server with one file behind a password; closes after each answer.
async fn web_server(content: &'static [u8]) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {}
            let request = String::from_utf8_lossy(&request).into_owned();
            // "user:s3cr3t-value"
            let allowed = request.contains("Basic dXNlcjpzM2NyM3QtdmFsdWU=");
            let status = match (allowed, request.contains(" /r/app-2.tgz ")) {
                (false, _) => "401 Unauthorized",
                (true, false) => "404 Not Found",
                (true, true) => "200 OK",
            };
            let body: &[u8] = if status == "200 OK" { content } else { b"" };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = socket.write_all(head.as_bytes()).await;
            if request.starts_with("GET") {
                let _ = socket.write_all(body).await;
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_a_password_is_listed_and_copied_over_http() {
    let bench = Bench::new(1);
    let address = web_server(b"two").await;
    let server =
        json!({"url": format!("http://{address}/r"), "username": "user", "password": "secretName:pw"});
    let dialer = Arc::new(Dialer::new(config(&bench.fleet)));
    let driver = ArtifactDriver::new(dialer, Settings::default());
    let (context, _) = bench.context();
    let list = async |server: &serde_json::Value, path: &str| {
        let source = source("HTTP", server.clone(), json!({"artifactPaths": [path]}));
        driver.perform(&task(Payload::Collect(CollectTask { source, script: None })), &context).await
    };
    let outcome = list(&server, "app-2.tgz").await;
    assert_eq!(outcome.builds[0].build_no, "app-2.tgz");
    assert_eq!(outcome.builds[0].metadata["size"], "3");
    assert_eq!(failure(&list(&server, "no.tgz").await).0, FailureClass::Application);
    let nobody = json!({"url": format!("http://{address}/r")});
    assert_eq!(failure(&list(&nobody, "app-2.tgz").await).0, FailureClass::Authentication);

    let file = artifact(source("HTTP", server, json!({})), outcome.builds[0].metadata.clone());
    let (outcome, _) = bench.run(&copy(&bench, file)).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    assert_eq!(std::fs::read(bench.fleet.home().join("shop/runtime/app-2.tgz")).unwrap(), b"two");
}
