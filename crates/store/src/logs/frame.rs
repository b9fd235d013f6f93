//! One frame of a log file: a header of fixed size, then lines, compressed. A frame that is not whole was being written when the process
//! died.

use std::io::{self, ErrorKind};

use super::{Line, LogSize};

/// Frames written now: they say which chunk of the task's output was the last.
const MAGIC: &[u8; 4] = b"MLF2";
/// Frames of the first release.
const MAGIC_1: &[u8; 4] = b"MLF1";
/// Bytes of a header.
pub(super) const HEADER: usize = 72;
/// Bytes of a header of the first release.
pub(super) const HEADER_1: usize = 56;
/// Bytes that the lines of one frame may have uncompressed; a frame that claims more is damaged.
const RAW_LIMIT: usize = 4 * 1024 * 1024;
const CLOSED: u32 = 1;
/// The last record is a line that has not ended yet: it counts as none, and comes again, whole, in a later frame.
const BEGUN: u32 = 2;
/// Logs are written once and rarely read: the quickest level that still shrinks text to a tenth.
const LEVEL: i32 = 1;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Compressed bytes after the header.
    pub(super) body: u32,
    /// Lines before this frame.
    pub(super) lines_before: u64,
    /// Text bytes before this frame.
    pub(super) bytes_before: u64,
    /// The log's size with this frame.
    pub(super) size: LogSize,
    /// Run and number of the last chunk taken in before this frame was written; zeros when none was numbered.
    pub(super) last: (u64, u64),
    /// Whether the last record is a line without its end.
    pub(super) begun: bool,
}

impl Header {
    /// Lines that end in this frame.
    pub(super) fn lines(&self) -> u64 {
        self.size.lines - self.lines_before
    }
}

/// Encodes a frame; returns its header too.
pub(super) fn encode(
    raw: &[u8],
    before: LogSize,
    size: LogSize,
    last: (u64, u64),
    begun: bool,
) -> io::Result<(Header, Vec<u8>)> {
    let lines = u32::try_from(size.lines - before.lines).map_err(|_| damaged("too many lines wait"))?;
    let body = if raw.is_empty() {
        Vec::new()
    } else {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.compress(raw)?
    };
    let length = u32::try_from(body.len()).map_err(|_| damaged("a frame is too long"))?;
    let flags = if size.closed { CLOSED } else { 0 } | if begun { BEGUN } else { 0 };
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&flags.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&lines.to_le_bytes());
    let numbers = [
        before.lines,
        before.bytes,
        size.bytes - before.bytes,
        size.dropped_lines,
        size.dropped_bytes,
        last.0,
        last.1,
    ];
    for number in numbers {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&body);
    let header =
        Header { body: length, lines_before: before.lines, bytes_before: before.bytes, size, last, begun };
    Ok((header, frame))
}

/// Reads a header and says how long it is; `None` when these bytes are none, or not all of one.
pub(super) fn decode_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let (mut rest, length) = match bytes.strip_prefix(MAGIC) {
        Some(rest) => (rest, HEADER),
        None => (bytes.strip_prefix(MAGIC_1)?, HEADER_1),
    };
    let flags = u32::from_le_bytes(take(&mut rest)?);
    let body = u32::from_le_bytes(take(&mut rest)?);
    let lines = u32::from_le_bytes(take(&mut rest)?);
    let mut number = || take(&mut rest).map(u64::from_le_bytes);
    let (lines_before, bytes_before, bytes) = (number()?, number()?, number()?);
    let size = LogSize {
        lines: lines_before.checked_add(u64::from(lines))?,
        bytes: bytes_before.checked_add(bytes)?,
        dropped_lines: number()?,
        dropped_bytes: number()?,
        closed: flags & CLOSED != 0,
    };
    let last = if length == HEADER { (number()?, number()?) } else { (0, 0) };
    let begun = flags & BEGUN != 0;
    Some((Header { body, lines_before, bytes_before, size, last, begun }, length))
}

/// Uncompresses a body into its records.
pub(super) fn decode_body(body: &[u8]) -> io::Result<Vec<u8>> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    zstd::bulk::decompress(body, RAW_LIMIT)
}

/// Adds a line to the records of a frame.
pub(super) fn push_line(raw: &mut Vec<u8>, at: i64, unit: &str, text: &str) {
    // A unit's name is shorter than 64 KiB by validation; a longer one is cut rather than believed.
    let unit = cut(unit, usize::from(u16::MAX));
    raw.extend_from_slice(&at.to_le_bytes());
    raw.extend_from_slice(&u16::try_from(unit.len()).unwrap_or_default().to_le_bytes());
    raw.extend_from_slice(unit.as_bytes());
    raw.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_le_bytes());
    raw.extend_from_slice(text.as_bytes());
}

/// The beginning of a text, at most this many bytes, at a character's end.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// Goes through this many lines of a frame, numbered on from `lines_before`.
pub(super) fn each_line(
    mut raw: &[u8],
    lines_before: u64,
    lines: u64,
    mut visit: impl FnMut(Line) -> bool,
) -> io::Result<()> {
    for n in (lines_before + 1..).take(usize::try_from(lines).unwrap_or(usize::MAX)) {
        let line = take_line(&mut raw, n).ok_or_else(|| damaged("a line is cut short"))?;
        if !visit(line) {
            break;
        }
    }
    Ok(())
}

/// The line without its end after this many whole ones.
pub(super) fn begun_line(mut raw: &[u8], lines: u64) -> Option<Line> {
    for n in 0..lines {
        take_line(&mut raw, n)?;
    }
    take_line(&mut raw, 0)
}

fn take_line(raw: &mut &[u8], n: u64) -> Option<Line> {
    let at = i64::from_le_bytes(take(raw)?);
    let unit = usize::from(u16::from_le_bytes(take(raw)?));
    let unit = take_text(raw, unit)?;
    let text = usize::try_from(u32::from_le_bytes(take(raw)?)).ok()?;
    Some(Line { n, at, unit, text: take_text(raw, text)? })
}

fn take<const N: usize>(raw: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = raw.split_first_chunk::<N>()?;
    *raw = rest;
    Some(*head)
}

fn take_text(raw: &mut &[u8], length: usize) -> Option<String> {
    let (head, rest) = raw.split_at_checked(length)?;
    *raw = rest;
    String::from_utf8(head.to_vec()).ok()
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
