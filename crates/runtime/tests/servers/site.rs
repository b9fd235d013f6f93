//! Servers over one store in one process, each on threads of its own so that it can be killed and stalled, and delegates that dial them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use manifold_control::import::{Incoming, Source};
use manifold_control::{Actor, Control, Limits, Parts, SystemClock};
use manifold_delegate::{Delegate, DelegateConfig};
use manifold_driver::Driver;
use manifold_driver::fake::{FakeDriver, Script};
use manifold_driver::noop::NoopDriver;
use manifold_driver_script::ScriptDriver;
use manifold_model::delegate::DelegateStatus;
use manifold_model::event::Event;
use manifold_model::execution::ExecutionRow;
use manifold_model::request::{ExecutionType, StartRequest, ValueKind, VariableInput};
use manifold_model::{DelegateId, ExecutionId, KeyId, Millis, Status};
use manifold_runtime::{Config, Delegates, Offer, Origin, Runtime, serve_delegate};
use manifold_store::clock::Clock;
use manifold_store::logs::LogStore;
use manifold_store::sqlite::SqliteStore;
use manifold_store::{Condition, ExecutionFilter, Hint, IdColumn, Operator, Order, Store, delegate_holder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a task waits for a delegate in these tests.
pub const DELEGATE_WAIT: Duration = Duration::from_secs(20);

/// Waits until something is so.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A store with an application whose pipeline `pipe` runs one workflow on the infrastructures `i0`, `i1`, ….
pub struct Site {
    folder: tempfile::TempDir,
    pub store: Arc<SqliteStore>,
    ahead: Arc<AtomicI64>,
}

impl Site {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let clock: Arc<dyn Clock> = Arc::new(clock(&ahead));
        let store = Arc::new(SqliteStore::open(&folder.path().join("manifold.db"), clock).await.unwrap());
        Self { folder, store, ahead }
    }

    /// Lets time pass for the store and all servers.
    pub fn pass(&self, time: Millis) {
        self.ahead.fetch_add(time, Ordering::Relaxed);
        // Whoever is there keeps its lease now, instead of in two seconds.
        self.store.tell(Hint::Servers);
    }

    /// A server that joins under a node id.
    pub async fn server(&self, node: &str) -> Server {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let logs = LogStore::open(&self.folder.path().join("logs").join(node)).unwrap();
        let store: Arc<dyn Store> = self.store.clone();
        let delegates = Arc::new(Delegates::default());
        let control = Arc::new(Control::new(Parts {
            store: store.clone(),
            logs: logs.clone(),
            vault: manifold_secrets::Key::random().unwrap(),
            public_url: "http://127.0.0.1".to_owned(),
            kinds: Arc::new(Offer(delegates.clone())),
            clock: Arc::new(clock(&self.ahead)),
            account: "account".to_owned(),
            limits: Limits::default(),
        }));
        let clock = clock(&self.ahead);
        let config = Config {
            node: node.to_owned(),
            workers: 2,
            delegate_wait: DELEGATE_WAIT,
            lock_queue_limit: 20,
            clock: Arc::new(move || clock.now()),
            store_clock: None,
        };
        let shutdown = CancellationToken::new();
        let (control_too, delegates_too, stop) = (control.clone(), delegates.clone(), shutdown.clone());
        let runtime = threads
            .spawn(async move { Runtime::start(store, logs, control_too, delegates_too, config, stop).await })
            .await
            .unwrap()
            .unwrap();
        Server { control, runtime, delegates, shutdown, threads: Some(threads), stalled: None }
    }

    /// Starts the pipeline on so many infrastructures, each leg of these steps, through a server.
    pub async fn deploy(&self, server: &Server, legs: usize, steps: &[Value]) -> ExecutionId {
        let actor = Actor::key(KeyId::from("key"), "tests");
        let files = tree(legs, steps);
        let report = server.control.import(&actor, files, Source::Import, "").await.unwrap();
        assert!(report.ok, "{report:?}");
        let catalog = server.control.snapshot().await.unwrap().catalog.clone();
        let application = catalog.applications.values().next().unwrap().id.clone();
        let names: Vec<String> = (0..legs).map(|leg| format!("i{leg}")).collect();
        let request = StartRequest {
            entity: catalog.pipelines.values().next().unwrap().id.clone(),
            application,
            kind: ExecutionType::Pipeline,
            variables: vec![VariableInput {
                name: "infrastructure".to_owned(),
                kind: ValueKind::Name,
                value: names.join(","),
            }],
            services: vec![],
            notes: String::new(),
            specific_hosts: None,
            exclude_hosts_with_same_artifact: false,
            continue_with_default_values: false,
        };
        server.control.start(&actor, request, None).await.unwrap().execution
    }

    pub async fn row(&self, id: &ExecutionId) -> ExecutionRow {
        self.store.execution(id).await.unwrap().unwrap()
    }

    /// Waits for the end of an execution; how it ended.
    pub async fn ended(&self, id: &ExecutionId) -> Status {
        until("the end", async || {
            let status = self.row(id).await.state.status;
            status.is_final().then_some(status)
        })
        .await
    }

    pub async fn legs(&self, parent: &ExecutionId) -> Vec<ExecutionRow> {
        let of =
            Condition::Id(IdColumn::PipelineExecution, Operator::Equals, vec![parent.as_str().to_owned()]);
        let filter =
            ExecutionFilter { conditions: vec![of], include_indirect: true, include_superseded: true };
        self.store.executions(&filter, Order::Place, 0, 1_000).await.unwrap().items
    }

    /// All events of an execution and its legs.
    pub async fn journals(&self, parent: &ExecutionId) -> Vec<Vec<Event>> {
        let mut journals = vec![self.store.events(parent, 0, 10_000).await.unwrap()];
        for leg in self.legs(parent).await {
            journals.push(self.store.events(&leg.id, 0, 10_000).await.unwrap());
        }
        journals
    }
}

fn clock(ahead: &Arc<AtomicI64>) -> impl Fn() -> Millis + Send + Sync + 'static {
    let (machine, ahead) = (SystemClock::default(), ahead.clone());
    move || machine.now() + ahead.load(Ordering::Relaxed)
}

/// A server, or what is left of it.
pub struct Server {
    pub control: Arc<Control>,
    pub runtime: Runtime,
    pub delegates: Arc<Delegates>,
    shutdown: CancellationToken,
    threads: Option<tokio::runtime::Runtime>,
    stalled: Option<std::sync::mpsc::Sender<()>>,
}

impl Server {
    /// As SIGKILL: nothing of it goes on, nothing is given back.
    pub fn kill(&mut self) {
        self.threads.take().unwrap().shutdown_background();
    }

    /// As SIGSTOP: nothing of it goes on until [`Server::go_on`].
    pub async fn stall(&mut self) {
        let (resume, wait) = std::sync::mpsc::channel::<()>();
        let (stands, stood) = tokio::sync::oneshot::channel();
        self.threads.as_ref().unwrap().spawn(async move {
            stands.send(()).unwrap();
            // The only thread of this server stands still here; an error says that it may go on, too.
            wait.recv().unwrap_or_default();
        });
        stood.await.unwrap();
        self.stalled = Some(resume);
    }

    /// As SIGCONT.
    pub fn go_on(&mut self) {
        drop(self.stalled.take());
    }

    /// An orderly end.
    pub async fn leave(&mut self) {
        self.shutdown.cancel();
        self.runtime.ended().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_on();
        self.shutdown.cancel();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// A delegate with a scripted driver.
pub struct Agent {
    pub id: DelegateId,
    pub script: Script,
    delegate: Arc<Delegate>,
    shutdown: CancellationToken,
    connection: Option<JoinHandle<()>>,
}

impl Agent {
    /// A delegate that runs so many tasks at once.
    pub fn new(name: &str, tasks: u32) -> Self {
        let script = Script::default();
        let mut kinds = NoopDriver.kinds();
        kinds.extend(ScriptDriver::new(manifold_driver::command::Settings::default()).kinds());
        let id = DelegateId::derived(&["delegate", name]);
        let mut config = DelegateConfig::new(id.clone(), name);
        config.max_tasks = tasks;
        let delegate = Delegate::new(config, vec![Arc::new(FakeDriver::new(kinds, script.clone()))]);
        let shutdown = CancellationToken::new();
        Self { id, script, delegate: Arc::new(delegate), shutdown, connection: None }
    }

    /// Connects to a server, after the earlier connection has broken.
    pub async fn dial(&mut self, site: &Site, server: &Server) {
        self.cut().await;
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let runtime = server.runtime.clone();
        // Whatever ends it is seen by what the test waits for.
        server.threads.as_ref().unwrap().spawn(async move {
            serve_delegate(&runtime, theirs, Origin::Inside).await.map_err(|error| eprintln!("{error}"))
        });
        let (delegate, shutdown) = (self.delegate.clone(), self.shutdown.clone());
        self.connection = Some(tokio::spawn(async move {
            if let Err(error) = delegate.run(ours, shutdown).await {
                eprintln!("a delegate's connection ended: {error}");
            }
        }));
        let holder = delegate_holder(&self.id);
        until("the delegate's connection", async || {
            let row = site.store.delegate(&self.id).await.unwrap()?;
            let leads_here = server.delegates.all().iter().any(|one| one.lease.holder == holder);
            (row.status == DelegateStatus::Enabled && row.connection.is_some() && leads_here).then_some(())
        })
        .await;
    }

    /// Breaks the connection; what runs goes on.
    pub async fn cut(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort();
            drop(connection.await);
        }
    }

    /// How many tasks it was given.
    pub fn performed(&self) -> usize {
        self.script.performed().len()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A step that the scripted drivers play.
pub fn noop(name: &str) -> Value {
    json!({ "type": "NOOP", "name": name, "properties": {} })
}

/// A script on the delegate, as the scripted drivers play it.
pub fn script(name: &str) -> Value {
    let properties = json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": "true",
        "timeoutMillis": 180_000 });
    json!({ "type": "SHELL_SCRIPT", "name": name, "properties": properties })
}

fn tree(legs: usize, steps: &[Value]) -> Vec<Incoming> {
    let template = json!([{ "expression": "${infrastructure}", "fieldName": "infraDefinitionId",
        "metadata": [{ "name": "entityType", "value": "INFRASTRUCTURE_DEFINITION" }] }]);
    let phase = json!({ "type": "SSH", "name": "Phase 1", "serviceName": "svc", "templateExpressions": template,
        "phaseSteps": [{ "type": "DEPLOY_SERVICE", "name": "Deploy", "steps": steps, "stepsInParallel": false }] });
    let rollback = json!({ "type": "SSH", "name": "Rollback Phase 1", "phaseNameForRollback": "Phase 1",
        "serviceName": "svc", "phaseSteps": [] });
    let variable = json!({ "type": "ENTITY", "name": "infrastructure", "fixed": false, "mandatory": true });
    let stage = json!({ "type": "ENV_STATE", "name": "wf", "parallel": false, "stageName": "STAGE 1",
        "workflowName": "wf", "workflowVariables": [{ "entityType": "INFRASTRUCTURE_DEFINITION",
            "name": "infrastructure", "value": "${infrastructure}" }] });
    let mut files = vec![
        ("Cloud Providers/dc".to_owned(), json!({ "type": "PHYSICAL_DATA_CENTER" })),
        ("Applications/App/Index".to_owned(), json!({ "type": "APPLICATION" })),
        (
            "Applications/App/Environments/prod/Index".to_owned(),
            json!({ "type": "ENVIRONMENT", "environmentType": "PROD" }),
        ),
        (
            "Applications/App/Services/svc/Index".to_owned(),
            json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH" }),
        ),
        (
            "Applications/App/Workflows/wf".to_owned(),
            json!({ "type": "BASIC", "concurrencyStrategy": "INFRA", "envName": "prod", "templatized": true,
                "failureStrategies": [], "phases": [phase], "rollbackPhases": [rollback],
                "userVariables": [variable] }),
        ),
        (
            "Applications/App/Pipelines/pipe".to_owned(),
            json!({ "type": "PIPELINE", "pipelineStages": [stage] }),
        ),
    ];
    for leg in 0..legs {
        files.push((
            format!("Applications/App/Environments/prod/Infrastructure Definitions/i{leg}"),
            json!({ "type": "INFRA_DEFINITION", "cloudProviderType": "PHYSICAL_DATA_CENTER",
                "deploymentType": "SSH", "infrastructure": [{ "type": "PHYSICAL_DATA_CENTER_SSH",
                    "cloudProviderName": "dc", "hostConnectionAttrsName": "fleet",
                    "hostNames": [format!("host-{leg}")] }] }),
        ));
    }
    files
        .into_iter()
        .map(|(path, mut document)| {
            document["harnessApiVersion"] = json!("1.0");
            Incoming { path: format!("Setup/{path}.yaml"), bytes: document.to_string().into_bytes() }
        })
        .collect()
}
