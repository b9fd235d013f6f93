//! Every bound of the link. Both ends hold them; a peer that does not is cut off.

use std::time::Duration;

/// Largest frame, bytes: far above any task or outcome, small enough that a broken length cannot exhaust memory.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// Largest frame before the welcome, bytes: a hello with every kind is a tenth of it, and whoever sends it is not known yet.
pub const MAX_GREETING: usize = 512 * 1024;

/// Largest WebSocket message in which pieces of the stream travel, bytes; frames may be cut anywhere.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Bytes of the server's nonce.
pub const NONCE: usize = 32;

/// Log bytes that a delegate may have sent without the server having kept them, over all its tasks.
pub const LOG_WINDOW: usize = 4 * 1024 * 1024;

/// Largest [`crate::LogChunk`], bytes: several tasks share the window without one starving the others.
pub const MAX_LOG_CHUNK: usize = 64 * 1024;

/// Requests that a delegate may have open at once.
pub const MAX_REQUESTS: usize = 256;

/// Largest part of a file in one answer, bytes.
pub const FILE_PART: usize = 1024 * 1024;

/// Largest file that travels over the link in parts, bytes.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// How long a frame may take to be written before the connection counts as stalled.
pub const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// How long hello and welcome may take.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How often each end says something when it has nothing to say: below the idle limit of every usual proxy.
pub const HEARTBEAT: Duration = Duration::from_secs(20);

/// Silence after which a connection counts as dead: three heartbeats.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Bytes gathered before they are handed to the stream even without a flush.
pub const WRITE_BATCH: usize = 64 * 1024;
