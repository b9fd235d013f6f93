//! Files to hosts: streamed, never whole in memory but when they are small; checked on the host, then renamed into place.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::stream::{self, BoxStream, StreamExt};
use manifold_driver::command::{Attempt, Program, collect, text};
use manifold_model::{Failure, FailureClass, TaskId, code};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

use crate::host::Host;

/// Bytes of one piece sent: as many as a packet holds, so that none is split.
pub const PIECE: usize = 32 * 1024;
/// How long the last word on a file may take.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// A file to write.
pub struct Put<'a> {
    /// The attempt that writes it.
    pub attempt: &'a Attempt,
    /// Directory on the host; `~`, `$NAME` and `${NAME}` are expanded there.
    pub directory: &'a str,
    /// Environment for that.
    pub environment: &'a [(String, Zeroizing<String>)],
    /// Units that come after this file: when one of them has begun, the attempt was taken up again and the file is left as it is.
    pub later: &'a [String],
    /// Path below the directory.
    pub path: &'a str,
    /// Its content.
    pub content: BoxStream<'a, Result<Bytes, Failure>>,
    /// How many bytes it must have.
    pub size: Option<u64>,
    /// What its SHA-256 must be, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// What its MD5 must be, lower-case hexadecimal.
    pub md5: Option<String>,
}

/// A file on a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Where.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was sent, lower-case hexadecimal.
    pub sha256: String,
}

struct Sent {
    digest: Digest,
    bytes: u64,
}

/// Writes a file. Interrupted anywhere it can be done again; the file at its place is the old one or the new one, never half of one.
/// `None`: it was written before, and units after it have begun.
pub async fn put(host: &Host, file: Put<'_>) -> Result<Option<Stored>, Failure> {
    if !is_below(file.path) {
        let message = format!("{:?} is not a path below a directory", file.path);
        return Err(Failure::new(FailureClass::Application, code!("COPY_FAILED"), message));
    }
    let program = program(&file);
    let sent = Arc::new(Mutex::new(Sent { digest: Digest::new(&SHA256), bytes: 0 }));
    let counted = {
        let sent = Arc::clone(&sent);
        file.content.map(move |piece| {
            let piece = piece?;
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.digest.update(&piece);
            sent.bytes += piece.len() as u64;
            Ok(piece)
        })
    };
    let answer = host.feed(&program, counted.flat_map(|piece| stream::iter(pieces(piece))).boxed()).await?;
    let (bytes, sha256) = {
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        (sent.bytes, HEXLOWER.encode(sent.digest.clone().finish().as_ref()))
    };
    let place = manifold_driver::command::Shell::place(host);
    let path = match read_answer(&answer, &program.nonce) {
        Answer::Stored(path) => path,
        Answer::Passed => return Ok(None),
        Answer::Kept { sha256: got, size, path } => {
            // What the host cannot compute it need not match; its size is known in any case.
            let good = if got == "-" { size == bytes.to_string() } else { got == sha256 };
            finish(host, &program.nonce, &path, &file.attempt.folder, good).await?;
            if !good {
                let message =
                    format!("{path} on {place} is not what was sent: SHA-256 {got} instead of {sha256}");
                return Err(Failure::new(FailureClass::Connectivity, code!("COPY_FAILED"), message));
            }
            path
        }
        Answer::Trouble(why) => {
            let message = format!("cannot copy {} to {} on {place}: {why}", file.path, file.directory);
            return Err(Failure::new(FailureClass::Application, code!("COPY_FAILED"), message));
        }
    };
    Ok(Some(Stored { path, size: bytes, sha256 }))
}

/// Cut so that no piece is larger than a packet.
fn pieces(piece: Result<Bytes, Failure>) -> Vec<Result<Bytes, Failure>> {
    match piece {
        Err(failure) => vec![Err(failure)],
        Ok(mut bytes) => {
            let mut all = Vec::with_capacity(bytes.len() / PIECE + 1);
            while bytes.len() > PIECE {
                all.push(Ok(bytes.split_to(PIECE)));
            }
            if !bytes.is_empty() {
                all.push(Ok(bytes));
            }
            all
        }
    }
}

fn program(file: &Put<'_>) -> Program {
    let nonce = TaskId::random().to_string();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let settings = &file.attempt.settings;
    let mut arguments = vec![
        nonce.clone(),
        file.path.trim_start_matches('/').to_owned(),
        file.attempt.folder.clone(),
        or_none(file.sha256.clone()),
        or_none(file.md5.clone()),
        or_none(file.size.map(|size| size.to_string())),
        settings.root.clone(),
        file.attempt.folder.clone(),
    ];
    arguments.extend_from_slice(file.later);
    let mut program = Program::new(without_comments(include_str!("put.sh")), arguments);
    program.nonce = nonce;
    // Quoted once more: it is expanded when the variables that an earlier unit has set are there as well.
    let directory = text::quote(&text::expand(file.directory));
    let exports = text::exports(file.environment);
    program.stdin = Zeroizing::new(format!("{}manifold_dir={directory}\n", exports.as_str()).into_bytes());
    program
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Whether a path stays below the directory it is put in.
fn is_below(path: &str) -> bool {
    let path = path.trim_start_matches('/');
    !path.is_empty()
        && !path.ends_with('/')
        && !path.contains(['\0', '\n'])
        && path.split('/').all(|part| part != ".." && part != ".")
}

async fn finish(host: &Host, nonce: &str, path: &str, mark: &str, good: bool) -> Result<(), Failure> {
    let word = if good { "yes" } else { "no" };
    let arguments = [nonce, path, mark, word].map(str::to_owned).to_vec();
    let program = Program::new(without_comments(include_str!("finish.sh")), arguments);
    let answer = collect(host, &program, FINISH_LIMIT).await?;
    match read_answer(&answer, nonce) {
        Answer::Stored(_) | Answer::Passed | Answer::Kept { .. } => Ok(()),
        Answer::Trouble(why) => {
            let message = format!("cannot put {path} in its place: {why}");
            Err(Failure::new(FailureClass::Application, code!("COPY_FAILED"), message))
        }
    }
}

enum Answer {
    Stored(String),
    Passed,
    Kept { sha256: String, size: String, path: String },
    Trouble(String),
}

fn read_answer(answer: &str, nonce: &str) -> Answer {
    let line = answer.lines().find_map(|line| line.strip_prefix(nonce)).unwrap_or_default();
    let mut words = line.trim_start().splitn(2, ' ');
    match (words.next(), words.next()) {
        (Some("stored"), Some(path)) => Answer::Stored(path.to_owned()),
        (Some("passed"), Some(_)) => Answer::Passed,
        (Some("kept"), Some(rest)) => {
            let mut words = rest.splitn(3, ' ').map(str::to_owned);
            match (words.next(), words.next(), words.next()) {
                (Some(sha256), Some(size), Some(path)) => Answer::Kept { sha256, size, path },
                _ => Answer::Trouble("the host's answer cannot be read".to_owned()),
            }
        }
        (Some("trouble"), Some(why)) => Answer::Trouble(why.to_owned()),
        _ => Answer::Trouble(format!(
            "the host said {:?}",
            answer.trim().chars().take(200).collect::<String>()
        )),
    }
}

/// SHA-256 of bytes, lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}
