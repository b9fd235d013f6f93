//! The network: a byte stream between a delegate and a server with somebody in the middle who delays, cuts, drops, says things twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use manifold_link::{FromDelegate, FromServer, Message, limits};
use manifold_model::TaskId;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use crate::Sim;
use crate::gate::Gate;
use crate::trace::note;

/// Buffer of a stream in each direction, bytes.
const STREAM: usize = 256 * 1024;
/// Longest that a frame is on its way, milliseconds.
const WAY_MS: u64 = 40;
/// Frames of a hundred that are said twice while duplicates are on.
const DUPLICATED: u64 = 30;
/// Frames of a hundred after which a losing wire begins to lose everything.
const LOSING: u64 = 10;
/// How long a wire that loses everything lasts, milliseconds.
const LAST_MS: u64 = 2_000;

/// All wires of a run.
#[derive(Default)]
pub(crate) struct Network {
    /// By delegate and server: shut while they do not reach each other.
    ways: Mutex<BTreeMap<(usize, usize), Arc<Gate>>>,
    /// The wire of each delegate.
    wires: Mutex<BTreeMap<usize, (usize, CancellationToken)>>,
    pub(crate) duplicates: AtomicBool,
    pub(crate) losses: AtomicBool,
    /// Fences under which each task was commanded, to see that none is commanded twice under one.
    commanded: Mutex<BTreeMap<TaskId, Vec<u64>>>,
}

impl Network {
    /// The way between a delegate and a server.
    pub(crate) fn way(&self, delegate: usize, server: usize) -> Arc<Gate> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.entry((delegate, server)).or_insert_with(|| Arc::new(Gate::open())))
    }

    /// Cuts the wire of a delegate: both ends see its end.
    pub(crate) fn cut(&self, delegate: usize) {
        if let Some((_, wire)) = self.wires().get(&delegate) {
            wire.cancel();
        }
    }

    /// What cuts the wire between a delegate and a server.
    pub(crate) fn wire(&self, delegate: usize, server: usize) -> Option<CancellationToken> {
        self.wires().get(&delegate).filter(|(to, _)| *to == server).map(|(_, wire)| wire.clone())
    }

    fn wires(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, (usize, CancellationToken)>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commanded(&self, sim: &Sim, task: &TaskId, fence: u64) {
        let mut commanded = self.commanded.lock().unwrap_or_else(PoisonError::into_inner);
        let fences = commanded.entry(task.clone()).or_default();
        if fences.contains(&fence) {
            sim.trace.broken(
                "no attempt is commanded twice",
                format!("task {task} was sent twice under fence {fence}"),
            );
        }
        fences.push(fence);
    }
}

/// A wire: where it leads and when it ends.
struct Wire {
    sim: Arc<Sim>,
    name: String,
    /// The server's gate: what it says while it stands still is said later.
    server: Arc<Gate>,
    way: Arc<Gate>,
    cut: CancellationToken,
    lost: AtomicBool,
}

/// Lays a wire; the delegate's and the server's end. It lasts until an end is closed or it is cut.
pub(crate) fn lay(
    sim: &Arc<Sim>,
    (delegate, server): (usize, usize),
    gate: &Arc<Gate>,
) -> (DuplexStream, DuplexStream) {
    let (delegate_end, near) = tokio::io::duplex(STREAM);
    let (far, server_end) = tokio::io::duplex(STREAM);
    let cut = CancellationToken::new();
    sim.network.wires().insert(delegate, (server, cut.clone()));
    let wire = Arc::new(Wire {
        sim: Arc::clone(sim),
        name: format!("d{delegate}-s{server}"),
        server: Arc::clone(gate),
        way: sim.network.way(delegate, server),
        cut,
        lost: AtomicBool::new(false),
    });
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = wire.cut.cancelled() => note!(wire.sim, "{} is cut", wire.name),
            () = async {
                tokio::join!(
                    carry::<FromDelegate>(&wire, near_read, far_write),
                    carry::<FromServer>(&wire, far_read, near_write),
                );
            } => {}
        }
    });
    (delegate_end, server_end)
}

/// What the one in the middle knows of a sort of frame.
trait Frame: Message {
    /// Looks at a frame as it is sent; whether it may come twice.
    fn look(&self, wire: &Wire) -> bool;
}

impl Frame for FromDelegate {
    fn look(&self, wire: &Wire) -> bool {
        match self {
            Self::Outcome(ended) => {
                note!(wire.sim, "{} outcome of {} #{}", wire.name, ended.task, ended.lease.fence);
                true
            }
            _ => false,
        }
    }
}

impl Frame for FromServer {
    fn look(&self, wire: &Wire) -> bool {
        match self {
            Self::Task(frame) => {
                note!(
                    wire.sim,
                    "{} task {} #{} delivered {} times",
                    wire.name,
                    frame.task.id,
                    frame.fence,
                    frame.deliveries
                );
                wire.sim.network.commanded(&wire.sim, &frame.task.id, frame.fence);
                true
            }
            Self::OutcomeAck(ack) => {
                note!(wire.sim, "{} ack of {} #{} {}", wire.name, ack.task, ack.fence, ack.recorded);
                true
            }
            Self::Cancel { task } => {
                note!(wire.sim, "{} cancel {task}", wire.name);
                false
            }
            _ => false,
        }
    }
}

/// Carries frames one way, in order.
async fn carry<M: Frame>(wire: &Arc<Wire>, from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, BytesMut)>();
    let codec = LengthDelimitedCodec::builder().max_frame_length(limits::MAX_FRAME).new_codec();
    let mut frames = FramedRead::new(from, codec);
    let take = async {
        while let Some(Ok(body)) = frames.next().await {
            let may_double = M::decode(body.clone()).is_ok_and(|frame| frame.look(wire));
            if wire.loses() {
                continue;
            }
            let arrives = Instant::now() + Duration::from_millis(wire.sim.chance.within(0..WAY_MS));
            let network = &wire.sim.network;
            let twice = may_double
                && network.duplicates.load(Ordering::Relaxed)
                && wire.sim.chance.percent(DUPLICATED);
            if twice {
                wire.sim.trace.fault("frame said twice");
                let _gone = sender.send((arrives, body.clone()));
            }
            let _gone = sender.send((arrives, body));
        }
        drop(sender);
    };
    let give = async {
        while let Some((arrives, body)) = receiver.recv().await {
            tokio::time::sleep_until(arrives).await;
            wire.way.pass().await;
            wire.server.pass().await;
            let mut frame = BytesMut::with_capacity(body.len() + 4);
            frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
            frame.extend_from_slice(&body);
            if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
        // The other end has closed already when this fails.
        let _closed = to.shutdown().await;
    };
    tokio::join!(take, give);
}

impl Wire {
    /// Whether a frame is lost: once one is, all after it are, and the wire ends soon.
    fn loses(self: &Arc<Self>) -> bool {
        if self.lost.load(Ordering::Relaxed) {
            return true;
        }
        let begins = self.sim.network.losses.load(Ordering::Relaxed) && self.sim.chance.percent(LOSING);
        if begins {
            self.sim.trace.fault("wire lost frames");
            note!(self.sim, "{} loses everything from here on", self.name);
            self.lost.store(true, Ordering::Relaxed);
            let (cut, last) = (self.cut.clone(), self.sim.chance.within(0..LAST_MS));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(last)).await;
                cut.cancel();
            });
        }
        begins
    }
}
