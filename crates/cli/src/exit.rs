//! Exit codes (`design.md` 9).

/// The deployment failed.
pub const FAILED: u8 = 1;
/// Bad usage.
pub const USAGE: u8 = 2;
/// Refused: validation, permission, freeze.
pub const REFUSED: u8 = 3;
/// The server is unreachable.
pub const UNREACHABLE: u8 = 4;
/// A bug.
pub const BUG: u8 = 70;
/// Ctrl-C, as shells expect it.
pub const INTERRUPTED: u8 = 130;
