//! The log of one task: masked, cut into chunks, bounded, under the window.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_driver::LogSink;
use manifold_link::LogChunk;
use manifold_link::limits::MAX_LOG_CHUNK;
use manifold_model::{LogId, TaskId};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::limits::{MAX_LAST_LINE, MAX_LOG, MAX_OPEN_UNITS};
use crate::mask::{MaskStream, Patterns, Secrets};
use crate::outbox::Outbox;

/// Output of a task on its way to the server.
pub(crate) struct TaskLog {
    outbox: Arc<Outbox>,
    secrets: Arc<Secrets>,
    task: TaskId,
    log: LogId,
    /// Fence under which this run of the task began.
    run: u64,
    /// Once cancelled nobody waits for the window any more: the driver must be able to stop.
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seq: u64,
    /// Bytes sent.
    sent: u64,
    /// Bytes dropped.
    dropped: u64,
    /// The last line dropped, or what is there of it.
    last: LastLine,
    /// Streams by unit, in order of their first output.
    units: Vec<(String, MaskStream)>,
    /// The task has ended: its last words wait for the window even after a cancel.
    finishing: bool,
}

impl State {
    fn drop(&mut self, unit: &str, bytes: &[u8]) {
        self.dropped += bytes.len() as u64;
        self.last.push(unit, bytes);
    }
}

impl TaskLog {
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        secrets: Arc<Secrets>,
        (task, log): (TaskId, LogId),
        run: u64,
        stop: CancellationToken,
    ) -> Self {
        Self { outbox, secrets, task, log, run, stop, state: Mutex::default() }
    }

    /// Sends what was held back, and the last line if output was dropped. May wait for the window: call it under a deadline.
    pub(crate) async fn finish(&self) {
        let patterns = self.secrets.patterns();
        let mut state = self.state.lock().await;
        state.finishing = true;
        for (unit, mut stream) in std::mem::take(&mut state.units) {
            let rest = stream.finish(&patterns);
            self.send(&mut state, &unit, rest).await;
        }
        if state.dropped > 0 {
            let LastLine { unit, bytes, .. } = std::mem::take(&mut state.last);
            let notice = format!("[{} bytes of output were left out]\n", state.dropped);
            self.send_chunk(&mut state, &unit, notice.into()).await;
            self.send_chunk(&mut state, &unit, bytes.into()).await;
        }
    }

    async fn write_masked(&self, state: &mut State, patterns: &Patterns, unit: &str, bytes: Bytes) {
        let at = match state.units.iter().position(|(name, _)| name == unit) {
            Some(at) => at,
            None => {
                if state.units.len() >= MAX_OPEN_UNITS {
                    let (name, mut stream) = state.units.remove(0);
                    let rest = stream.finish(patterns);
                    self.send(state, &name, rest).await;
                }
                state.units.push((unit.to_owned(), MaskStream::default()));
                state.units.len() - 1
            }
        };
        let Some((_, stream)) = state.units.get_mut(at) else { return };
        let out = stream.push(patterns, bytes);
        self.send(state, unit, out).await;
    }

    /// Sends masked output as far as the limit allows.
    async fn send(&self, state: &mut State, unit: &str, mut bytes: Bytes) {
        if state.dropped == 0 {
            let room = usize::try_from(MAX_LOG.saturating_sub(state.sent)).unwrap_or(usize::MAX);
            let mut fits = bytes.split_to(room.min(bytes.len()));
            while !fits.is_empty() {
                let chunk = fits.split_to(MAX_LOG_CHUNK.min(fits.len()));
                state.sent += chunk.len() as u64;
                if !self.send_chunk(state, unit, chunk.clone()).await {
                    state.drop(unit, &chunk);
                }
            }
            if !bytes.is_empty() {
                let notice = format!("\n[this step wrote more than {MAX_LOG} bytes; the rest is left out]\n");
                self.send_chunk(state, unit, notice.into()).await;
            }
        }
        if !bytes.is_empty() {
            state.drop(unit, &bytes);
        }
    }

    async fn send_chunk(&self, state: &mut State, unit: &str, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let chunk = LogChunk {
            task: self.task.clone(),
            log: self.log.clone(),
            run: self.run,
            seq: state.seq + 1,
            unit: unit.to_owned(),
            bytes,
        };
        let never = CancellationToken::new();
        let stop = if state.finishing { &never } else { &self.stop };
        let sent = self.outbox.push_log(chunk, stop).await;
        if sent {
            state.seq += 1;
        }
        sent
    }
}

#[async_trait]
impl LogSink for TaskLog {
    async fn write(&self, unit: &str, bytes: Bytes) {
        let patterns = self.secrets.patterns();
        let mut state = self.state.lock().await;
        self.write_masked(&mut state, &patterns, unit, bytes).await;
    }
}

/// The last line of what was dropped, at most [`MAX_LAST_LINE`] bytes of its end.
#[derive(Default)]
struct LastLine {
    unit: String,
    bytes: Vec<u8>,
    /// Whether the line has ended: the next byte begins a new one.
    ended: bool,
}

impl LastLine {
    fn push(&mut self, unit: &str, bytes: &[u8]) {
        if self.unit != unit || self.ended {
            unit.clone_into(&mut self.unit);
            self.bytes.clear();
        }
        let line_ends = bytes.last() == Some(&b'\n');
        let body = if line_ends { bytes.strip_suffix(b"\n").unwrap_or(bytes) } else { bytes };
        let start = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if start > 0 {
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(bytes.get(start..).unwrap_or_default());
        let excess = self.bytes.len().saturating_sub(MAX_LAST_LINE);
        self.bytes.drain(..excess);
        self.ended = line_ends;
    }
}
