//! What the two ends say, as typed values. Their form on the wire is in `wire.rs`.

use std::fmt;

use bytes::Bytes;
use manifold_model::kind::KindSpec;
use manifold_model::secret::SshMethod;
use manifold_model::task::{FileSource, Outcome, Task};
use manifold_model::{DelegateId, Failure, LogId, TaskId};
use zeroize::Zeroizing;

/// A lease of a delegate connection: who holds it and the number that every later write must name (`design.md` 4.5).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lease {
    /// Holder.
    pub holder: String,
    /// Fence.
    pub fence: u64,
}

/// A secret in memory: wiped when dropped, prints as asterisks.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sensitive(pub Zeroizing<Vec<u8>>);

impl Sensitive {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

/// Delegate to server.
#[derive(Clone, PartialEq, Debug)]
pub enum FromDelegate {
    /// First frame: who dials and what it offers.
    Hello(Hello),
    /// Places that became free otherwise than by an acknowledgement (see [`Hello::free`]).
    Credit {
        /// How many.
        tasks: u32,
    },
    /// A task has begun.
    Started {
        /// Task.
        task: TaskId,
        /// Fence under which it was handed out.
        fence: u64,
    },
    /// A task has ended. Sent again on every new connection until [`FromServer::OutcomeAck`] names it with the same lease.
    Outcome(TaskOutcome),
    /// Output of a task.
    Log(LogChunk),
    /// Something only the server can give; answered by [`FromServer::Answer`] with the same id.
    Request(Request),
    /// Sign of life.
    Heartbeat {
        /// Tasks running.
        running: u32,
    },
    /// Answer to [`FromServer::Ping`].
    Pong {
        /// Its nonce.
        nonce: u64,
    },
    /// The delegate goes away soon: no new tasks, please.
    Leaving,
}

/// Server to delegate.
#[derive(Clone, PartialEq, Debug)]
pub enum FromServer {
    /// Answer to [`FromDelegate::Hello`].
    Welcome(Welcome),
    /// The delegate is not wanted; the connection ends.
    Refused(Box<Failure>),
    /// Do this. Takes one of the delegate's places until its [`FromServer::OutcomeAck`].
    Task(Box<TaskFrame>),
    /// The task is no longer wanted: stop it. Its outcome still comes.
    Cancel {
        /// Task.
        task: TaskId,
    },
    /// An outcome was taken.
    OutcomeAck(OutcomeAck),
    /// The oldest `bytes` bytes of log chunks not yet credited are kept; whole chunks, in the order received.
    LogCredit {
        /// How many bytes.
        bytes: u64,
    },
    /// Answer to a [`FromDelegate::Request`].
    Answer {
        /// The request's id.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// Are you there?
    Ping {
        /// Comes back in the pong.
        nonce: u64,
    },
    /// The server goes away soon: finish what runs, then dial again.
    Drain,
}

/// Who dials and what it offers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Hello {
    /// Protocol versions that the delegate speaks.
    pub versions: Vec<u32>,
    /// Version of the program, for people.
    pub program: String,
    /// Id.
    pub delegate: Option<DelegateId>,
    /// Name.
    pub name: String,
    /// Selectors, its name and host among them.
    pub selectors: Vec<String>,
    /// Kinds it plays.
    pub kinds: Vec<KindSpec>,
    /// Capabilities it has (`helm`).
    pub capabilities: Vec<String>,
    /// Places for tasks that are free now; tasks of earlier connections may occupy others. Each task handed out takes a place, each
    /// acknowledgement gives one back. When a task that has a place already is handed out again, [`FromDelegate::Credit`] gives back the
    /// second one.
    pub free: u32,
}

/// The server's answer to a hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Version both speak from here on.
    pub version: u32,
    /// Lease of this connection; tasks are handed out under it.
    pub lease: Lease,
}

/// A task handed out.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskFrame {
    /// The task.
    pub task: Task,
    /// How often it was handed out before; above 0: look before acting.
    pub deliveries: u32,
    /// Fence of the lease under which it is handed out (that of the welcome).
    pub fence: u64,
}

/// How a task ended.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskOutcome {
    /// Task.
    pub task: TaskId,
    /// The lease under which it was last handed out.
    pub lease: Lease,
    /// Outcome.
    pub outcome: Outcome,
}

/// An outcome was taken, or its lease is stale.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeAck {
    /// Task.
    pub task: TaskId,
    /// Fence of the outcome's lease, so that an old acknowledgement cannot drop a newer outcome.
    pub fence: u64,
    /// `true`: recorded, forget it. `false`: the lease is stale, so nothing was recorded; the delegate does not send it again under
    /// that lease, but keeps it for a while and answers with it when the task is handed to it again.
    pub recorded: bool,
}

/// Output of a task's unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogChunk {
    /// The task that wrote it; empty from peers of the first release.
    pub task: TaskId,
    /// Log.
    pub log: LogId,
    /// Fence under which this run of the task began: numbers of another run start again.
    pub run: u64,
    /// Number within the run, from 1 without gaps. After a reconnect chunks not credited come again: drop those with a number already kept.
    pub seq: u64,
    /// Unit (section).
    pub unit: String,
    /// Bytes, secrets masked; at most [`crate::limits::MAX_LOG_CHUNK`].
    pub bytes: Bytes,
}

/// A request of a delegate for a task.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// Id, chosen by the delegate, unique on it; when its task is handed out again an open request comes again with the same id.
    pub id: u64,
    /// The task that needs it; the server grants only what this task refers to.
    pub task: TaskId,
    /// What.
    pub ask: Ask,
}

/// What a delegate may ask for.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// The value of a secret by name: [`Answer::Secret`].
    Secret {
        /// Name.
        name: String,
    },
    /// An SSH credential by name, opened: [`Answer::Credential`].
    Credential {
        /// Name.
        name: String,
    },
    /// A part of a file from an offset: [`Answer::File`].
    File {
        /// Which file.
        source: FileSource,
        /// Offset, bytes.
        offset: u64,
    },
    /// Seal a secret output: [`Answer::Sealed`].
    Seal {
        /// Name of the output.
        name: String,
        /// Its value.
        value: Sensitive,
    },
}

/// An answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Value of a secret.
    Secret(Sensitive),
    /// An opened SSH credential.
    Credential(Box<Credential>),
    /// A part of a file.
    File {
        /// At most [`crate::limits::FILE_PART`] bytes from the offset asked for; empty only at the end.
        bytes: Bytes,
        /// Size of the whole file, bytes.
        total: u64,
    },
    /// Name under which the sealed value is found again.
    Sealed {
        /// Name of the secret record.
        name: String,
    },
    /// No.
    Refused(Box<Failure>),
}

/// An SSH credential with its secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// User on the host.
    pub user_name: String,
    /// Port.
    pub port: u16,
    /// Method.
    pub method: SshMethod,
    /// Private key or password; `None` for a key file on the delegate.
    pub secret: Option<Sensitive>,
    /// Passphrase of the key.
    pub passphrase: Option<Sensitive>,
}

impl FromDelegate {
    /// Name of the sort of message, for errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Credit { .. } => "credit",
            Self::Started { .. } => "started",
            Self::Outcome(_) => "outcome",
            Self::Log(_) => "log chunk",
            Self::Request(_) => "request",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Pong { .. } => "pong",
            Self::Leaving => "leaving",
        }
    }
}

impl FromServer {
    /// Name of the sort of message, for errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Refused(_) => "refusal",
            Self::Task(_) => "task",
            Self::Cancel { .. } => "cancel",
            Self::OutcomeAck(_) => "acknowledgement",
            Self::LogCredit { .. } => "log credit",
            Self::Answer { .. } => "answer",
            Self::Ping { .. } => "ping",
            Self::Drain => "drain",
        }
    }
}
