//! The server's end of a delegate's connection: takes what the delegate says, tells it what to do.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use manifold_control::{ExposeSecret, SecretBytes};
use manifold_link::{
    Answer, Ask, FromDelegate, FromServer, Hello, LinkError, LogChunk, Receiver, Request, Sender, TaskFrame,
    TaskOutcome, Welcome, limits, server_end,
};
use manifold_model::crash::{self, Point};
use manifold_model::delegate::{DelegateStatus, Scopes};
use manifold_model::kind::Class;
use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{DelegateId, Failure, FailureClass, Millis, code};
use manifold_store::logs::{Chunk, LogKey};
use manifold_store::{DelegateRow, Lease, StoreError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admit::{Admitted, Origin, admit, announced};
use crate::delegates::{Connection, Handed, Send as Order};
use crate::reach::MISSED_MS;
use crate::worker::{Ended, Message};
use crate::{Runtime, Shared, scope};

/// Most tasks that one delegate may have at once, whatever it offers.
const MOST_PLACES: u32 = 4_096;
/// Pause after a store that cannot be written.
const BROKEN_STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a delegate may take to hear that the server ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Messages written before the buffer is flushed.
const WRITES: usize = 256;

/// Serves one connection until either side ends it. Afterwards its tasks go back to the queue. A peer that is not `Inside` has to prove who it is.
///
/// # Errors
/// The connection broke, the delegate spoke nonsense or another version, or the store failed.
pub async fn serve_delegate<S>(runtime: &Runtime, stream: S, origin: Origin) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let shared = Arc::clone(&runtime.shared);
    let (mut send, mut receive) = server_end(stream);
    let admitted = tokio::select! {
        admitted = admit(&shared, &mut send, &mut receive, origin) => admitted?,
        () = shared.shutdown.cancelled() => None,
    };
    let Some(Admitted { id, hello, version }) = admitted else { return Ok(send.close().await?) };
    receive.greeted();
    let (server, lost) = shared.membership.seat()?;
    let lease = shared.store.lease(&server, &id).await?;
    crash::point(Point::DelegateLeased);
    let wire_lease = manifold_link::Lease { holder: lease.holder.clone(), fence: lease.fence };
    send.send(&FromServer::Welcome(Welcome { version, lease: wire_lease })).await?;
    let enrolled = match origin {
        Origin::Inside => Some(shared.store.enrol(row(&id, &hello, shared.now())).await?),
        _ => shared.store.delegate(&id).await?,
    };
    let (orders, to_send) = mpsc::unbounded_channel();
    let connection = Arc::new(connection(id, hello, lease.clone(), orders));
    connection.set_scopes(enrolled.map(|row| row.scopes).unwrap_or_default());
    shared.delegates.add(Arc::clone(&connection));
    let ended = tokio::select! {
        biased;
        ended = write(send, to_send, &shared.shutdown) => ended,
        ended = read(&shared, &connection, &mut receive) => ended,
        ended = credit_logs(&shared, &connection) => ended,
        () = connection.ended.cancelled() => Ok(()),
        () = lost.cancelled() => Ok(()),
        () = gone(&shared.shutdown) => Ok(()),
    };
    shared.delegates.remove(&lease);
    release(&shared, lease).await;
    shared.delegates.queued();
    Ok(ended?)
}

/// Gives the lease of a connection back, so that others get its tasks. Nobody else would while this server keeps its own lease, so a broken store
/// is asked again.
async fn release(shared: &Arc<Shared>, lease: Lease) {
    let Err(error) = shared.store.release(&lease).await else { return };
    if matches!(error, StoreError::Fenced { .. }) {
        return;
    }
    tracing::error!(
        error = &error as &dyn Error,
        holder = lease.holder,
        "cannot give back the lease of a connection yet"
    );
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = tokio::time::sleep(BROKEN_STORE_PAUSE) => {}
            }
            match shared.store.release(&lease).await {
                Ok(()) | Err(StoreError::Fenced { .. }) => return shared.delegates.queued(),
                Err(_) => {}
            }
        }
    });
}

/// The server ends, and the delegate had time to hear of it.
async fn gone(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The delegate inside the server, as the account knows it.
fn row(id: &DelegateId, hello: &Hello, now: Millis) -> DelegateRow {
    DelegateRow {
        id: id.clone(),
        name: hello.name.clone(),
        status: DelegateStatus::Enabled,
        key: String::new(),
        token: String::new(),
        announced: announced(hello),
        scopes: Scopes::default(),
        created_at: now,
        seen: now,
        connection: None,
    }
}

fn connection(
    id: DelegateId,
    hello: Hello,
    lease: Lease,
    orders: mpsc::UnboundedSender<Order>,
) -> Connection {
    Connection::new(
        (id, hello.name),
        lease,
        hello.kinds,
        (hello.selectors, hello.capabilities),
        hello.free.min(MOST_PLACES),
        orders,
    )
}

/// Writes orders out, many to a flush. When the server ends, the delegate is told to dial another one.
async fn write(
    mut send: Sender<FromServer>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shutdown: &CancellationToken,
) -> Result<(), LinkError> {
    let mut batch = Vec::with_capacity(WRITES);
    // Points of what is written and not flushed yet.
    let mut unflushed = Vec::new();
    loop {
        let taken = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            taken = orders.recv_many(&mut batch, WRITES) => taken,
        };
        if taken == 0 {
            break;
        }
        for order in batch.drain(..) {
            if let Some((before, after)) = points(&order) {
                crash::point(before);
                unflushed.push(after);
            }
            send.feed(&frame(order)).await?;
        }
        if orders.is_empty() {
            send.flush().await?;
            unflushed.drain(..).for_each(crash::point);
        }
    }
    send.feed(&FromServer::Drain).await?;
    send.close().await
}

/// The points before and after an order is sent.
fn points(order: &Order) -> Option<(Point, Point)> {
    match order {
        Order::Task { .. } => Some((Point::BeforeHandOver, Point::AfterHandOver)),
        Order::Ack(_) => Some((Point::BeforeAcknowledge, Point::AfterAcknowledge)),
        _ => None,
    }
}

fn frame(order: Order) -> FromServer {
    match order {
        Order::Task { task, deliveries, elsewhere, fence } => {
            let task = Arc::unwrap_or_clone(task);
            FromServer::Task(Box::new(TaskFrame { task, deliveries, elsewhere, fence }))
        }
        Order::Cancel(task) => FromServer::Cancel { task },
        Order::Ack(ack) => FromServer::OutcomeAck(ack),
        Order::Answer(id, answer) => FromServer::Answer { id, answer },
        Order::LogCredit(bytes) => FromServer::LogCredit { bytes },
        Order::Pong => FromServer::Ping { nonce: 0 },
    }
}

/// The next message; silence for too long is an error.
async fn heard(receive: &mut Receiver<FromDelegate>) -> Result<Option<FromDelegate>, LinkError> {
    match timeout(limits::SILENCE_LIMIT, receive.recv()).await {
        Ok(message) => message,
        Err(_) => Err(LinkError::Stalled { what: "say anything", seconds: limits::SILENCE_LIMIT.as_secs() }),
    }
}

/// Takes in what the delegate says.
async fn read(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    receive: &mut Receiver<FromDelegate>,
) -> Result<(), LinkError> {
    let requests = Arc::new(Semaphore::new(limits::MAX_REQUESTS));
    while let Some(message) = heard(receive).await? {
        match message {
            FromDelegate::Outcome(outcome) => take_outcome(shared, connection, outcome).await,
            FromDelegate::Log(chunk) => take_log(shared, connection, chunk).await,
            FromDelegate::Request(request) => {
                let Ok(permit) = Arc::clone(&requests).acquire_owned().await else { return Ok(()) };
                let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
                tokio::spawn(async move {
                    let id = request.id;
                    let answer = answer(&shared, &connection, request).await;
                    connection.tell(Order::Answer(id, answer));
                    drop(permit);
                });
            }
            FromDelegate::Credit { tasks } => {
                (0..tasks.min(MOST_PLACES)).for_each(|_| connection.free_place());
                shared.delegates.place_freed();
            }
            FromDelegate::Heartbeat { .. } => connection.tell(Order::Pong),
            FromDelegate::Started { .. } | FromDelegate::Pong { .. } => {}
            FromDelegate::Leaving => shared.delegates.remove(&connection.lease),
            other @ (FromDelegate::Hello(_) | FromDelegate::Proof(_)) => {
                return Err(LinkError::Unexpected { found: other.name(), expected: "anything else" });
            }
        }
    }
    Ok(())
}

async fn take_outcome(shared: &Arc<Shared>, connection: &Arc<Connection>, ended: TaskOutcome) {
    crash::point(Point::OutcomeReceived);
    let TaskOutcome { task, lease, outcome } = ended;
    let lease = Lease { holder: lease.holder, fence: lease.fence };
    if lease.holder != connection.lease.holder {
        tracing::warn!(%task, delegate = %connection.name, "an outcome names the lease of another delegate and is refused");
        connection.ack(task, lease.fence, false);
        return connection.free_place();
    }
    let execution = match connection.taken_back(&task) {
        Some(handed) => {
            if try_elsewhere(shared, connection, &handed, &lease, &outcome).await {
                return;
            }
            close_log(shared, &handed.task).await;
            handed.task.step.as_ref().map(|step| step.execution.clone())
        }
        None => match shared.store.task(&task).await {
            Ok(Some(row)) => row.execution,
            Ok(None) => {
                connection.ack(task, lease.fence, false);
                return connection.free_place();
            }
            // Not acknowledged: it comes again, on a new connection.
            Err(error) => {
                tracing::error!(%task, error = &error as &dyn Error, "cannot see a task");
                shared.delegates.end(connection.lease.fence);
                return;
            }
        },
    };
    let ended = Ended { execution, task, lease, outcome, connection: Arc::clone(connection) };
    match ended.execution.clone() {
        Some(execution) => shared.workers.send(&execution, Message::Ended(ended)),
        None => ended.pass_on(shared).await,
    }
}

/// Takes note whether the delegate reached what a task had to reach. A task that it did not reach goes to another delegate that may take it and
/// has not had it (`behaviour.md` 19): then this is true, and the outcome is not recorded.
async fn try_elsewhere(
    shared: &Shared,
    connection: &Connection,
    handed: &Handed,
    lease: &Lease,
    outcome: &Outcome,
) -> bool {
    let task = &handed.task;
    let missed = match &outcome.result {
        TaskResult::Succeeded => false,
        TaskResult::Failed { failure } if failure.class == FailureClass::Connectivity => true,
        _ => return false,
    };
    if let Some(target) = task.target() {
        shared.delegates.reach.note(&connection.id, target, !missed, shared.now());
    }
    // Whether an unsafe task began nobody could look; what lives on a delegate fails wherever it is.
    if !missed || task.class == Class::Unsafe || task.lives_on_delegate() {
        return false;
    }
    let execution = task.step.as_ref().map(|step| &step.execution);
    let scope = match scope::find(shared, execution).await {
        Ok(scope) => scope,
        Err(error) => {
            tracing::error!(task = %task.id, error = &error as &dyn Error, "cannot see where a task belongs");
            return false;
        }
    };
    let had_it = handed.deliveries.saturating_add(1) as usize;
    if had_it >= shared.delegates.eligible(task, &scope, &[]) {
        return false;
    }
    let until = shared.now().saturating_add(MISSED_MS);
    match shared.store.hand_back(&task.id, lease, until).await {
        Ok(()) => {
            tracing::info!(task = %task.id, delegate = %connection.name, "the delegate did not reach the target; another one tries");
            connection.ack(task.id.clone(), lease.fence, true);
            connection.free_place();
            shared.delegates.queued();
            true
        }
        // The outcome goes the usual way, which says what is wrong.
        Err(_) => false,
    }
}

/// Nothing more comes for the log of a task that has ended.
async fn close_log(shared: &Shared, task: &Task) {
    let execution = task.step.as_ref().map(|step| step.execution.clone());
    let key = LogKey { execution, log: task.log.clone() };
    if let Err(error) = shared.logs.close(&key).await {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot close a log");
    }
}

/// Takes in output of a task. It is credited when it is durable, so that a killed server loses none of it.
async fn take_log(shared: &Shared, connection: &Connection, chunk: LogChunk) {
    let size = chunk.bytes.len() as u64;
    let taken = match writes(shared, connection, &chunk).await {
        Ok(Some(key)) => {
            let part = Chunk {
                run: chunk.run,
                seq: chunk.seq,
                unit: &chunk.unit,
                at: shared.now(),
                bytes: &chunk.bytes,
            };
            shared
                .logs
                .take(&key, part)
                .await
                .map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>)
        }
        // Its task has ended and its log is closed, or it is none of this delegate's.
        Ok(None) => Ok(0),
        Err(error) => Err(Box::new(error) as _),
    };
    let flush = taken.unwrap_or_else(|error| {
        tracing::error!(error = &*error as &dyn Error, log = %chunk.log, "cannot keep a log");
        0
    });
    connection.took_log(flush, size);
    shared.meters.logged(size);
    connection.credit_log(*shared.logs.flushed().borrow());
}

/// The log that a chunk belongs to, if this delegate may write it: its task is handed over on this connection, or was on an earlier one.
async fn writes(
    shared: &Shared,
    connection: &Connection,
    chunk: &LogChunk,
) -> manifold_store::Result<Option<LogKey>> {
    let log = chunk.log.clone();
    if let Some(execution) = connection.execution_of(&log) {
        return Ok(Some(LogKey { execution: Some(execution), log }));
    }
    if connection.holds(&chunk.task).is_some_and(|task| task.log == log) {
        return Ok(Some(LogKey { execution: None, log }));
    }
    let Some(row) = shared.store.task(&chunk.task).await? else { return Ok(None) };
    let holder = row.lease.as_ref().map(|lease| &lease.holder).or(row.held_by.as_ref());
    if row.task.log != log || holder != Some(&connection.lease.holder) {
        return Ok(None);
    }
    if let Some(execution) = &row.execution {
        connection.writes_log(&log, execution);
    }
    Ok(Some(LogKey { execution: row.execution, log }))
}

/// Credits log bytes as they become durable.
async fn credit_logs(shared: &Shared, connection: &Connection) -> Result<(), LinkError> {
    let mut flushed = shared.logs.flushed();
    // The sender lives as long as the logs, and this connection holds them.
    while flushed.changed().await.is_ok() {
        let flush = *flushed.borrow_and_update();
        connection.credit_log(flush);
    }
    Ok(())
}

/// Answers a request of a delegate for a task that it holds; only what the task refers to is given.
async fn answer(shared: &Shared, connection: &Connection, request: Request) -> Answer {
    let Some(task) = connection.holds(&request.task) else {
        return refuse("the delegate does not hold this task");
    };
    let answered = match request.ask {
        Ask::Secret { name } if refers_to(&task, &name) => {
            shared.control.open_secret(&name).await.map(|bytes| Answer::Secret(sensitive(&bytes)))
        }
        Ask::Credential { name } if refers_to(&task, &name) => {
            shared.control.open_credential(&name).await.map(|open| {
                Answer::Credential(Box::new(manifold_link::Credential {
                    user_name: open.user_name,
                    port: open.port,
                    method: open.method,
                    secret: open.secret.as_ref().map(sensitive),
                    passphrase: open.passphrase.as_ref().map(sensitive),
                }))
            })
        }
        Ask::Secret { name } | Ask::Credential { name } => {
            return refuse(&format!("the task does not refer to the secret {name}"));
        }
        Ask::File { source, offset } => shared
            .control
            .file_part(&source, offset, limits::FILE_PART)
            .await
            .map(|(bytes, total)| Answer::File { bytes: bytes.into(), total }),
        Ask::Seal { name, value } => {
            shared.control.seal_output(&task.id, &name, &value.0).await.map(|name| Answer::Sealed { name })
        }
    };
    answered.unwrap_or_else(|failure| Answer::Refused(Box::new(failure)))
}

fn sensitive(bytes: &SecretBytes) -> manifold_link::Sensitive {
    manifold_link::Sensitive::new(bytes.expose_secret())
}

fn refuse(message: &str) -> Answer {
    let failure = Failure::new(FailureClass::Delegate, code!("DELEGATE_REQUEST_REFUSED"), message);
    Answer::Refused(Box::new(failure))
}

/// Whether a task names this secret or credential anywhere: as it is, or behind a manager prefix.
fn refers_to(task: &Task, name: &str) -> bool {
    fn holds(value: &serde_json::Value, name: &str) -> bool {
        match value {
            serde_json::Value::String(text) => {
                text == name || text.rsplit_once(':').is_some_and(|(_, bare)| bare == name)
            }
            serde_json::Value::Array(items) => items.iter().any(|item| holds(item, name)),
            serde_json::Value::Object(fields) => fields.values().any(|field| holds(field, name)),
            _ => false,
        }
    }
    serde_json::to_value(&task.payload).is_ok_and(|payload| holds(&payload, name))
}
