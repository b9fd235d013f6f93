//! Where the frames of logs rest: files in a folder, or a database that several servers share.

use std::io;

use manifold_model::ExecutionId;

use super::LogKey;
use super::frame::Header;

/// A home of logs. Its calls may wait for a disk or a network; whoever must not wait calls them on a thread of their own.
pub(crate) trait Shelf: Send + Sync + 'static {
    /// The frames of a log.
    fn frames(&self, key: &LogKey) -> io::Result<Box<dyn Frames>>;
    /// Drops a log.
    fn drop_log(&self, key: &LogKey) -> io::Result<()>;
    /// Drops all logs of an execution.
    fn drop_execution(&self, execution: &ExecutionId) -> io::Result<()>;
    /// Whether a log has frames, as far as that can be said at once; `true` when it cannot.
    fn may_have(&self, key: &LogKey) -> bool;
    /// Whether its calls may wait for a network, so that no task of the runtime may make them.
    fn waits(&self) -> bool;
    /// What errors name.
    fn name(&self, key: &LogKey) -> String;
}

/// The frames of one log, in order.
pub(crate) trait Frames: Send {
    /// Walks the headers of whole frames from a place on; returns the place after the last one visited. `visit` gets each header with the
    /// place of its body and says whether to go on.
    fn walk(&self, from: u64, visit: &mut Visit<'_>) -> io::Result<u64>;
    /// The records of a frame.
    fn body(&self, header: &Header, place: u64) -> io::Result<Vec<u8>>;
    /// Writes the next frame at the place after the last one; returns the place after it. [`io::ErrorKind::AlreadyExists`]: somebody else
    /// wrote there since.
    fn push(&mut self, header: &Header, frame: &[u8], at: u64) -> io::Result<u64>;
    /// Makes ready to write after this place: what a killed process left half written there is cut off.
    fn cut(&mut self, at: u64) -> io::Result<()>;
}

/// What [`Frames::walk`] calls for each frame: header, its place, the place of its body.
pub(crate) type Visit<'v> = dyn FnMut(&Header, u64, u64) -> io::Result<bool> + 'v;
