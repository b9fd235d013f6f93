//! Requests to the server and their answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use manifold_link::limits::MAX_REQUESTS;
use manifold_link::{Answer, Ask, FromDelegate, Request};
use manifold_model::{Failure, FailureClass, TaskId, code};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::held::Held;
use crate::limits::REQUEST_DEADLINE;
use crate::outbox::Outbox;

/// Open requests.
pub(crate) struct Asks {
    outbox: Arc<Outbox>,
    held: Arc<Held>,
    /// Fence of the present connection.
    fence: AtomicU64,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    room: Semaphore,
}

struct Open {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// Forgets the request when its asker goes away.
struct Forget<'a>(&'a Asks, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.open().remove(&self.1);
    }
}

impl Asks {
    pub(crate) fn new(outbox: Arc<Outbox>, held: Arc<Held>) -> Self {
        Self {
            outbox,
            held,
            fence: AtomicU64::new(0),
            next: AtomicU64::new(1),
            open: Mutex::default(),
            room: Semaphore::new(MAX_REQUESTS),
        }
    }

    /// A new connection begins under this fence.
    pub(crate) fn connect(&self, fence: u64) {
        self.fence.store(fence, Ordering::SeqCst);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and waits for the answer, over a reconnect if need be.
    ///
    /// # Errors
    /// The server's refusal, or `SERVER_UNANSWERED` after [`REQUEST_DEADLINE`].
    pub(crate) async fn ask(&self, task: &TaskId, ask: Ask) -> Result<Answer, Failure> {
        let what = match &ask {
            Ask::Secret { name } => format!("secret {name:?}"),
            Ask::Credential { name } => format!("credential {name:?}"),
            Ask::File { .. } => "file".to_owned(),
            Ask::Seal { name, .. } => format!("sealed output {name:?}"),
        };
        match timeout(REQUEST_DEADLINE, self.answered(task, ask)).await {
            Ok(Some(Answer::Refused(failure))) => Err(*failure),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(Failure::new(
                FailureClass::Delegate,
                code!("SERVER_UNANSWERED"),
                format!("the server did not answer a request for the {what} in time"),
            )
            .hint("see whether the delegate is connected and the server is ready")),
        }
    }

    async fn answered(&self, task: &TaskId, ask: Ask) -> Option<Answer> {
        let _room = self.room.acquire().await.ok()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let request = Request { id, task: task.clone(), ask };
        let (answer, wait) = oneshot::channel();
        self.open().insert(id, Open { request: request.clone(), answer });
        let _forget = Forget(self, id);
        // The server answers only for tasks handed out on the present connection; for others the request waits for `ask_again`.
        let lease = self.held.with(|places| places.get(task).map(|place| place.lease.fence));
        if lease == Some(self.fence.load(Ordering::SeqCst)) {
            self.outbox.push(FromDelegate::Request(request));
        }
        wait.await.ok()
    }

    /// An answer came; one to a request that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        if let Some(open) = self.open().remove(&id) {
            // The asker may have given up at this very moment: then nobody needs the answer.
            drop(open.answer.send(answer));
        }
    }

    /// A running task was handed over again on a new connection: asks again what is open for it.
    pub(crate) fn ask_again(&self, task: &TaskId) {
        let requests: Vec<Request> = self
            .open()
            .values()
            .filter(|open| open.request.task == *task)
            .map(|open| open.request.clone())
            .collect();
        for request in requests {
            self.outbox.push(FromDelegate::Request(request));
        }
    }
}

/// The failure for an answer of the wrong sort.
pub(crate) fn wrong_answer(what: &str) -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("SERVER_UNANSWERED"),
        format!("the server answered a request for a {what} with something else"),
    )
}
