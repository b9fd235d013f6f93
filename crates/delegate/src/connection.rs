//! One connection to a server, from hello to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use manifold_link::limits::{HEARTBEAT, SILENCE_LIMIT};
use manifold_link::{
    FromDelegate, FromServer, Hello, Lease, LinkError, OutcomeAck, Receiver, Sender, TaskFrame, TaskOutcome,
    VERSIONS, delegate_end, greet,
};
use manifold_model::crash::{self, Point};
use manifold_model::task::Outcome;
use manifold_model::{Failure, FailureClass, Millis, TaskId, code};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::held::{Place, Work};
use crate::limits::{CLOCKS_APART, OVERBOOKING};
use crate::work::Life;
use crate::{DelegateError, Ended, Shared};

/// Forgets the connection however it ends.
struct Disconnect<'a>(&'a Shared);

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.0.outbox.disconnect();
    }
}

/// Serves one connection.
pub(crate) async fn serve<S>(
    shared: &Arc<Shared>,
    stream: S,
    shutdown: CancellationToken,
) -> Result<Ended, DelegateError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut send, mut receive) = delegate_end(stream);
    let mut credentials = shared.config.credentials.clone();
    if let Some(credentials) = credentials.as_mut().filter(|_| shared.joined.load(Ordering::SeqCst)) {
        credentials.token = None;
    }
    let (welcome, time) = greet(&mut send, &mut receive, hello(shared), credentials.as_ref()).await?;
    shared.joined.store(true, Ordering::SeqCst);
    if let Some(time) = time {
        compare_clocks((shared.config.clock)(), time);
    }
    let lease = welcome.lease;
    shared.asks.connect(lease.fence);
    shared.outbox.connect();
    let _disconnect = Disconnect(shared);
    // In this order: whatever changes from here on is pushed by itself, and coming twice does no harm.
    for kept in shared.config.spool.unacknowledged() {
        shared.outbox.push(FromDelegate::Outcome(kept));
    }
    tracing::info!(delegate = %shared.config.name, fence = lease.fence, "connected");
    shared.welcomes.send_modify(|welcomes| *welcomes += 1);

    let drained = Notify::new();
    let ended = tokio::select! {
        biased;
        ended = read(shared, &mut receive, &lease, &drained) => ended,
        error = write(shared, &mut send) => Err(error.into()),
        ended = leave(shared, &shutdown, &drained) => Ok(ended),
    };
    if ended.is_ok() {
        // The last acknowledgements are in; a server that is gone already is no error.
        drop(timeout(HEARTBEAT, send.close()).await);
    }
    ended
}

/// Says when the clocks are far apart: nothing depends on it, but the times of the delegate's outcomes are its own.
fn compare_clocks(ours: Millis, theirs: Millis) {
    let apart = ours.abs_diff(theirs);
    if apart > CLOCKS_APART {
        tracing::warn!(seconds = apart / 1_000, "the clock of this machine differs from the server's");
    }
}

fn hello(shared: &Shared) -> Hello {
    let config = &shared.config;
    let mut selectors = vec![config.name.clone()];
    selectors.extend(config.selectors.iter().filter(|selector| **selector != config.name).cloned());
    let taken = u32::try_from(shared.held.len()).unwrap_or(u32::MAX);
    Hello {
        versions: VERSIONS.to_vec(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        delegate: Some(config.id.clone()),
        name: config.name.clone(),
        selectors,
        kinds: shared.kinds.clone(),
        capabilities: config.capabilities.clone(),
        free: config.max_tasks.saturating_sub(taken),
        key: config.credentials.as_ref().map(|one| one.identity.key()).unwrap_or_default(),
        kind: config.facts.kind,
        host: config.facts.host.clone(),
        address: config.facts.address.clone(),
        description: config.facts.description.clone(),
    }
}

/// Waits until it is time to go: shut down or drained, and everything acknowledged.
async fn leave(shared: &Shared, shutdown: &CancellationToken, drained: &Notify) -> Ended {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            shared.outbox.push(FromDelegate::Leaving);
            if timeout(shared.config.shutdown_grace, shared.held.empty()).await.is_err() {
                tracing::warn!(tasks = shared.held.len(), "left tasks running; they are found again by their markers");
            }
            shared.held.abandon();
            Ended::Shutdown
        }
        () = drained.notified() => {
            shared.outbox.push(FromDelegate::Leaving);
            shared.held.empty().await;
            Ended::Drained
        }
    }
}

async fn write(shared: &Shared, send: &mut Sender<FromDelegate>) -> LinkError {
    loop {
        let batch = match timeout(HEARTBEAT, shared.outbox.next()).await {
            Ok(batch) => batch,
            Err(_) => {
                let running = u32::try_from(shared.held.running()).unwrap_or(u32::MAX);
                [FromDelegate::Heartbeat { running }].into()
            }
        };
        let mut sent = Vec::new();
        for message in batch {
            match send.feed(&message).await {
                Ok(()) => sent.extend(point_of(&message)),
                Err(LinkError::TooLarge { what, size, limit }) => {
                    shared.too_large(message, &format!("a {what} of {size} bytes exceeds {limit} bytes"));
                }
                Err(error) => return error,
            }
        }
        if let Err(error) = send.flush().await {
            return error;
        }
        sent.into_iter().for_each(crash::point);
    }
}

/// The point after a message was sent.
fn point_of(message: &FromDelegate) -> Option<Point> {
    match message {
        FromDelegate::Outcome(_) => Some(Point::OutcomeSent),
        FromDelegate::Log(_) => Some(Point::LogSent),
        _ => None,
    }
}

async fn read(
    shared: &Arc<Shared>,
    receive: &mut Receiver<FromServer>,
    lease: &Lease,
    drained: &Notify,
) -> Result<Ended, DelegateError> {
    loop {
        let message = match timeout(SILENCE_LIMIT, receive.recv()).await {
            Ok(message) => message?,
            Err(_) => {
                return Err(
                    LinkError::Stalled { what: "say anything", seconds: SILENCE_LIMIT.as_secs() }.into()
                );
            }
        };
        match message {
            None => return Ok(Ended::ServerClosed),
            Some(FromServer::Task(frame)) => shared.take(*frame, lease)?,
            Some(FromServer::Cancel { task }) => shared.cancel(&task),
            Some(FromServer::OutcomeAck(ack)) => shared.acknowledged(&ack),
            Some(FromServer::LogCredit { bytes }) => shared.outbox.credit(bytes),
            Some(FromServer::Answer { id, answer }) => shared.asks.answer(id, answer),
            Some(FromServer::Ping { nonce }) => shared.outbox.push(FromDelegate::Pong { nonce }),
            Some(FromServer::Drain) => drained.notify_one(),
            // The server lets it in no longer.
            Some(FromServer::Refused(failure)) => return Err(LinkError::Refused(failure).into()),
            Some(other @ (FromServer::Welcome(_) | FromServer::Challenge(_) | FromServer::Waiting)) => {
                return Err(LinkError::Unexpected { found: other.name(), expected: "a task" }.into());
            }
        }
    }
}

impl Shared {
    /// A task is handed over: starts it, unless it runs here already or has ended here.
    fn take(self: &Arc<Self>, frame: TaskFrame, lease: &Lease) -> Result<(), DelegateError> {
        crash::point(Point::TaskReceived);
        let TaskFrame { task, deliveries, fence, elsewhere } = frame;
        let lease = Lease { holder: lease.holder.clone(), fence };
        let id = task.id.clone();
        let cancel = CancellationToken::new();
        let fresh = self.held.with(|places| {
            if let Some(place) = places.get_mut(&id) {
                self.hand_over_again(&id, place, &lease);
                return Ok(false);
            }
            if places.len() >= self.config.max_tasks as usize * OVERBOOKING {
                return Err(DelegateError::Overfull { task: id.clone(), places: self.config.max_tasks });
            }
            let known = self.config.spool.take_over(&id, &lease);
            let ended = known.is_some();
            let work = (!ended).then(|| Work { cancel: cancel.clone(), abort: None });
            places.insert(id.clone(), Place { lease: lease.clone(), work });
            if let Some(outcome) = known {
                self.outbox.push(FromDelegate::Outcome(outcome));
            }
            Ok(!ended)
        })?;
        if fresh {
            self.outbox.push(FromDelegate::Started { task: id.clone(), fence });
            let life = Life { shared: self.clone(), task, deliveries, elsewhere, run: fence, cancel };
            let abort = tokio::spawn(life.live()).abort_handle();
            self.held.with(|places| {
                if let Some(work) = places.get_mut(&id).and_then(|place| place.work.as_mut()) {
                    work.abort = Some(abort);
                }
            });
        }
        Ok(())
    }

    /// A task that has a place here comes again, after a reconnect: only its lease is new.
    fn hand_over_again(&self, id: &TaskId, place: &mut Place, lease: &Lease) {
        if place.lease == *lease {
            return;
        }
        place.lease = lease.clone();
        // The server counts a place for it, this side has one for it already.
        self.outbox.push(FromDelegate::Credit { tasks: 1 });
        if place.work.is_some() {
            self.outbox.push(FromDelegate::Started { task: id.clone(), fence: lease.fence });
            self.asks.ask_again(id);
        } else if let Some(outcome) = self.config.spool.take_over(id, lease) {
            self.outbox.push(FromDelegate::Outcome(outcome));
        }
    }

    fn cancel(&self, task: &TaskId) {
        crash::point(Point::CancelReceived);
        self.held.with(|places| {
            if let Some(work) = places.get(task).and_then(|place| place.work.as_ref()) {
                work.cancel.cancel();
            }
        });
    }

    /// An outcome was taken: its place is free.
    fn acknowledged(&self, ack: &OutcomeAck) {
        crash::point(Point::Acknowledged);
        if self.config.spool.acknowledge(ack) {
            crash::point(Point::OutcomeForgotten);
            self.held.with(|places| places.remove(&ack.task));
        }
    }

    /// A task has ended: its outcome is made to outlive the delegate with what the server does not have of its log, then kept, and said.
    pub(crate) async fn outlive(&self, task: TaskId, outcome: Outcome) {
        let lease = self.held.with(|places| places.get(&task).map(|place| place.lease.clone()));
        if let Some(lease) = lease {
            let (spool, chunks) = (self.config.spool.clone(), self.outbox.uncredited_of(&task));
            let ended = TaskOutcome { task: task.clone(), lease, outcome: outcome.clone() };
            let kept = tokio::task::spawn_blocking(move || spool.persist(&ended, &chunks)).await;
            if let Ok(Err(error)) = kept {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%task, error, "an outcome cannot be spooled: it is lost if the delegate dies now");
            }
        }
        self.ended(task, outcome);
    }

    /// A task has ended: its outcome is kept, and said.
    fn ended(&self, task: TaskId, outcome: Outcome) {
        let ended = self.held.with(|places| {
            let place = places.get_mut(&task)?;
            place.work = None;
            let ended = TaskOutcome { task, lease: place.lease.clone(), outcome };
            self.config.spool.keep(ended.clone());
            Some(ended)
        });
        crash::point(Point::OutcomeKept);
        if let Some(ended) = ended {
            self.outbox.push(FromDelegate::Outcome(ended));
        }
    }

    /// A message that fits no frame: what waits for it must hear of it.
    fn too_large(&self, message: FromDelegate, why: &str) {
        let failure = Failure::new(
            FailureClass::Delegate,
            code!("RESULT_TOO_LARGE"),
            format!("the result cannot be sent to the server: {why}"),
        )
        .hint("publish less: write large output to the log or to a file");
        match message {
            FromDelegate::Outcome(ended) => self.ended(ended.task, Outcome::failed(failure)),
            FromDelegate::Request(request) => {
                self.asks.answer(request.id, manifold_link::Answer::Refused(Box::new(failure)));
            }
            other => tracing::error!(message = other.name(), why, "a message was not sent"),
        }
    }
}
