//! The spool on disk: a file for each outcome, which holds the log chunks of its task that the server did not have, and the outcome. So neither
//! is lost when the delegate is killed after a command has ended while no server was there to hear of it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf, BytesMut};
use data_encoding::HEXLOWER;
use manifold_link::{FromDelegate, Lease, LinkError, LogChunk, Message, OutcomeAck, TaskOutcome};
use manifold_model::TaskId;

use super::{MemorySpool, Spool};
use crate::limits::{MAX_DAMAGED, MAX_SPOOL_FILE, MAX_SPOOLED};

/// First bytes of each file: what it is, and the version of its form.
const MAGIC: &[u8] = b"MFSPOOL1";
/// Bytes of the digest of the rest, behind the magic.
const DIGEST: usize = 32;
/// Ending of whole files.
const WHOLE: &str = "outcome";
/// Ending of files that are being written.
const BEGUN: &str = "begun";
/// Ending of files that were set aside.
const DAMAGED: &str = "damaged";

/// Keeps outcomes in a folder; what is there at its start is sent first.
pub struct DiskSpool {
    folder: PathBuf,
    memory: MemorySpool,
    left: Vec<LogChunk>,
}

impl DiskSpool {
    /// The spool in this folder, which is made if need be. A torn or garbled file is set aside, with a line in the log: its task is found again
    /// by its marker, or reported as unknown. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut spool = Self { folder: folder.to_owned(), memory: MemorySpool::default(), left: Vec::new() };
        let mut damaged = Vec::new();
        let mut whole = Vec::new();
        for (age, path) in by_age(folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(WHOLE) => whole.push((age, path)),
                Some(DAMAGED) => damaged.push(path),
                // Its delegate died while it was written: the task had not been reported.
                Some(BEGUN) => std::fs::remove_file(&path)?,
                _ => {}
            }
        }
        for (_, path) in whole.drain(..whole.len().saturating_sub(MAX_SPOOLED)) {
            tracing::warn!(file = %path.display(), "the spool holds too many outcomes; the oldest goes");
            std::fs::remove_file(&path)?;
        }
        for (_, path) in whole {
            match read(&path) {
                Ok((chunks, outcome)) => {
                    spool.left.extend(chunks);
                    spool.memory.keep(outcome);
                }
                Err(error) => {
                    let aside = path.with_extension(DAMAGED);
                    tracing::error!(
                        file = %aside.display(),
                        error = &error as &dyn std::error::Error,
                        "a file of the spool is damaged and set aside; its task is looked for when it comes again"
                    );
                    std::fs::rename(&path, &aside)?;
                    damaged.push(aside);
                }
            }
        }
        for path in damaged.iter().take(damaged.len().saturating_sub(MAX_DAMAGED)) {
            std::fs::remove_file(path)?;
        }
        Ok(spool)
    }

    fn path(&self, task: &TaskId) -> PathBuf {
        let name = HEXLOWER.encode(digest(&SHA256, task.as_str().as_bytes()).as_ref());
        self.folder.join(name).with_extension(WHOLE)
    }

    fn forget(&self, task: &TaskId) {
        let path = self.path(task);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(file = %path.display(), error, "a file of the spool cannot be removed");
            }
        }
    }
}

impl Spool for DiskSpool {
    fn persist(&self, ended: &TaskOutcome, chunks: &[LogChunk]) -> io::Result<()> {
        let mut body = BytesMut::new();
        for chunk in chunks {
            FromDelegate::Log(chunk.clone()).encode(&mut body).map_err(invalid)?;
        }
        match FromDelegate::Outcome(ended.clone()).encode(&mut body) {
            Ok(()) => {}
            // It is not sent either, but told as a failure; the marker of its command stays.
            Err(LinkError::TooLarge { .. }) => return Ok(()),
            Err(error) => return Err(invalid(error)),
        }
        let path = self.path(&ended.task);
        let begun = path.with_extension(BEGUN);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
        file.write_all(MAGIC)?;
        file.write_all(digest(&SHA256, &body).as_ref())?;
        file.write_all(&body)?;
        file.sync_all()?;
        std::fs::rename(&begun, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn chunks(&self) -> Vec<LogChunk> {
        self.left.clone()
    }

    fn keep(&self, outcome: TaskOutcome) {
        self.memory.keep(outcome);
    }

    fn acknowledge(&self, ack: &OutcomeAck) -> bool {
        let taken = self.memory.take_ack(ack);
        taken.forgotten.iter().for_each(|task| self.forget(task));
        taken.known
    }

    fn take_over(&self, task: &TaskId, lease: &Lease) -> Option<TaskOutcome> {
        self.memory.take_over(task, lease)
    }

    fn unacknowledged(&self) -> Vec<TaskOutcome> {
        self.memory.unacknowledged()
    }
}

/// Files of the folder, oldest first.
fn by_age(folder: &Path) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() {
            files.push((about.modified()?, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// What a file holds.
fn read(path: &Path) -> io::Result<(Vec<LogChunk>, TaskOutcome)> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SPOOL_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SPOOL_FILE {
        return Err(invalid("it is too large"));
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| invalid("it does not begin as a spool file does"))?;
    let (sum, body) = rest.split_at_checked(DIGEST).ok_or_else(|| invalid("it is cut off"))?;
    if digest(&SHA256, body).as_ref() != sum {
        return Err(invalid("its digest is not that of its content"));
    }
    let mut body = BytesMut::from(body);
    let mut chunks = Vec::new();
    while body.has_remaining() {
        let length = body.try_get_u32().map_err(invalid)? as usize;
        if length > body.len() {
            return Err(invalid("a frame is cut off"));
        }
        match FromDelegate::decode(body.split_to(length)).map_err(invalid)? {
            FromDelegate::Log(chunk) => chunks.push(chunk),
            FromDelegate::Outcome(outcome) if !body.has_remaining() => return Ok((chunks, outcome)),
            other => return Err(invalid(format!("it holds {} in a wrong place", other.name()))),
        }
    }
    Err(invalid("it holds no outcome"))
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
