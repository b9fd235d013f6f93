//! The delegate against a scripted driver, over an in-memory stream whose other end the test plays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_delegate::{Delegate, DelegateConfig, DelegateError, Ended, MemorySpool, Spool};
use manifold_driver::{Context, Driver, Found};
use manifold_link::limits::{LOG_WINDOW, MAX_LOG_CHUNK};
use manifold_link::{
    Answer, Ask, FromDelegate, FromServer, Hello, Lease, LogChunk, OutcomeAck, Receiver, Sender, Sensitive,
    TaskFrame, TaskOutcome, Welcome, hello, negotiate, server_end,
};
use manifold_model::kind::{ANYWHERE, Class, KindName, KindSpec, Player};
use manifold_model::task::{
    FileSource, HttpTask, NoopTask, Outcome, OutputValue, Payload, ScriptTask, Task, TaskResult,
};
use manifold_model::{Failure, FailureClass, Hole, LogId, Piece, Rendered, TaskId, code};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything in these tests takes; a hang fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

type Script = Arc<dyn Fn(Task, Context) -> futures::future::BoxFuture<'static, Outcome> + Send + Sync>;

/// Plays what the test says.
struct Scripted {
    script: Script,
    found: Mutex<Option<Found>>,
    performed: AtomicUsize,
    probed: AtomicUsize,
    stopped: AtomicUsize,
}

#[async_trait]
impl Driver for Scripted {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![KindSpec {
            name: KindName::from("NOOP"),
            class: Class::Probeable,
            class_by: Vec::new(),
            rolled_back_by: None,
            player: Player::Delegate,
            stands: ANYWHERE.to_vec(),
            properties: Vec::new(),
            capabilities: Vec::new(),
            touches_infrastructure: false,
            infrastructure_types: Vec::new(),
            reads_manifests: false,
            deploys: false,
            test_only: true,
        }]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        self.performed.fetch_add(1, Ordering::SeqCst);
        (self.script)(task.clone(), context.clone()).await
    }

    async fn probe(&self, _: &Task, _: &Context) -> Found {
        self.probed.fetch_add(1, Ordering::SeqCst);
        self.found.lock().unwrap().take().expect("a probe that the test expects")
    }

    async fn stop(&self, _: &Task, _: &Context) -> Result<(), Failure> {
        self.stopped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A delegate and the server's end of its present connection.
struct Bench {
    delegate: Arc<Delegate>,
    driver: Arc<Scripted>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<Ended, DelegateError>>,
    send: Sender<FromServer>,
    receive: Receiver<FromDelegate>,
    hello: Hello,
    fence: u64,
    /// Logs seen while waiting for something else.
    log: Vec<u8>,
    credit_logs: bool,
}

fn driver<F, W>(script: F) -> Arc<Scripted>
where
    F: Fn(Task, Context) -> W + Send + Sync + 'static,
    W: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(Scripted {
        script: Arc::new(move |task, context| Box::pin(script(task, context))),
        found: Mutex::default(),
        performed: AtomicUsize::new(0),
        probed: AtomicUsize::new(0),
        stopped: AtomicUsize::new(0),
    })
}

async fn welcome(stream: DuplexStream, fence: u64) -> (Sender<FromServer>, Receiver<FromDelegate>, Hello) {
    let (mut send, mut receive) = server_end(stream);
    let hello = hello(&mut receive).await.unwrap();
    let version = negotiate(&hello.versions).unwrap();
    let lease = Lease { holder: "delegate/1".to_owned(), fence };
    send.send(&FromServer::Welcome(Welcome { version, lease })).await.unwrap();
    (send, receive, hello)
}

impl Bench {
    async fn new(driver: Arc<Scripted>) -> Self {
        Self::with(driver, Vec::new()).await
    }

    async fn with(driver: Arc<Scripted>, more: Vec<Arc<dyn Driver>>) -> Self {
        let mut config = DelegateConfig::new("delegate-1".into(), "one");
        config.selectors = vec!["eu".to_owned()];
        config.max_tasks = 4;
        config.cancel_grace = Duration::from_secs(5);
        config.shutdown_grace = Duration::from_secs(5);
        let mut drivers: Vec<Arc<dyn Driver>> = vec![driver.clone()];
        drivers.extend(more);
        let delegate = Arc::new(Delegate::new(config, drivers));
        let shutdown = CancellationToken::new();
        let (running, send, receive, hello) = Self::dial(&delegate, &shutdown, 1).await;
        let log = Vec::new();
        Self { delegate, driver, shutdown, running, send, receive, hello, fence: 1, log, credit_logs: true }
    }

    async fn dial(
        delegate: &Arc<Delegate>,
        shutdown: &CancellationToken,
        fence: u64,
    ) -> (JoinHandle<Result<Ended, DelegateError>>, Sender<FromServer>, Receiver<FromDelegate>, Hello) {
        let (here, there) = tokio::io::duplex(256 * 1024);
        let (delegate, shutdown) = (delegate.clone(), shutdown.clone());
        let running = tokio::spawn(async move { delegate.run(there, shutdown).await });
        let (send, receive, hello) = timeout(PATIENCE, welcome(here, fence)).await.unwrap();
        (running, send, receive, hello)
    }

    /// Breaks the connection and makes a new one under the next fence.
    async fn reconnect(mut self) -> Self {
        self.cut().await;
        let fence = self.fence + 1;
        let (running, send, receive, hello) = Self::dial(&self.delegate, &self.shutdown, fence).await;
        Self { running, send, receive, hello, fence, ..self }
    }

    /// Breaks the connection.
    async fn cut(&mut self) {
        let (send, receive) = server_end(tokio::io::duplex(1).0);
        drop(std::mem::replace(&mut self.send, send));
        drop(std::mem::replace(&mut self.receive, receive));
        let ended = timeout(PATIENCE, &mut self.running).await.unwrap().unwrap();
        assert!(matches!(ended, Ok(Ended::ServerClosed) | Err(DelegateError::Link(_))), "{ended:?}");
    }

    async fn send(&mut self, message: FromServer) {
        self.send.send(&message).await.unwrap();
    }

    async fn hand_out(&mut self, task: Task, deliveries: u32) {
        let fence = self.fence;
        self.send(FromServer::Task(Box::new(TaskFrame { task, deliveries, fence, elsewhere: None }))).await;
    }

    /// The next message that is not a log chunk.
    async fn next(&mut self) -> FromDelegate {
        loop {
            match timeout(PATIENCE, self.receive.recv()).await.unwrap().unwrap().unwrap() {
                FromDelegate::Log(chunk) => self.logged(chunk).await,
                other => return other,
            }
        }
    }

    async fn logged(&mut self, chunk: LogChunk) {
        assert!(chunk.bytes.len() <= MAX_LOG_CHUNK);
        self.log.extend_from_slice(&chunk.bytes);
        if self.credit_logs {
            self.send(FromServer::LogCredit { bytes: chunk.bytes.len() as u64 }).await;
        }
    }

    async fn started(&mut self, task: &str) {
        let fence = self.fence;
        assert_eq!(self.next().await, FromDelegate::Started { task: task.into(), fence });
    }

    async fn outcome(&mut self) -> TaskOutcome {
        match self.next().await {
            FromDelegate::Outcome(outcome) => outcome,
            other => panic!("{other:?} instead of an outcome"),
        }
    }

    async fn acknowledge(&mut self, outcome: &TaskOutcome, recorded: bool) {
        let ack = OutcomeAck { task: outcome.task.clone(), fence: outcome.lease.fence, recorded };
        self.send(FromServer::OutcomeAck(ack)).await;
        self.settled().await;
    }

    /// Everything sent so far has been read, and what it caused has been said: credits are returned.
    async fn settled(&mut self) -> u32 {
        self.send(FromServer::Ping { nonce: 77 }).await;
        let mut credits = 0;
        loop {
            match self.next().await {
                FromDelegate::Pong { nonce: 77 } => return credits,
                FromDelegate::Credit { tasks } => credits += tasks,
                other => panic!("{other:?} instead of a pong"),
            }
        }
    }

    async fn run(&mut self, task: Task) -> Outcome {
        let id = task.id.clone();
        self.hand_out(task, 0).await;
        self.started(id.as_str()).await;
        let outcome = self.outcome().await;
        self.acknowledge(&outcome, true).await;
        assert_eq!(outcome.task, id);
        outcome.outcome
    }

    fn logs(&self) -> String {
        String::from_utf8_lossy(&self.log).into_owned()
    }
}

fn task(id: &str) -> Task {
    Task {
        id: TaskId::from(id),
        kind: KindName::from("NOOP"),
        class: Class::Probeable,
        attempt: 1,
        step: None,
        log: LogId::from("log"),
        timeout_ms: 60_000,
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload: Payload::Noop(NoopTask::default()),
    }
}

fn failure_of(outcome: &Outcome) -> &Failure {
    match &outcome.result {
        TaskResult::Failed { failure } => failure,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_offers() {
    let bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    assert_eq!(bench.hello.name, "one");
    assert_eq!(bench.hello.selectors, ["one", "eu"]);
    assert_eq!(bench.hello.kinds.len(), 1);
    assert_eq!(bench.hello.free, 4);
}

#[tokio::test]
async fn a_task_is_started_performed_and_its_place_freed_by_the_acknowledgement() {
    let mut bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    let ended = bench.outcome().await;
    assert_eq!(ended.outcome.result, TaskResult::Succeeded);
    assert!(ended.outcome.started_at > 0 && ended.outcome.ended_at >= ended.outcome.started_at);
    assert_eq!(ended.lease, Lease { holder: "delegate/1".to_owned(), fence: 1 });
    assert_eq!(bench.delegate.held(), 1);
    bench.acknowledge(&ended, true).await;
    assert_eq!(bench.delegate.held(), 0);
}

#[tokio::test]
async fn an_outcome_comes_again_on_every_connection_until_it_is_acknowledged() {
    let mut bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    let first = bench.outcome().await;
    bench = bench.reconnect().await;
    assert_eq!(bench.hello.free, 3, "its place is taken still");
    assert_eq!(bench.outcome().await, first);
    bench = bench.reconnect().await;
    let again = bench.outcome().await;
    let ack = OutcomeAck { task: again.task.clone(), fence: again.lease.fence, recorded: true };
    bench.send(FromServer::OutcomeAck(ack)).await;
    assert_eq!(bench.settled().await, 0, "the acknowledgement itself gives the place back");
    assert_eq!(bench.delegate.held(), 0);
    bench = bench.reconnect().await;
    assert_eq!(bench.settled().await, 0, "nothing comes any more");
}

#[tokio::test]
async fn a_task_runs_on_over_a_broken_connection_and_is_not_started_twice() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let mut bench = Bench::new(driver(move |_, _| {
        let wait = wait.clone();
        async move {
            wait.notified().await;
            Outcome::succeeded()
        }
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    bench = bench.reconnect().await;
    bench.hand_out(task("a"), 1).await;
    assert_eq!(bench.next().await, FromDelegate::Credit { tasks: 1 });
    bench.started("a").await;
    go.notify_one();
    assert_eq!(bench.outcome().await.lease.fence, 2, "under the lease of its last hand-over");
    assert_eq!(bench.driver.performed.load(Ordering::SeqCst), 1);
    assert_eq!(bench.driver.probed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_outcome_whose_lease_was_stale_answers_when_its_task_comes_again() {
    let mut bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    let stale = bench.outcome().await;
    bench.acknowledge(&stale, false).await;
    assert_eq!(bench.delegate.held(), 0);
    bench = bench.reconnect().await;
    assert_eq!(bench.settled().await, 0, "a stale outcome is not sent again");
    bench.hand_out(task("a"), 1).await;
    let again = bench.outcome().await;
    assert_eq!((again.lease.fence, &again.outcome), (2, &stale.outcome));
    assert_eq!(bench.driver.performed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_handed_out_before_is_looked_for_by_its_class() {
    let unknown = || Found::Unknown { seen: "nobody knows".to_owned() };
    let ended = || Found::Ended(Box::new(Outcome::of(TaskResult::Cancelled)));
    let cases = [
        (Class::Idempotent, None, TaskResult::Succeeded, 1),
        (Class::Probeable, Some(Found::NotStarted), TaskResult::Succeeded, 1),
        (Class::Probeable, Some(Found::Running), TaskResult::Succeeded, 1),
        (Class::Probeable, Some(ended()), TaskResult::Cancelled, 0),
        (Class::Probeable, Some(unknown()), TaskResult::Unknown { seen: "nobody knows".to_owned() }, 0),
        (Class::Unsafe, Some(unknown()), TaskResult::Unknown { seen: "nobody knows".to_owned() }, 0),
        (Class::Unsafe, Some(Found::NotStarted), TaskResult::Succeeded, 1),
    ];
    let mut bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    for (number, (class, found, expected, performed)) in cases.into_iter().enumerate() {
        let before = bench.driver.performed.load(Ordering::SeqCst);
        *bench.driver.found.lock().unwrap() = found;
        let id = format!("task-{number}");
        bench.hand_out(Task { class, ..task(&id) }, 1).await;
        bench.started(&id).await;
        let outcome = bench.outcome().await;
        bench.acknowledge(&outcome, true).await;
        assert_eq!(outcome.outcome.result, expected, "case {number}");
        assert_eq!(bench.driver.performed.load(Ordering::SeqCst) - before, performed, "case {number}");
    }
}

#[tokio::test]
async fn what_runs_of_a_cancelled_task_that_was_handed_out_before_is_stopped() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        // As a driver does that was cancelled before it had attached.
        context.cancel.cancelled().await;
        Outcome::of(TaskResult::Cancelled)
    }))
    .await;
    for (number, (found, stopped)) in [(Found::Running, 1), (Found::NotStarted, 1)].into_iter().enumerate() {
        *bench.driver.found.lock().unwrap() = Some(found);
        let id = format!("task-{number}");
        bench.hand_out(Task { class: Class::Probeable, ..task(&id) }, 1).await;
        bench.started(&id).await;
        bench.send(FromServer::Cancel { task: id.as_str().into() }).await;
        let outcome = bench.outcome().await;
        bench.acknowledge(&outcome, true).await;
        assert_eq!(outcome.outcome.result, TaskResult::Cancelled, "case {number}");
        assert_eq!(bench.driver.stopped.load(Ordering::SeqCst), stopped, "case {number}");
    }
}

#[tokio::test]
async fn a_cancel_reaches_the_driver() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        context.cancel.cancelled().await;
        Outcome::of(TaskResult::Cancelled)
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    bench.send(FromServer::Cancel { task: "a".into() }).await;
    bench.send(FromServer::Cancel { task: "nobody".into() }).await;
    assert_eq!(bench.outcome().await.outcome.result, TaskResult::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_stops_the_driver_and_is_a_timeout() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        context.cancel.cancelled().await;
        let mut outcome = Outcome::of(TaskResult::Cancelled);
        outcome.outputs.insert("kept".to_owned(), plain("yes"));
        outcome
    }))
    .await;
    let outcome = bench.run(Task { timeout_ms: 1500, ..task("a") }).await;
    let failure = failure_of(&outcome);
    assert_eq!((failure.class, failure.code.clone()), (FailureClass::Timeout, code!("TASK_TIMED_OUT")));
    assert!(failure.message.contains("1.5 s"), "{}", failure.message);
    assert_eq!(outcome.outputs["kept"], plain("yes"));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_does_not_obey_is_left_alone() {
    let mut bench = Bench::new(driver(|_, _| std::future::pending())).await;
    let outcome = bench.run(Task { timeout_ms: 1000, ..task("a") }).await;
    assert_eq!(failure_of(&outcome).class, FailureClass::Timeout);
    assert!(bench.logs().contains("did not stop within 5 seconds"), "{}", bench.logs());
}

#[tokio::test]
async fn a_panic_in_a_driver_is_an_outcome_and_the_next_task_runs() {
    let mut bench = Bench::new(driver(|task: Task, context: Context| async move {
        context.resolver.secret("db").await.unwrap();
        assert!(task.id.as_str() != "a", "lost hunter2");
        Outcome::succeeded()
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    grant_secret(&mut bench, "hunter2").await;
    let ended = bench.outcome().await;
    let failure = failure_of(&ended.outcome);
    assert_eq!((failure.class, failure.code.clone()), (FailureClass::Delegate, code!("DRIVER_PANICKED")));
    assert!(failure.message.ends_with("lost ******"), "{}", failure.message);
    bench.hand_out(task("b"), 0).await;
    bench.started("b").await;
    grant_secret(&mut bench, "hunter2").await;
    assert_eq!(bench.outcome().await.outcome.result, TaskResult::Succeeded);
}

async fn grant_secret(bench: &mut Bench, value: &str) {
    let FromDelegate::Request(request) = bench.next().await else { panic!("no request") };
    assert_eq!(request.ask, Ask::Secret { name: "db".to_owned() });
    let answer = Answer::Secret(Sensitive::new(value));
    bench.send(FromServer::Answer { id: request.id, answer }).await;
}

fn plain(value: &str) -> OutputValue {
    OutputValue { value: value.to_owned(), secret: false, sealed: None }
}

#[tokio::test]
async fn secrets_are_asked_for_once_masked_across_chunks_and_sealed_in_outputs() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        let hole = || Piece::Hole(Hole::Secret { name: "db".to_owned() });
        let text = Rendered(vec![Piece::Text("pw=".to_owned()), hole(), hole()]);
        let filled = context.resolver.render(&text, &BTreeMap::new()).await.unwrap();
        assert!(filled.secret);
        for piece in ["login with hun", "ter", "2\nand hunt", "ing\n", "tail hunter2"] {
            context.log.write("Execute", Bytes::from_static(piece.as_bytes())).await;
        }
        let mut outcome = Outcome::succeeded();
        outcome.outputs.insert("url".to_owned(), plain(&filled.text));
        outcome.outputs.insert("plain".to_owned(), plain("open"));
        outcome
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    grant_secret(&mut bench, "hunter2").await;
    let FromDelegate::Request(request) = bench.next().await else { panic!("no request") };
    let value = Sensitive::new("pw=hunter2hunter2");
    assert_eq!(request.ask, Ask::Seal { name: "url".to_owned(), value });
    let answer = Answer::Sealed { name: "sealed-1".to_owned() };
    bench.send(FromServer::Answer { id: request.id, answer }).await;
    let outcome = bench.outcome().await.outcome;
    assert_eq!(bench.logs(), "login with ******\nand hunting\ntail ******");
    let sealed = OutputValue { value: String::new(), secret: true, sealed: Some("sealed-1".to_owned()) };
    assert_eq!(outcome.outputs["url"], sealed);
    assert_eq!(outcome.outputs["plain"], plain("open"));
}

#[tokio::test]
async fn a_request_survives_a_reconnect_and_a_refusal_is_the_failure() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        match context.resolver.secret("db").await {
            Ok(_) => Outcome::succeeded(),
            Err(failure) => Outcome::failed(failure),
        }
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    let FromDelegate::Request(first) = bench.next().await else { panic!("no request") };
    bench = bench.reconnect().await;
    assert_eq!(bench.settled().await, 0, "the server would refuse it: the task is not this connection's yet");
    bench.hand_out(task("a"), 1).await;
    assert_eq!(bench.next().await, FromDelegate::Credit { tasks: 1 });
    bench.started("a").await;
    let FromDelegate::Request(again) = bench.next().await else { panic!("no request") };
    assert_eq!(first, again);
    let refusal = Failure::new(FailureClass::Application, code!("SERVER_UNANSWERED"), "no such secret");
    let answer = Answer::Refused(Box::new(refusal.clone()));
    bench.send(FromServer::Answer { id: again.id, answer }).await;
    assert_eq!(failure_of(&bench.outcome().await.outcome), &refusal);
}

#[tokio::test]
async fn files_come_in_parts() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        let source = FileSource::Document { path: "a/b".to_owned(), revision: 3 };
        match context.resolver.file(&source).await {
            Ok(bytes) => {
                let mut outcome = Outcome::succeeded();
                outcome.outputs.insert("file".to_owned(), plain(&String::from_utf8_lossy(&bytes)));
                outcome
            }
            Err(failure) => Outcome::failed(failure),
        }
    }))
    .await;
    // The last task asks for nothing: what came whole is kept.
    let rounds: [(&[&'static str], u64, bool); 4] = [
        (&["too much"], 3, false),
        (&["he", ""], 11, false),
        (&["hello ", "world"], 11, true),
        (&[], 0, true),
    ];
    for (parts, total, whole) in rounds {
        bench.hand_out(task("a"), 0).await;
        bench.started("a").await;
        for part in parts {
            let FromDelegate::Request(request) = bench.next().await else { panic!("no request") };
            let answer = Answer::File { bytes: Bytes::from_static(part.as_bytes()), total };
            bench.send(FromServer::Answer { id: request.id, answer }).await;
        }
        let ended = bench.outcome().await;
        bench.acknowledge(&ended, true).await;
        match whole {
            true => assert_eq!(ended.outcome.outputs["file"], plain("hello world")),
            false => assert_eq!(failure_of(&ended.outcome).class, FailureClass::Delegate),
        }
    }
}

#[tokio::test]
async fn the_log_window_is_honoured_and_uncredited_chunks_come_again() {
    let chunks = LOG_WINDOW / MAX_LOG_CHUNK + 3;
    let mut bench = Bench::new(driver(move |_, context: Context| async move {
        for _ in 0..chunks {
            context.log.write("Execute", Bytes::from(vec![b'x'; MAX_LOG_CHUNK])).await;
        }
        Outcome::succeeded()
    }))
    .await;
    bench.credit_logs = false;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    while bench.log.len() < LOG_WINDOW {
        let FromDelegate::Log(chunk) = bench.receive.recv().await.unwrap().unwrap() else { panic!("no log") };
        bench.logged(chunk).await;
    }
    assert_eq!(bench.settled().await, 0);
    assert_eq!(bench.log.len(), LOG_WINDOW, "not a byte beyond the window");
    bench.send(FromServer::LogCredit { bytes: MAX_LOG_CHUNK as u64 }).await;
    while bench.log.len() < LOG_WINDOW + MAX_LOG_CHUNK {
        let FromDelegate::Log(chunk) = bench.receive.recv().await.unwrap().unwrap() else { panic!("no log") };
        bench.logged(chunk).await;
    }
    bench = bench.reconnect().await;
    bench.credit_logs = true;
    bench.log.clear();
    let FromDelegate::Log(again) = bench.receive.recv().await.unwrap().unwrap() else { panic!("no log") };
    assert_eq!((again.run, again.seq), (1, 2), "the oldest that was not credited");
    bench.logged(again).await;
    assert_eq!(bench.outcome().await.outcome.result, TaskResult::Succeeded);
    assert_eq!(bench.log.len(), (chunks - 1) * MAX_LOG_CHUNK);
}

#[tokio::test]
async fn a_cancel_gets_through_although_the_window_is_full() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        while !context.cancel.is_cancelled() {
            context.log.write("Execute", Bytes::from(vec![b'x'; MAX_LOG_CHUNK])).await;
        }
        context.log.note("Execute", "stopped").await;
        Outcome::of(TaskResult::Cancelled)
    }))
    .await;
    bench.credit_logs = false;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    while bench.log.len() < LOG_WINDOW {
        let FromDelegate::Log(chunk) = bench.receive.recv().await.unwrap().unwrap() else { panic!("no log") };
        bench.logged(chunk).await;
    }
    bench.send(FromServer::Cancel { task: "a".into() }).await;
    bench.send(FromServer::LogCredit { bytes: LOG_WINDOW as u64 }).await;
    assert_eq!(bench.outcome().await.outcome.result, TaskResult::Cancelled);
    assert!(bench.logs().ends_with("stopped\n"), "the last line is kept");
}

#[tokio::test]
async fn a_log_beyond_its_limit_is_cut_with_a_notice_and_keeps_its_last_line() {
    let mut bench = Bench::new(driver(|_, context: Context| async move {
        let line = Bytes::from([vec![b'x'; MAX_LOG_CHUNK - 1], vec![b'\n']].concat());
        for _ in 0..500 {
            context.log.write("Execute", line.clone()).await;
        }
        context.log.note("Execute", "Command finished with status SUCCESS").await;
        Outcome::succeeded()
    }))
    .await;
    let outcome = bench.run(task("a")).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let limit = usize::try_from(manifold_delegate::limits::MAX_LOG).unwrap();
    assert!(bench.log.len() > limit && bench.log.len() < limit + 1000, "{}", bench.log.len());
    let end = String::from_utf8_lossy(&bench.log[limit..]).into_owned();
    assert_eq!(end.matches("wrote more than").count(), 1, "{end}");
    assert!(end.ends_with("bytes of output were left out]\nCommand finished with status SUCCESS\n"), "{end}");
}

#[tokio::test]
async fn an_outcome_too_large_for_a_frame_becomes_a_failure_that_says_so() {
    let mut bench = Bench::new(driver(|_, _| async {
        let mut outcome = Outcome::succeeded();
        outcome.outputs.insert("huge".to_owned(), plain(&"x".repeat(5 * 1024 * 1024)));
        outcome
    }))
    .await;
    let outcome = bench.run(task("a")).await;
    assert_eq!(failure_of(&outcome).code, code!("RESULT_TOO_LARGE"));
}

#[tokio::test]
async fn a_kind_nobody_plays_fails_and_a_task_too_many_ends_the_connection() {
    let mut bench = Bench::new(driver(|_, _| std::future::pending())).await;
    let outcome = bench.run(Task { kind: KindName::from("HELM"), ..task("other") }).await;
    assert_eq!(failure_of(&outcome).code, code!("KIND_NOT_OFFERED"));
    for number in 0..9 {
        bench.hand_out(task(&format!("task-{number}")), 0).await;
    }
    let ended = timeout(PATIENCE, &mut bench.running).await.unwrap().unwrap();
    assert!(matches!(ended, Err(DelegateError::Overfull { places: 4, .. })), "{ended:?}");
}

#[tokio::test]
async fn a_shutdown_says_so_and_waits_for_what_runs() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let mut bench = Bench::new(driver(move |_, _| {
        let wait = wait.clone();
        async move {
            wait.notified().await;
            Outcome::succeeded()
        }
    }))
    .await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    bench.shutdown.cancel();
    assert_eq!(bench.next().await, FromDelegate::Leaving);
    go.notify_one();
    let ended = bench.outcome().await;
    let ack = OutcomeAck { task: ended.task.clone(), fence: ended.lease.fence, recorded: true };
    bench.send(FromServer::OutcomeAck(ack)).await;
    let ended = timeout(PATIENCE, &mut bench.running).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Ended::Shutdown);
}

#[tokio::test]
async fn a_drained_delegate_finishes_what_it_has_and_goes() {
    let mut bench = Bench::new(driver(|_, _| async { Outcome::succeeded() })).await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    let ended = bench.outcome().await;
    bench.send(FromServer::Drain).await;
    assert_eq!(bench.next().await, FromDelegate::Leaving);
    let ack = OutcomeAck { task: ended.task.clone(), fence: ended.lease.fence, recorded: true };
    bench.send(FromServer::OutcomeAck(ack)).await;
    let ended = timeout(PATIENCE, &mut bench.running).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_what_does_not_end_to_itself() {
    let mut bench = Bench::new(driver(|_, _| std::future::pending())).await;
    bench.hand_out(task("a"), 0).await;
    bench.started("a").await;
    bench.shutdown.cancel();
    assert_eq!(bench.next().await, FromDelegate::Leaving);
    let ended = timeout(PATIENCE, &mut bench.running).await.unwrap().unwrap();
    assert_eq!((ended.unwrap(), bench.delegate.held()), (Ended::Shutdown, 0));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_and_a_quiet_delegate_gives_signs_of_life() {
    let mut bench = Bench::new(driver(|_, _| std::future::pending())).await;
    assert_eq!(bench.next().await, FromDelegate::Heartbeat { running: 0 });
    let ended = timeout(PATIENCE * 10, &mut bench.running).await.unwrap().unwrap();
    assert!(matches!(ended, Err(DelegateError::Link(_))), "{ended:?}");
}

/// A server that answers every request with the same JSON.
async fn json_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.unwrap();
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 16\r\n\r\n{\"build\": \"1.2\"}\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, &answer[..]).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_http_step_is_judged_by_expressions_over_its_answer() {
    let address = json_server().await;
    let http: Arc<dyn Driver> = Arc::new(manifold_driver_http::HttpDriver::default());
    let mut bench = Bench::with(driver(|_, _| std::future::pending()), vec![http]).await;
    let hole = |text: &str| {
        let known = BTreeMap::from([("workflow.variables.status".to_owned(), serde_json::json!("201"))]);
        Rendered(vec![Piece::Hole(Hole::Expression { text: text.to_owned(), known })])
    };
    for (assertion, holds) in [
        ("httpResponseCode == workflow.variables.status && httpResponseBody.contains('build')", true),
        ("httpResponseCode == 200", false),
    ] {
        let payload = Payload::Http(HttpTask {
            method: "GET".to_owned(),
            url: Rendered::text(format!("http://{address}/")),
            headers: Vec::new(),
            body: Rendered::default(),
            assertion: hole(assertion),
            outputs: vec![("build".to_owned(), hole("json.select('build', httpResponseBody)"))],
            use_proxy: false,
        });
        let kind = KindName::from("HTTP");
        let outcome = bench.run(Task { kind, payload, ..task(assertion) }).await;
        if holds {
            assert_eq!(outcome.outputs["build"], plain("1.2"), "{outcome:?}");
        } else {
            assert_eq!(failure_of(&outcome).code, code!("HTTP_ASSERTION_FAILED"), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_script_step_gets_its_secret_and_shows_it_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let settings = manifold_driver::command::Settings { root, ..Default::default() };
    let script: Arc<dyn Driver> = Arc::new(manifold_driver_script::ScriptDriver::new(settings));
    let mut bench = Bench::with(driver(|_, _| std::future::pending()), vec![script]).await;
    let payload = Payload::Script(ScriptTask {
        host: None,
        language: "BASH".to_owned(),
        script: Rendered(vec![
            Piece::Text("pw='".to_owned()),
            Piece::Hole(Hole::Secret { name: "db".to_owned() }),
            Piece::Text(
                "'; for part in hun ter2; do printf $part; sleep 0.1; done; url=db:$pw; plain=1".to_owned(),
            ),
        ]),
        directory: Rendered::default(),
        environment: Vec::new(),
        outputs: vec!["url".to_owned(), "plain".to_owned()],
        secret_outputs: Vec::new(),
        cluster: None,
    });
    bench.hand_out(Task { kind: KindName::from("SHELL_SCRIPT"), payload, ..task("a") }, 0).await;
    bench.started("a").await;
    grant_secret(&mut bench, "hunter2").await;
    let FromDelegate::Request(request) = bench.next().await else { panic!("no request") };
    let value = Sensitive::new("db:hunter2");
    assert_eq!(request.ask, Ask::Seal { name: "url".to_owned(), value });
    let answer = Answer::Sealed { name: "sealed-1".to_owned() };
    bench.send(FromServer::Answer { id: request.id, answer }).await;
    let outcome = bench.outcome().await.outcome;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    assert_eq!(outcome.outputs["url"].sealed.as_deref(), Some("sealed-1"));
    assert_eq!(outcome.outputs["plain"], plain("1"));
    assert_eq!(bench.logs(), "******Script ended: SUCCESS\n");
}

#[tokio::test]
async fn outcomes_in_the_spool_of_an_earlier_life_are_sent() {
    let spool = Arc::new(MemorySpool::default());
    let lease = Lease { holder: "delegate/0".to_owned(), fence: 0 };
    let kept = TaskOutcome { task: "old".into(), lease, outcome: Outcome::succeeded() };
    spool.keep(kept.clone());
    let mut config = DelegateConfig::new("delegate-1".into(), "one");
    config.max_tasks = 4;
    config.spool = spool.clone();
    let delegate = Arc::new(Delegate::new(config, Vec::new()));
    let shutdown = CancellationToken::new();
    let (_running, mut send, mut receive, hello) = Bench::dial(&delegate, &shutdown, 1).await;
    assert_eq!(hello.free, 3);
    assert_eq!(receive.recv().await.unwrap(), Some(FromDelegate::Outcome(kept)));
    let ack = OutcomeAck { task: "old".into(), fence: 0, recorded: true };
    send.send(&FromServer::OutcomeAck(ack)).await.unwrap();
    send.send(&FromServer::Ping { nonce: 1 }).await.unwrap();
    assert_eq!(receive.recv().await.unwrap(), Some(FromDelegate::Pong { nonce: 1 }));
    assert!(spool.unacknowledged().is_empty() && delegate.held() == 0);
}

/// Not a limit but a sign: prints what a no-op task costs on both ends of the link together.
#[tokio::test]
async fn two_thousand_no_op_tasks_pass() {
    const TASKS: usize = 2000;
    let mut config = DelegateConfig::new("delegate-1".into(), "one");
    config.max_tasks = 512;
    let delegate = Arc::new(Delegate::new(config, vec![driver(|_, _| async { Outcome::succeeded() })]));
    let shutdown = CancellationToken::new();
    let (running, mut send, mut receive, hello) = Bench::dial(&delegate, &shutdown, 1).await;
    let begun = std::time::Instant::now();
    let mut ids = (0..TASKS).map(|number| format!("task-{number}"));
    for id in ids.by_ref().take(hello.free as usize) {
        let frame = TaskFrame { task: task(&id), deliveries: 0, fence: 1, elsewhere: None };
        send.feed(&FromServer::Task(Box::new(frame))).await.unwrap();
    }
    send.flush().await.unwrap();
    let mut done = 0;
    while done < TASKS {
        let message = timeout(PATIENCE, receive.recv()).await.unwrap().unwrap().unwrap();
        let FromDelegate::Outcome(ended) = message else { continue };
        done += 1;
        let ack = OutcomeAck { task: ended.task, fence: 1, recorded: true };
        send.feed(&FromServer::OutcomeAck(ack)).await.unwrap();
        if let Some(id) = ids.next() {
            let frame = TaskFrame { task: task(&id), deliveries: 0, fence: 1, elsewhere: None };
            send.feed(&FromServer::Task(Box::new(frame))).await.unwrap();
        }
        if done % 64 == 0 || done == TASKS {
            send.flush().await.unwrap();
        }
    }
    println!("{} µs per task", begun.elapsed().as_micros() / TASKS as u128);
    shutdown.cancel();
    assert_eq!(timeout(PATIENCE, running).await.unwrap().unwrap().unwrap(), Ended::Shutdown);
}
