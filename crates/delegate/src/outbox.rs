//! What the delegate has to say to the server: a queue that outlives connections. Log chunks stay until credited, and so bound
//! themselves; everything else is made again from its own state when a new connection begins.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use manifold_link::limits::LOG_WINDOW;
use manifold_link::{FromDelegate, LogChunk};
use manifold_model::TaskId;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    /// Free bytes of the log window.
    window: Semaphore,
}

#[derive(Default)]
struct State {
    connected: bool,
    queue: VecDeque<FromDelegate>,
    /// Chunks sent or to be sent whose bytes were not credited yet, oldest first.
    uncredited: VecDeque<LogChunk>,
    /// Bytes by which what an earlier life left is more than the window: their credit frees nothing.
    over: usize,
}

impl Outbox {
    /// Chunks that an earlier life of the delegate left come first; they fill the window as any other.
    pub(crate) fn new(left: Vec<LogChunk>) -> Self {
        let taken: usize = left.iter().map(|chunk| chunk.bytes.len()).sum();
        let over = taken.saturating_sub(LOG_WINDOW);
        let state = State { uncredited: left.into(), over, ..State::default() };
        let window = Semaphore::new(LOG_WINDOW.saturating_sub(taken));
        Self { state: Mutex::new(state), filled: Notify::new(), window }
    }

    /// Chunks of a task that the server has not credited.
    pub(crate) fn uncredited_of(&self, task: &TaskId) -> Vec<LogChunk> {
        self.state().uncredited.iter().filter(|chunk| chunk.task == *task).cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins: uncredited chunks come first.
    pub(crate) fn connect(&self) {
        let mut state = self.state();
        state.connected = true;
        state.queue = state.uncredited.iter().cloned().map(FromDelegate::Log).collect();
        drop(state);
        self.filled.notify_one();
    }

    /// The connection has ended: what only made sense on it is forgotten.
    pub(crate) fn disconnect(&self) {
        let mut state = self.state();
        state.connected = false;
        state.queue.clear();
    }

    /// Says something; without a connection it is dropped.
    pub(crate) fn push(&self, message: FromDelegate) {
        let mut state = self.state();
        if state.connected {
            state.queue.push_back(message);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Sends a chunk as soon as the window has room for it; `false` when `stop` came first.
    pub(crate) async fn push_log(&self, chunk: LogChunk, stop: &CancellationToken) -> bool {
        let bytes = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
        let room = async {
            match self.window.try_acquire_many(bytes) {
                Ok(room) => Ok(room),
                Err(_) => self.window.acquire_many(bytes).await,
            }
        };
        let room = tokio::select! {
            biased;
            room = room => room,
            () = stop.cancelled() => return false,
        };
        let Ok(room) = room else { return false };
        room.forget();
        let mut state = self.state();
        state.uncredited.push_back(chunk.clone());
        if state.connected {
            state.queue.push_back(FromDelegate::Log(chunk));
        }
        drop(state);
        self.filled.notify_one();
        true
    }

    /// The server keeps the oldest `bytes` bytes.
    pub(crate) fn credit(&self, bytes: u64) {
        let mut state = self.state();
        let mut left = bytes;
        let mut freed = 0;
        while let Some(chunk) = state.uncredited.front() {
            let length = chunk.bytes.len();
            if left < length as u64 {
                break;
            }
            left -= length as u64;
            freed += length;
            state.uncredited.pop_front();
        }
        let over = state.over.min(freed);
        state.over -= over;
        drop(state);
        self.window.add_permits(freed - over);
    }

    /// Everything there is to say, at least one message.
    pub(crate) async fn next(&self) -> VecDeque<FromDelegate> {
        loop {
            let queue = std::mem::take(&mut self.state().queue);
            if !queue.is_empty() {
                return queue;
            }
            self.filled.notified().await;
        }
    }
}
