//! The server's end of a delegate's connection: takes what the delegate says, tells it what to do.

use std::error::Error;
use std::sync::Arc;

use manifold_control::{ExposeSecret, SecretBytes};
use manifold_link::{
    Answer, Ask, FromDelegate, FromServer, Hello, LinkError, LogChunk, Receiver, Request, Sender, TaskFrame,
    TaskOutcome, Welcome, limits, negotiate, server_end,
};
use manifold_model::crash::{self, Point};
use manifold_model::delegate::{Announced, DelegateStatus, Scopes};
use manifold_model::task::Task;
use manifold_model::{DelegateId, Failure, FailureClass, Millis, code};
use manifold_store::logs::{Chunk, LogKey};
use manifold_store::{DelegateRow, Lease, StoreError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

use crate::Runtime;
use crate::Shared;
use crate::delegates::{Connection, Send as Order};
use crate::worker::{Ended, Message};

/// Most tasks that one delegate may have at once, whatever it offers.
const MOST_PLACES: u32 = 4_096;
/// Messages written before the buffer is flushed.
const WRITES: usize = 256;

/// Serves one connection until either side ends it. Afterwards its tasks go back to the queue.
///
/// # Errors
/// The connection broke, the delegate spoke nonsense or another version, or the store failed.
pub async fn serve_delegate<S>(runtime: &Runtime, stream: S) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let shared = Arc::clone(&runtime.shared);
    let (mut send, mut receive) = server_end(stream);
    let hello = manifold_link::hello(&mut receive).await?;
    let version = match negotiate(&hello.versions) {
        Ok(version) => version,
        Err(failure) => return Ok(send.send(&FromServer::Refused(failure)).await?),
    };
    let id = hello.delegate.clone().unwrap_or_else(|| DelegateId::derived(&["delegate", &hello.name]));
    let lease = shared.store.lease(&shared.lease, &id).await?;
    crash::point(Point::DelegateLeased);
    let wire_lease = manifold_link::Lease { holder: lease.holder.clone(), fence: lease.fence };
    send.send(&FromServer::Welcome(Welcome { version, lease: wire_lease })).await?;
    shared.store.enrol(row(&id, &hello, shared.now())).await?;
    let (orders, to_send) = mpsc::unbounded_channel();
    let connection = Arc::new(connection(id, hello, lease.clone(), orders));
    shared.delegates.add(Arc::clone(&connection));
    let ended = tokio::select! {
        ended = write(send, to_send) => ended,
        ended = read(&shared, &connection, &mut receive) => ended,
        ended = credit_logs(&shared, &connection) => ended,
        () = shared.shutdown.cancelled() => Ok(()),
    };
    shared.delegates.remove(&lease);
    shared.store.release(&lease).await?;
    shared.delegates.queued();
    Ok(ended?)
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
        announced: Announced {
            program: hello.program.clone(),
            selectors: hello.selectors.clone(),
            capabilities: hello.capabilities.clone(),
            kinds: hello.kinds.clone(),
            ..Announced::default()
        },
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

/// Writes orders out, many to a flush.
async fn write(
    mut send: Sender<FromServer>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<(), LinkError> {
    let mut batch = Vec::with_capacity(WRITES);
    // Points of what is written and not flushed yet.
    let mut unflushed = Vec::new();
    while orders.recv_many(&mut batch, WRITES).await > 0 {
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
    Ok(())
}

/// The points before and after an order is sent.
fn points(order: &Order) -> Option<(Point, Point)> {
    match order {
        Order::Task(..) => Some((Point::BeforeHandOver, Point::AfterHandOver)),
        Order::Ack(_) => Some((Point::BeforeAcknowledge, Point::AfterAcknowledge)),
        _ => None,
    }
}

fn frame(order: Order) -> FromServer {
    match order {
        Order::Task(task, deliveries, fence) => {
            let task = Arc::unwrap_or_clone(task);
            FromServer::Task(Box::new(TaskFrame { task, deliveries, fence }))
        }
        Order::Cancel(task) => FromServer::Cancel { task },
        Order::Ack(ack) => FromServer::OutcomeAck(ack),
        Order::Answer(id, answer) => FromServer::Answer { id, answer },
        Order::LogCredit(bytes) => FromServer::LogCredit { bytes },
        Order::Pong => FromServer::Ping { nonce: 0 },
    }
}

/// Takes in what the delegate says.
async fn read(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    receive: &mut Receiver<FromDelegate>,
) -> Result<(), LinkError> {
    let requests = Arc::new(Semaphore::new(limits::MAX_REQUESTS));
    while let Some(message) = receive.recv().await? {
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
            FromDelegate::Hello(_) => {
                return Err(LinkError::Unexpected { found: "hello", expected: "anything else" });
            }
        }
    }
    Ok(())
}

async fn take_outcome(shared: &Arc<Shared>, connection: &Arc<Connection>, ended: TaskOutcome) {
    crash::point(Point::OutcomeReceived);
    let TaskOutcome { task, lease, outcome } = ended;
    let lease = Lease { holder: lease.holder, fence: lease.fence };
    let execution = match connection.taken_back(&task) {
        Some(held) => {
            close_log(shared, &held).await;
            held.step.as_ref().map(|step| step.execution.clone())
        }
        None => match shared.store.task(&task).await {
            Ok(Some(row)) => row.execution,
            Ok(None) => {
                connection.ack(task, lease.fence, false);
                return connection.free_place();
            }
            // Not acknowledged: it comes again.
            Err(error) => {
                return tracing::error!(%task, error = &error as &dyn std::error::Error, "cannot see a task");
            }
        },
    };
    let Some(execution) = execution else {
        let recorded = shared.store.end_task(&task, &lease, outcome).await;
        if let Err(error) = &recorded
            && !matches!(error, StoreError::Fenced { .. } | StoreError::Missing(_))
        {
            tracing::error!(%task, error = error as &dyn std::error::Error, "cannot end a task");
        }
        connection.ack(task, lease.fence, recorded.is_ok());
        connection.free_place();
        return shared.delegates.place_freed();
    };
    let ended =
        Ended { execution: execution.clone(), task, lease, outcome, connection: Arc::clone(connection) };
    shared.workers.send(&execution, Message::Ended(ended));
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
