//! Every bound of the delegate.

use std::time::Duration;

/// Tasks at once when the configuration names no number.
pub const MAX_TASKS: u32 = 512;

/// So many times the places may be taken before the server counts as faulty: while connections change, both ends may count the same place.
pub const OVERBOOKING: usize = 2;

/// Log bytes per task; the rest is dropped, the last line is always kept (`behaviour.md` 13.5).
pub const MAX_LOG: u64 = 25 * 1024 * 1024;

/// Of a last line beyond [`MAX_LOG`], this many bytes from its end are kept (`behaviour.md` 13.5).
pub const MAX_LAST_LINE: usize = 10 * 1024;

/// Units of one task whose output is held back for masking at the same time.
pub const MAX_OPEN_UNITS: usize = 64;

/// Shortest secret text that is masked, bytes (`behaviour.md` 20).
pub const MIN_MASKED: usize = 3;

/// Longest text that is masked as a whole, bytes; of a longer one this much from its start. Bounds what is held back.
pub const MAX_MASKED: usize = 64 * 1024;

/// Bytes of file documents kept for the tasks to come; those used the longest ago go first.
pub const MAX_KEPT_FILES: usize = 64 * 1024 * 1024;

/// Largest file document that is kept, bytes.
pub const MAX_KEPT_FILE: usize = 16 * 1024 * 1024;

/// How long a request to the server may take, a reconnect included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// How long a driver may look for a task that was handed out before.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// How long the end of a log may wait for the window before the outcome goes without it.
pub const LOG_FLUSH_DEADLINE: Duration = Duration::from_secs(10);

/// Outcomes kept although their lease was stale, for the case that their tasks come again.
pub const MAX_STALE_OUTCOMES: usize = 1024;

/// Outcomes in the spool on disk: those of every place twice over, and the stale ones. What is found beyond it at a start, oldest first, goes.
pub const MAX_SPOOLED: usize = 2 * MAX_TASKS as usize + MAX_STALE_OUTCOMES;

/// Largest file of the spool, bytes: an outcome and a full log window.
pub const MAX_SPOOL_FILE: u64 = 16 * 1024 * 1024;

/// Damaged files of the spool that are set aside; older ones go.
pub const MAX_DAMAGED: usize = 16;

/// Milliseconds between the clocks of delegate and server from which on it is said.
pub const CLOCKS_APART: u64 = 60_000;
