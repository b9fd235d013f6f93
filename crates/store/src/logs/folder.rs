//! Logs in a folder: one file each, frame after frame.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use manifold_model::ExecutionId;

use super::LogKey;
use super::frame::{self, Header};
use super::shelf::{Frames, Shelf, Visit};

/// Longest name that is used as it is.
const NAME_LIMIT: usize = 64;

/// The folder (`DIR/logs`).
pub(super) struct Folder(pub(super) PathBuf);

impl Shelf for Folder {
    fn frames(&self, key: &LogKey) -> io::Result<Box<dyn Frames>> {
        let path = path_of(&self.0, key);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Box::new(LogFile { path, file, writable: false }))
    }

    fn drop_log(&self, key: &LogKey) -> io::Result<()> {
        absent_is_fine(std::fs::remove_file(path_of(&self.0, key)))
    }

    fn drop_execution(&self, execution: &ExecutionId) -> io::Result<()> {
        absent_is_fine(std::fs::remove_dir_all(folder_of(&self.0, Some(execution))))
    }

    fn may_have(&self, key: &LogKey) -> bool {
        // A file that cannot be looked at is looked into by the ordinary way, which says why.
        path_of(&self.0, key).try_exists().unwrap_or(true)
    }

    fn waits(&self) -> bool {
        false
    }

    fn name(&self, key: &LogKey) -> String {
        path_of(&self.0, key).display().to_string()
    }
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `logs/<two characters>/<execution>`, or `logs/account` for logs of tasks without an execution.
fn folder_of(root: &Path, execution: Option<&ExecutionId>) -> PathBuf {
    match execution {
        None => root.join("account"),
        Some(execution) => {
            let name = file_name(execution.as_str());
            let shard: String = name.chars().take(2).collect();
            root.join(shard).join(name)
        }
    }
}

fn path_of(root: &Path, key: &LogKey) -> PathBuf {
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

/// One log's file. A place is an offset.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    writable: bool,
}

impl LogFile {
    /// Opens the file for writing; makes it, its folder too, for its owner alone.
    fn for_writing(&mut self) -> io::Result<&File> {
        if !self.writable || self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&self.path)?;
            self.file = Some(file);
            self.writable = true;
        }
        self.file.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Frames for LogFile {
    fn walk(&self, from: u64, visit: &mut Visit<'_>) -> io::Result<u64> {
        let Some(file) = &self.file else { return Ok(from) };
        let length = file.metadata()?.len();
        let mut at = from;
        let mut bytes = [0; frame::HEADER];
        while at + frame::HEADER_1 as u64 <= length {
            let there = usize::try_from(length - at).map_or(frame::HEADER, |there| there.min(frame::HEADER));
            let Some(read) = bytes.get_mut(..there) else { break };
            file.read_exact_at(read, at)?;
            let Some((header, size)) = frame::decode_header(read) else { break };
            let body = at + size as u64;
            let end = body + u64::from(header.body);
            if end > length || !visit(&header, at, body)? {
                break;
            }
            at = end;
        }
        Ok(at)
    }

    fn body(&self, header: &Header, place: u64) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else { return Err(ErrorKind::NotFound.into()) };
        let mut body = vec![0; header.body as usize];
        file.read_exact_at(&mut body, place)?;
        frame::decode_body(&body)
    }

    fn push(&mut self, _header: &Header, frame: &[u8], at: u64) -> io::Result<u64> {
        self.for_writing()?.write_all_at(frame, at)?;
        Ok(at + frame.len() as u64)
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        if self.file.is_some() {
            self.for_writing()?.set_len(at)?;
        }
        Ok(())
    }
}
