//! The server dies at any moment; whatever was running goes on, nothing is lost and nothing is done twice (`design.md` 4.4).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use manifold_testkit::server::{Server, string, until};
use manifold_testkit::sshd::Fleet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::BINARY;
use crate::scene::{EVERY_FAILURE, Flow, Scene, command, deploy, let_in, script, select_all, stage, step};

/// For whatever should come soon; two cores are shared with other tests.
const SOON: Duration = Duration::from_secs(60);
/// For whole runs that are disturbed.
const LONG: Duration = Duration::from_secs(180);

/// Random moments that can be had again: `MANIFOLD_SEED` repeats a run.
pub struct Moments(u64);

impl Moments {
    /// Moments of a test.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("MANIFOLD_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(u64::from(now.subsec_nanos()) | 1);
        println!("{test}: MANIFOLD_SEED={seed}");
        Self(seed)
    }

    /// Lets a random time of up to so many milliseconds pass: the moment of a crash, not a wait for something.
    pub async fn pass(&mut self, most: u64) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        tokio::time::sleep(Duration::from_millis(self.0 % most)).await;
    }
}

/// Lines of a ledger with how often each is there.
fn ledger(file: &Path) -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    lines
}

/// A script that says in the ledger when it starts and when it has had its effect, so many seconds later.
fn work(name: &str, place: &str, seconds: &str) -> String {
    format!(
        "echo \"start {name} ${{infra.name}} {place}\" >>\"${{workflow.variables.ledger}}\"\nsleep {seconds}\n\
         echo \"effect {name} ${{infra.name}} {place}\" >>\"${{workflow.variables.ledger}}\""
    )
}

/// Legs of the fleet run, and hosts of each.
const LEGS: usize = 20;
const HOSTS: usize = 2;

/// Three commands on hosts, one of them long, and two scripts on the delegate.
fn fleet_scene(fleet: &Fleet) -> Scene {
    let long = std::env::var("MANIFOLD_LONG_COMMAND_SECONDS").unwrap_or_else(|_| "8".to_owned());
    let host = "${instance.hostName}";
    let flow = Flow::default()
        .variable("ledger")
        .steps(&[select_all(), command("first", "First"), script("between", &work("between", "-", "0.5"))])
        .steps(&[
            command("long", "Long"),
            script("after", &work("after", "-", "2")),
            command("last", "Last"),
        ]);
    let mut pipeline = stage("wf");
    let variable = json!({ "name": "ledger", "value": "${ledger}" });
    pipeline["workflowVariables"].as_array_mut().unwrap().push(variable);
    let mut scene = Scene::new("App")
        .command("First", &work("first", host, "0.5"))
        .command("Long", &work("long", host, &long))
        .command("Last", &work("last", host, "3"))
        .workflow("wf", &flow)
        .stages("pipe", &[pipeline]);
    for (leg, hosts) in fleet.hosts().chunks(HOSTS).enumerate() {
        let names: Vec<String> = hosts.iter().map(|host| host.ip().to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        scene = scene.hosts(&format!("i{leg}"), &names);
    }
    scene
}

async fn fleet_server(fleet: &Fleet) -> Server {
    let known = fleet.known_hosts().to_string_lossy().into_owned();
    let server = Server::start(BINARY, &["--ssh-known-hosts", &known]).await.unwrap();
    let_in(&server, fleet).await.unwrap();
    fleet_scene(fleet).import(&server).await.unwrap();
    server
}

async fn start_fleet(server: &Server, ledger: &Path) -> String {
    let infrastructures: Vec<String> = (0..LEGS).map(|leg| format!("i{leg}")).collect();
    let ledger = ledger.to_string_lossy().into_owned();
    let variables = [("infrastructure", infrastructures.join(",")), ("ledger", ledger)];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.started(("App", "pipeline", "pipe"), &variables, &[]).await.unwrap()
}

/// What the issue asks for: ten crashes at random moments change nothing of what happens on the hosts.
#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_of_a_twenty_leg_run_leave_the_ledger_of_an_undisturbed_run() {
    let fleet = Fleet::start(LEGS * HOSTS).unwrap();
    let undisturbed = fleet_server(&fleet).await;
    let mut server = fleet_server(&fleet).await;
    let (wanted, got) = (fleet.folder().join("undisturbed"), fleet.folder().join("disturbed"));
    let calm = start_fleet(&undisturbed, &wanted).await;
    let execution = start_fleet(&server, &got).await;
    let mut moments = Moments::new("ten_kills");
    for kill in 0..10 {
        // Some crashes find the long command in flight, some come after it.
        let seen = if kill < 3 {
            "start first"
        } else if kill < 7 {
            "start long"
        } else {
            "effect long"
        };
        until(seen, SOON, async || Ok(ledger(&got).keys().any(|line| line.starts_with(seen)).then_some(())))
            .await
            .unwrap();
        moments.pass(700).await;
        server.kill().await.unwrap();
        let dead = Instant::now();
        // Commands go on while nobody is there.
        moments.pass(300).await;
        server.start_again().await.unwrap();
        println!("kill {kill}: ready again after {} ms", dead.elapsed().as_millis());
        assert_eq!(
            server.status(&execution).await.unwrap(),
            "RUNNING",
            "the run was over before kill {kill}"
        );
    }
    let status = server.ended(&execution, LONG).await.unwrap();
    assert_eq!(undisturbed.ended(&calm, LONG).await.unwrap(), "SUCCESS");
    assert_eq!(status, "SUCCESS", "{}", server.failures(&execution).await.unwrap());
    let wanted = ledger(&wanted);
    assert_eq!(ledger(&got), wanted);
    assert_eq!(wanted.len(), 2 * (3 * LEGS * HOSTS + 2 * LEGS));
    assert!(wanted.values().all(|times| *times == 1));
    assert_eq!(server.legs(&execution).await.unwrap().len(), LEGS);
}

/// SIGTERM ends the server within seconds though commands run, and they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_end_in_the_middle_loses_nothing() {
    let fleet = Fleet::start(LEGS * HOSTS).unwrap();
    let mut server = fleet_server(&fleet).await;
    let got = fleet.folder().join("ledger");
    let execution = start_fleet(&server, &got).await;
    let mut moments = Moments::new("graceful_end");
    for _ in 0..2 {
        moments.pass(2_000).await;
        let asked = Instant::now();
        assert_eq!(server.terminate(Duration::from_secs(20)).await.unwrap(), 0);
        println!("ended {} ms after SIGTERM", asked.elapsed().as_millis());
        assert!(asked.elapsed() < Duration::from_secs(8), "SIGTERM took {:?}", asked.elapsed());
        server.start_again().await.unwrap();
    }
    let status = server.ended(&execution, LONG).await.unwrap();
    assert_eq!(status, "SUCCESS", "{}", server.failures(&execution).await.unwrap());
    let lines = ledger(&got);
    assert_eq!(lines.len(), 2 * (3 * LEGS * HOSTS + 2 * LEGS));
    assert!(lines.values().all(|times| *times == 1), "{lines:?}");
}

/// The waits of a leg: reason and step.
async fn waits(server: &Server, execution: &str) -> Result<Vec<(String, Option<u64>)>> {
    let found = server
        .data_of(
            "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { waits { reason step } } } }",
            json!({ "e": execution }),
        )
        .await?;
    let waits = found.pointer("/execution/waits").and_then(Value::as_array).cloned().unwrap_or_default();
    waits.iter().map(|wait| Ok((string(wait, "/reason")?, wait["step"].as_u64()))).collect()
}

/// The step that waits for this, once it does.
pub async fn waiting(server: &Server, execution: &str, reason: &str) -> u64 {
    let what = format!("{execution} waits for {reason}");
    let found = until(&what, SOON, async || {
        let waits = waits(server, execution).await?;
        Ok(waits.into_iter().find(|(found, _)| found == reason).map(|(_, step)| step.unwrap_or(0)))
    })
    .await;
    match found {
        Ok(step) => step,
        Err(error) => panic!("{error}; it waits for {:?}", waits(server, execution).await),
    }
}

/// The legs of a pipeline execution, by infrastructure, once there are so many.
pub async fn legs_of(server: &Server, execution: &str, count: usize) -> BTreeMap<String, String> {
    until("the legs are there", SOON, async || {
        let legs = server.legs(execution).await?;
        Ok((legs.len() == count).then(|| legs.into_iter().map(|leg| (leg.infrastructure, leg.id)).collect()))
    })
    .await
    .unwrap()
}

/// Kills the server and starts it again.
pub async fn crash(server: &mut Server) {
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_waits_for_a_retry_goes_on_waiting_after_a_crash() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let tries = server.folder().join("tries");
    let text = format!("echo try >>{0}; [ \"$(wc -l <{0})\" -ge 2 ]", tries.display());
    let retry = json!({ "failureTypes": EVERY_FAILURE, "repairActionCode": "RETRY", "retryCount": 2,
        "retryIntervals": [3], "repairActionCodeAfterRetry": "END_EXECUTION" });
    let flow = Flow::default().steps(&[script("flaky", &text)]).on_failure(&retry);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let leg = legs_of(&server, &execution, 1).await["i0"].clone();
    waiting(&server, &leg, "RETRY").await;
    crash(&mut server).await;
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
    assert_eq!(ledger(&tries)["try"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_its_queue_outlast_a_crash() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let gate = server.folder().join("gate");
    let order = server.folder().join("order");
    let text = format!(
        "echo \"in ${{workflow.pipelineDeploymentUuid}}\" >>{1}; until [ -e {0} ]; do sleep 0.05; done; \
         echo \"out ${{workflow.pipelineDeploymentUuid}}\" >>{1}",
        gate.display(),
        order.display()
    );
    let flow = Flow::default().steps(&[script("hold", &text)]);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let mut executions = Vec::new();
    for number in 0..3 {
        let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
        let leg = legs_of(&server, &execution, 1).await["i0"].clone();
        waiting(&server, &leg, if number == 0 { "TASK" } else { "LOCK" }).await;
        executions.push((execution, leg));
    }
    crash(&mut server).await;
    for (_, leg) in &executions[1..] {
        waiting(&server, leg, "LOCK").await;
    }
    std::fs::write(&gate, "").unwrap();
    let mut expected = String::new();
    for (execution, _) in &executions {
        assert_eq!(server.ended(execution, SOON).await.unwrap(), "SUCCESS");
        expected += &format!("in {execution}\nout {execution}\n");
    }
    assert_eq!(std::fs::read_to_string(&order).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_at_a_barrier_meet_after_a_crash() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let gate = server.folder().join("gate");
    let late = format!("[ ${{infra.name}} = i0 ] || until [ -e {} ]; do sleep 0.05; done", gate.display());
    let barrier = step("BARRIER", "meet", &json!({ "identifier": "meet", "timeoutMillis": 60_000 }));
    let flow = Flow::default().steps(&[script("late", &late), barrier, script("beyond", "true")]);
    Scene::new("App").nowhere(2).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0,i1").await.unwrap();
    let legs = legs_of(&server, &execution, 2).await;
    waiting(&server, &legs["i0"], "BARRIER").await;
    crash(&mut server).await;
    waiting(&server, &legs["i0"], "BARRIER").await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_intervention_can_be_answered_after_a_crash() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let tries = server.folder().join("tries");
    let text = format!("echo try >>{0}; [ \"$(wc -l <{0})\" -ge 2 ]", tries.display());
    let ask = json!({ "failureTypes": EVERY_FAILURE, "repairActionCode": "MANUAL_INTERVENTION",
        "manualInterventionTimeout": 600_000, "actionAfterTimeout": "END_EXECUTION" });
    let flow = Flow::default().steps(&[script("flaky", &text)]).on_failure(&ask);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let leg = legs_of(&server, &execution, 1).await["i0"].clone();
    let step = waiting(&server, &leg, "INTERVENTION").await;
    crash(&mut server).await;
    assert_eq!(waiting(&server, &leg, "INTERVENTION").await, step);
    assert_eq!(server.status(&leg).await.unwrap(), "PAUSED");
    server
        .data_of(
            "mutation($i: AnswerInterventionInput!) { answerIntervention(input: $i) { execution { id } } }",
            json!({ "i": { "executionId": leg, "step": step, "answer": "RETRY" } }),
        )
        .await
        .unwrap();
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
    assert_eq!(ledger(&tries)["try"], 2);
}

/// An abort that was asked for is carried out by the server that comes after, though the script does not want to end.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_carried_out_after_a_crash() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let file = server.folder().join("process");
    let text = format!("trap '' TERM; echo $$ >{}; while :; do sleep 1; done", file.display());
    let flow = Flow::default().steps(&[script("stubborn", &text)]);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let id = until("it runs", SOON, async || {
        let id = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(id.ends_with('\n').then(|| id.trim().to_owned()))
    })
    .await
    .unwrap();
    server
        .data_of(
            "mutation($i: ExecutionRequestInput!) { abortExecution(input: $i) { execution { id } } }",
            json!({ "i": { "executionId": execution } }),
        )
        .await
        .unwrap();
    crash(&mut server).await;
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "ABORTED");
    until("the process is gone", SOON, async || {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })
    .await
    .unwrap();
}

/// A web server that says what it was asked and answers when told to.
struct Peer {
    url: String,
    requests: mpsc::UnboundedReceiver<(String, TcpStream)>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]);
                let first = head.lines().next().unwrap_or_default().to_owned();
                if sender.send((first, stream)).is_err() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    /// The next request: its first line, and where to answer it.
    async fn next(&mut self) -> (String, TcpStream) {
        tokio::time::timeout(SOON, self.requests.recv()).await.expect("a request in time").unwrap()
    }

    async fn answer(mut stream: TcpStream) {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .await
            .unwrap();
    }
}

/// A server with a pipeline of one request; killed while the request is in flight, and started again.
async fn crashed_in_request(method: &str) -> (Server, Peer, String, String) {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let mut peer = Peer::start().await;
    let properties =
        json!({ "method": method, "url": format!("{}/hook", peer.url), "timeoutMillis": 60_000 });
    let flow = Flow::default().steps(&[step("HTTP", "call", &properties)]);
    Scene::new("App").nowhere(1).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0").await.unwrap();
    let leg = legs_of(&server, &execution, 1).await["i0"].clone();
    let (line, _in_flight) = peer.next().await;
    assert_eq!(line, format!("{method} /hook HTTP/1.1"));
    crash(&mut server).await;
    (server, peer, execution, leg)
}

async fn answer_unknown(server: &Server, leg: &str, step: u64, ran: bool) {
    server
        .data_of(
            "mutation($i: AnswerUnknownOutcomeInput!) { answerUnknownOutcome(input: $i) { execution { id } } }",
            json!({ "i": { "executionId": leg, "step": step, "ran": ran, "reason": "seen in the peer's log" } }),
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_be_repeated_is_repeated_after_a_crash() {
    let (server, mut peer, execution, _) = crashed_in_request("GET").await;
    let (line, stream) = peer.next().await;
    assert_eq!(line, "GET /hook HTTP/1.1");
    Peer::answer(stream).await;
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_not_be_repeated_is_asked_about_and_counts_as_done() {
    let (server, mut peer, execution, leg) = crashed_in_request("POST").await;
    let step = waiting(&server, &leg, "UNKNOWN_OUTCOME").await;
    assert_eq!(server.status(&leg).await.unwrap(), "PAUSED");
    answer_unknown(&server, &leg, step, true).await;
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
    assert!(peer.requests.try_recv().is_err(), "the request was sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_not_be_repeated_is_asked_about_and_is_sent_when_it_never_was() {
    let (server, mut peer, execution, leg) = crashed_in_request("POST").await;
    let step = waiting(&server, &leg, "UNKNOWN_OUTCOME").await;
    assert!(peer.requests.try_recv().is_err(), "the request was sent unasked");
    answer_unknown(&server, &leg, step, false).await;
    let (line, stream) = peer.next().await;
    assert_eq!(line, "POST /hook HTTP/1.1");
    Peer::answer(stream).await;
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
}

/// So many legs of steps that do nothing, and the list that selects them.
async fn noop_fleet(server: &Server, legs: usize, steps: usize, duration: u64) -> String {
    let steps: Vec<Value> = (0..steps)
        .map(|number| step("NOOP", &format!("noop {number}"), &json!({ "durationMs": duration })))
        .collect();
    let flow = Flow::default().steps(&steps);
    let scene = Scene::new("App").nowhere(legs).workflow("wf", &flow).pipeline("pipe", "wf");
    scene.import(server).await.unwrap();
    (0..legs).map(|leg| format!("i{leg}")).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_while_two_thousand_legs_are_made_neither_lose_nor_double_one() {
    const COUNT: usize = 2_000;
    let mut server = Server::start(BINARY, &["--enable-test-kinds"]).await.unwrap();
    let on = noop_fleet(&server, COUNT, 1, 0).await;
    let execution = deploy(&server, "App", "pipe", &on).await.unwrap();
    let mut moments = Moments::new("two_thousand_legs");
    for _ in 0..4 {
        moments.pass(150).await;
        crash(&mut server).await;
        println!("{} legs after a crash", server.legs(&execution).await.unwrap().len());
    }
    assert_eq!(server.ended(&execution, LONG).await.unwrap(), "SUCCESS");
    let legs = server.legs(&execution).await.unwrap();
    assert_eq!(legs.len(), COUNT);
    let names: std::collections::BTreeSet<&str> =
        legs.iter().map(|leg| leg.infrastructure.as_str()).collect();
    assert_eq!(names.len(), COUNT);
    assert!(legs.iter().all(|leg| leg.status == "SUCCESS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_goes_on_after_crashes() {
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let file = server.folder().join("ledger");
    let say = |word: &str| format!("echo \"{word} ${{infra.name}}\" >>{}", file.display());
    let fail = format!("{}; sleep 0.5; [ ${{infra.name}} != i1 ]", say("deploy"));
    let undo = |number: u32| {
        script(&format!("undo {number}"), &format!("{}; sleep 1", say(&format!("undo{number}"))))
    };
    let flow = Flow::default().steps(&[script("deploy", &fail)]).undo(&[undo(1), undo(2)]);
    Scene::new("App").nowhere(3).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await.unwrap();
    let execution = deploy(&server, "App", "pipe", "i0,i1,i2").await.unwrap();
    for undo in ["undo1 i1", "undo2 i1"] {
        until("the rollback is there", SOON, async || Ok(ledger(&file).contains_key(undo).then_some(())))
            .await
            .unwrap();
        crash(&mut server).await;
    }
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "FAILED");
    let wanted = ["deploy i0", "deploy i1", "deploy i2", "undo1 i1", "undo2 i1"];
    assert_eq!(ledger(&file), wanted.map(|line| (line.to_owned(), 1)).into_iter().collect());
    let legs = server.legs(&execution).await.unwrap();
    let status: Vec<&str> = legs.iter().map(|leg| leg.status.as_str()).collect();
    assert_eq!(status, ["SUCCESS", "FAILED", "SUCCESS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_whole_or_absent_after_a_crash() {
    const COUNT: usize = 1_000;
    let mut server = Server::start(BINARY, &[]).await.unwrap();
    let mut moments = Moments::new("import");
    let mut outcomes = Vec::new();
    for round in 0..4 {
        let application = format!("App {round}");
        let scene = Scene::new(&application).nowhere(COUNT);
        let imported = {
            let import = scene.import(&server);
            tokio::pin!(import);
            tokio::select! {
                done = &mut import => Some(done),
                () = moments.pass(1_500) => None,
            }
        };
        crash(&mut server).await;
        let found = infrastructures(&server, &application).await;
        ensure_whole(imported, found, COUNT).unwrap();
        outcomes.push(found);
        scene.import(&server).await.unwrap();
        assert_eq!(infrastructures(&server, &application).await, COUNT);
    }
    println!("infrastructure definitions found after each crash: {outcomes:?}");
}

fn ensure_whole(imported: Option<Result<()>>, found: usize, count: usize) -> Result<()> {
    match imported {
        Some(done) => {
            done?;
            ensure!(found == count, "an import that was confirmed is not whole: {found} of {count}");
        }
        None => ensure!(found == 0 || found == count, "a torn import: {found} of {count}"),
    }
    Ok(())
}

/// How many infrastructure definitions an application has.
async fn infrastructures(server: &Server, application: &str) -> usize {
    let path = format!("/api/setup-as-code/yaml/directory?accountId={}", server.account);
    let answer = server.request(reqwest::Method::GET, &path).send().await.unwrap();
    let tree: Value = answer.error_for_status().unwrap().json().await.unwrap();
    let mut count = 0;
    let mut open = vec![&tree];
    let prefix = format!("Setup/Applications/{application}/Environments/prod/Infrastructure Definitions/");
    while let Some(node) = open.pop() {
        match node {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            Value::String(text) if text.starts_with(&prefix) => count += 1,
            _ => {}
        }
    }
    count
}
