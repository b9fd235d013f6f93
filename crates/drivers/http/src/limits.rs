//! Every bound of the HTTP driver.

use std::time::Duration;

/// Bytes of an answer's body that are kept for assertions and outputs; the rest is not read.
pub const MAX_BODY: usize = 1024 * 1024;

/// Bytes of an answer's body that are shown in the log.
pub const MAX_SHOWN: usize = 10 * 1024;

/// Redirects followed.
pub const MAX_REDIRECTS: usize = 10;

/// Largest output, bytes (`behaviour.md` 12.1).
pub const MAX_OUTPUT: usize = 256 * 1024;

/// How long connecting may take; the step's timeout bounds the whole.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
