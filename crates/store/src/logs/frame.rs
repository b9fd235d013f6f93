//! One frame of a log file: a header of fixed size, then lines, compressed. A frame that is not whole was being written when the process
//! died.

use std::io::{self, ErrorKind};

use super::{Line, LogSize};

const MAGIC: &[u8; 4] = b"MLF1";
/// Bytes of a header.
pub(super) const HEADER: usize = 56;
/// Bytes that the lines of one frame may have uncompressed; a frame that claims more is damaged.
const RAW_LIMIT: usize = 4 * 1024 * 1024;
const CLOSED: u32 = 1;
/// Logs are written once and rarely read: the quickest level that still shrinks text to a tenth.
const LEVEL: i32 = 1;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Compressed bytes after the header.
    pub(super) body: u32,
    /// Lines before this frame.
    pub(super) lines_before: u64,
    /// Text bytes before this frame.
    pub(super) bytes_before: u64,
    /// The log's size with this frame.
    pub(super) size: LogSize,
}

/// Encodes a frame.
pub(super) fn encode(raw: &[u8], lines: u32, before: LogSize, size: LogSize) -> io::Result<Vec<u8>> {
    let body = if raw.is_empty() {
        Vec::new()
    } else {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.compress(raw)?
    };
    let length = u32::try_from(body.len()).map_err(|_| damaged("a frame is too long"))?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&(if size.closed { CLOSED } else { 0 }).to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&lines.to_le_bytes());
    for number in
        [before.lines, before.bytes, size.bytes - before.bytes, size.dropped_lines, size.dropped_bytes]
    {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Reads a header; `None` when these bytes are none.
pub(super) fn decode_header(bytes: &[u8; HEADER]) -> Option<Header> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
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
    Some(Header { body, lines_before, bytes_before, size })
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

/// Goes through the lines of a frame, numbered on from `lines_before`.
pub(super) fn each_line(
    mut raw: &[u8],
    lines_before: u64,
    mut visit: impl FnMut(Line) -> bool,
) -> io::Result<()> {
    let mut n = lines_before;
    while !raw.is_empty() {
        n += 1;
        let line = take_line(&mut raw, n).ok_or_else(|| damaged("a line is cut short"))?;
        if !visit(line) {
            break;
        }
    }
    Ok(())
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
