//! Log files: where they are, and walking their frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use manifold_model::ExecutionId;

use super::LogKey;
use super::frame::{self, HEADER, Header};

/// Bytes that one read of a byte range returns at most.
pub(super) const BYTES_LIMIT: usize = 1024 * 1024;
/// Longest name that is used as it is.
const NAME_LIMIT: usize = 64;

/// `logs/<two characters>/<execution>`, or `logs/account` for logs of tasks without an execution.
pub(super) fn folder_of(root: &Path, execution: Option<&ExecutionId>) -> PathBuf {
    match execution {
        None => root.join("account"),
        Some(execution) => {
            let name = file_name(execution.as_str());
            let shard: String = name.chars().take(2).collect();
            root.join(shard).join(name)
        }
    }
}

pub(super) fn path_of(root: &Path, key: &LogKey) -> PathBuf {
    folder_of(root, key.execution.as_ref()).join(format!("{}.log", file_name(key.log.as_str())))
}

/// An id as a file name. Ids that a seed brought may hold anything; those get a name derived from them.
fn file_name(id: &str) -> String {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if plain && (2..=NAME_LIMIT).contains(&id.len()) {
        return id.to_owned();
    }
    // The dot keeps derived names apart from plain ones.
    format!("{}.d", ExecutionId::derived(&["log file", id]))
}

/// Walks the headers of a file from a frame on; returns where the last whole frame ends. `visit` gets each header with the place of its
/// body and says whether to go on.
pub(super) fn walk(
    file: &File,
    mut at: u64,
    mut visit: impl FnMut(&Header, u64) -> io::Result<bool>,
) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut bytes = [0; HEADER];
    while at + HEADER as u64 <= length {
        file.read_exact_at(&mut bytes, at)?;
        let Some(header) = frame::decode_header(&bytes) else { break };
        let body = at + HEADER as u64;
        let end = body + u64::from(header.body);
        if end > length {
            break;
        }
        if !visit(&header, body)? {
            break;
        }
        at = end;
    }
    Ok(at)
}

/// The records of a frame.
pub(super) fn body(file: &File, header: &Header, at: u64) -> io::Result<Vec<u8>> {
    let mut body = vec![0; header.body as usize];
    file.read_exact_at(&mut body, at)?;
    frame::decode_body(&body)
}
