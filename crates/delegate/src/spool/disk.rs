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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use bytes::Bytes;
    use manifold_model::task::Outcome;

    use super::*;

    fn ended(task: &str, fence: u64) -> TaskOutcome {
        let lease = Lease { holder: "delegate/1".to_owned(), fence };
        TaskOutcome { task: task.into(), lease, outcome: Outcome::succeeded() }
    }

    fn chunk(task: &str, seq: u64) -> LogChunk {
        let bytes = Bytes::from_static(b"a line\n");
        LogChunk { task: task.into(), log: "log".into(), run: 1, seq, unit: "Execute".to_owned(), bytes }
    }

    fn ack(of: &TaskOutcome, recorded: bool) -> OutcomeAck {
        OutcomeAck { task: of.task.clone(), fence: of.lease.fence, recorded }
    }

    fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == ending));
        files
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life_until_it_is_recorded() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("spool");
        let outcome = ended("a/../b", 1);
        let spool = DiskSpool::open(&folder).unwrap();
        spool.persist(&outcome, &[chunk("a/../b", 3), chunk("a/../b", 4)]).unwrap();
        spool.keep(outcome.clone());
        drop(spool);
        let spool = DiskSpool::open(&folder).unwrap();
        assert_eq!(spool.unacknowledged(), std::slice::from_ref(&outcome));
        assert_eq!(spool.chunks(), [chunk("a/../b", 3), chunk("a/../b", 4)]);
        // Stale: kept for the case that its task comes again.
        assert!(spool.acknowledge(&ack(&outcome, false)));
        assert_eq!(files(&folder, WHOLE).len(), 1);
        let lease = Lease { holder: "delegate/1".to_owned(), fence: 2 };
        let again = spool.take_over(&outcome.task, &lease).unwrap();
        assert!(spool.acknowledge(&ack(&again, true)));
        assert!(files(&folder, WHOLE).is_empty());
        assert!(DiskSpool::open(&folder).unwrap().unacknowledged().is_empty());
    }

    #[test]
    fn torn_and_garbled_files_are_set_aside_and_the_others_are_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let spool = DiskSpool::open(folder).unwrap();
        spool.persist(&ended("whole", 1), &[chunk("whole", 1)]).unwrap();
        let good = std::fs::read(&files(folder, WHOLE)[0]).unwrap();
        for cut in [0, 1, MAGIC.len(), MAGIC.len() + DIGEST, good.len() - 1] {
            std::fs::write(folder.join(format!("cut{cut}.{WHOLE}")), &good[..cut]).unwrap();
        }
        for at in [0, MAGIC.len(), good.len() / 2, good.len() - 1] {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            std::fs::write(folder.join(format!("flipped{at}.{WHOLE}")), flipped).unwrap();
        }
        std::fs::write(folder.join(format!("half.{BEGUN}")), &good[..9]).unwrap();
        let spool = DiskSpool::open(folder).unwrap();
        assert_eq!(spool.unacknowledged(), [ended("whole", 1)]);
        assert_eq!(spool.chunks(), [chunk("whole", 1)]);
        assert_eq!((files(folder, WHOLE).len(), files(folder, DAMAGED).len()), (1, 9));
        assert!(files(folder, BEGUN).is_empty());
    }

    #[test]
    fn damaged_files_are_bounded() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..MAX_DAMAGED + 5 {
            std::fs::write(place.path().join(format!("bad{number}.{WHOLE}")), "bad").unwrap();
        }
        DiskSpool::open(place.path()).unwrap();
        assert_eq!(files(place.path(), DAMAGED).len(), MAX_DAMAGED);
    }
}
