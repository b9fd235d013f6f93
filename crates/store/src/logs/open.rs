//! The state of one log: what its frames hold, and what waits to be written.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frame::{self, Header};
use super::shelf::{Frames, Shelf};
use super::{
    FRAME, LAST_LINE_LIMIT, LINE_LIMIT, LINES_LIMIT, LOG_LIMIT, Line, LogError, LogKey, LogSize, Result,
};

/// Places in the file that are remembered; when there are more, every other one is forgotten.
const PLACES: usize = 512;

/// Unwritten records of one log beyond which lines are dropped; only a disk that takes nothing lets it come so far.
const UNWRITTEN_LIMIT: usize = 2 * 1024 * 1024;

static UNWRITTEN_BY_ALL: AtomicUsize = AtomicUsize::new(0);

/// Bytes that wait to be written, of all logs of the process.
pub(super) fn unwritten_by_all() -> usize {
    UNWRITTEN_BY_ALL.load(Ordering::Relaxed)
}

/// One log.
pub(super) struct OpenLog {
    /// For errors.
    name: String,
    frames: Box<dyn Frames>,
    /// Where the last whole frame ends.
    end: u64,
    /// What the frames hold.
    written: LogSize,
    /// What the frames and `raw` hold.
    size: LogSize,
    /// Run and number of the last chunk taken in: what does not come after it was taken in before.
    last_chunk: (u64, u64),
    /// The same as of the last frame.
    written_chunk: (u64, u64),
    /// Records not yet written.
    raw: Vec<u8>,
    /// A line without its end, and where it comes from.
    begun: Option<Begun>,
    /// The last line dropped.
    last: Option<Begun>,
    /// Some frames: (lines before it, text bytes before it, place).
    places: Vec<(u64, u64, u64)>,
    pushed: u64,
    stride: u64,
}

struct Begun {
    at: i64,
    unit: String,
    bytes: Vec<u8>,
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        UNWRITTEN_BY_ALL.fetch_sub(self.raw.len(), Ordering::Relaxed);
    }
}

impl OpenLog {
    /// Looks at a log for reading; one without frames is empty.
    pub(super) fn look(shelf: &dyn Shelf, key: &LogKey) -> Result<Self> {
        let name = shelf.name(key);
        let failed = |cause| LogError::Unusable { name: name.clone(), cause };
        let mut log = Self {
            frames: shelf.frames(key).map_err(failed)?,
            name: name.clone(),
            end: 0,
            written: LogSize::default(),
            size: LogSize::default(),
            last_chunk: (0, 0),
            written_chunk: (0, 0),
            raw: Vec::new(),
            begun: None,
            last: None,
            places: Vec::new(),
            pushed: 0,
            stride: 1,
        };
        log.scan().map_err(failed)?;
        Ok(log)
    }

    /// Goes on with a log: a frame that a killed process left half written is cut off.
    pub(super) fn resume(shelf: &dyn Shelf, key: &LogKey) -> Result<Self> {
        let mut log = Self::look(shelf, key)?;
        log.frames.cut(log.end).map_err(|cause| log.failed(cause))?;
        log.size.closed = false;
        Ok(log)
    }

    fn scan(&mut self) -> io::Result<()> {
        let mut headers = Vec::new();
        self.end = self.frames.walk(0, &mut |header, at, body| {
            headers.push((*header, at, body));
            Ok(true)
        })?;
        let last = headers.last().copied();
        for (header, at, _) in headers {
            self.remember(&header, at);
        }
        if let Some((header, _, body)) = last {
            self.written = header.size;
            self.written_chunk = header.last;
            if header.begun {
                let line = frame::begun_line(&self.frames.body(&header, body)?, header.lines());
                self.begun =
                    line.map(|line| Begun { at: line.at, unit: line.unit, bytes: line.text.into_bytes() });
            }
        }
        self.size = self.written;
        self.last_chunk = self.written_chunk;
        Ok(())
    }

    fn remember(&mut self, header: &Header, at: u64) {
        if self.pushed.is_multiple_of(self.stride) {
            self.places.push((header.lines_before, header.bytes_before, at));
        }
        self.pushed += 1;
        if self.places.len() > PLACES {
            let mut odd = false;
            self.places.retain(|_| {
                odd = !odd;
                odd
            });
            self.stride *= 2;
        }
    }

    fn failed(&self, cause: io::Error) -> LogError {
        LogError::Unusable { name: self.name.clone(), cause }
    }

    pub(super) fn lines(&self) -> u64 {
        self.size.lines
    }

    pub(super) fn size(&self) -> LogSize {
        self.size
    }

    /// Whether nothing was ever taken in.
    pub(super) fn is_new(&self) -> bool {
        self.size == LogSize::default() && self.begun.is_none() && self.last_chunk == (0, 0)
    }

    /// Run and number of the last chunk taken in.
    pub(super) fn last_chunk(&self) -> (u64, u64) {
        self.last_chunk
    }

    /// Takes note of the chunk that is taken in next.
    pub(super) fn number(&mut self, chunk: (u64, u64)) {
        self.last_chunk = chunk;
    }

    pub(super) fn unwritten(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is something that the frames do not hold.
    pub(super) fn must_stay(&self) -> bool {
        !self.is_written() || self.last.is_some()
    }

    // ---------------------------------------------------------------- appending

    pub(super) fn append(&mut self, unit: &str, at: i64, mut bytes: &[u8]) {
        if self.begun.as_ref().is_some_and(|begun| begun.unit != unit) {
            self.end_line();
        }
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.extend_line(unit, at, line);
            if end.is_some() {
                self.end_line();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn extend_line(&mut self, unit: &str, at: i64, mut bytes: &[u8]) {
        loop {
            let begun =
                self.begun.get_or_insert_with(|| Begun { at, unit: unit.to_owned(), bytes: Vec::new() });
            let room = LINE_LIMIT.saturating_sub(begun.bytes.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            begun.bytes.extend_from_slice(now);
            bytes = later;
            if bytes.is_empty() {
                return;
            }
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let Some(mut line) = self.begun.take() else { return };
        if line.bytes.last() == Some(&b'\r') {
            line.bytes.pop();
        }
        let cost = line.bytes.len() as u64 + 1;
        let full = self.size.bytes + cost > LOG_LIMIT
            || self.size.lines >= LINES_LIMIT
            || self.raw.len() > UNWRITTEN_LIMIT;
        if full || self.size.dropped_lines > 0 {
            self.size.dropped_lines += 1;
            self.size.dropped_bytes += cost;
            self.last = Some(line);
        } else {
            self.keep(line.at, &line.unit, &String::from_utf8_lossy(&line.bytes));
        }
    }

    fn keep(&mut self, at: i64, unit: &str, text: &str) {
        let before = self.raw.len();
        frame::push_line(&mut self.raw, at, unit, text);
        UNWRITTEN_BY_ALL.fetch_add(self.raw.len() - before, Ordering::Relaxed);
        self.size.lines += 1;
        self.size.bytes += text.len() as u64 + 1;
    }

    /// Ends the log and writes all of it.
    pub(super) fn close(&mut self) -> Result<()> {
        self.end_line();
        if let Some(last) = self.last.take() {
            let (lines, bytes) = (self.size.dropped_lines - 1, self.size.dropped_bytes);
            let told = format!(
                "… {lines} lines were left out ({bytes} bytes): the log has reached its limit of {LOG_LIMIT} bytes; the last line follows"
            );
            self.keep(last.at, &last.unit, &told);
            let text = String::from_utf8_lossy(&last.bytes);
            let from = text.ceil_char_boundary(text.len().saturating_sub(LAST_LINE_LIMIT));
            self.keep(last.at, &last.unit, text.get(from..).unwrap_or_default());
        }
        self.size.closed = true;
        self.write()
    }

    /// Ends a log that never had a line, without writing that anywhere.
    pub(super) fn end_silently(&mut self) {
        self.size.closed = true;
    }

    // ---------------------------------------------------------------- writing

    /// Writes what waits as a frame. On failure it waits on, and the frames are as they were to every reader.
    pub(super) fn write(&mut self) -> Result<()> {
        if self.is_written() {
            return Ok(());
        }
        self.write_frame().map_err(|cause| self.failed(cause))
    }

    fn is_written(&self) -> bool {
        self.raw.is_empty() && self.size == self.written && self.last_chunk == self.written_chunk
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let whole = self.raw.len();
        if let Some(begun) = &self.begun {
            frame::push_line(&mut self.raw, begun.at, &begun.unit, &String::from_utf8_lossy(&begun.bytes));
        }
        let encoded =
            frame::encode(&self.raw, self.written, self.size, self.last_chunk, self.begun.is_some());
        self.raw.truncate(whole);
        let (header, frame) = encoded?;
        let end = self.frames.push(&header, &frame, self.end)?;
        self.remember(&header, self.end);
        self.end = end;
        self.written = self.size;
        self.written_chunk = self.last_chunk;
        UNWRITTEN_BY_ALL.fetch_sub(self.raw.len(), Ordering::Relaxed);
        self.raw.clear();
        self.raw.shrink_to(FRAME);
        Ok(())
    }

    // ---------------------------------------------------------------- reading

    pub(super) fn lines_from(&self, from: u64, limit: u32) -> Result<Vec<Line>> {
        let limit = limit as usize;
        let mut lines = Vec::new();
        if limit == 0 {
            return Ok(lines);
        }
        let start = self.places.iter().rev().find(|(before, _, _)| *before < from).map_or(0, |place| place.2);
        self.each_frame(
            start,
            |header| header.size.lines >= from,
            |line| {
                if line.n >= from {
                    lines.push(line);
                }
                lines.len() < limit
            },
        )?;
        Ok(lines)
    }

    pub(super) fn bytes_from(&self, from: u64, limit: usize) -> Result<Vec<u8>> {
        let mut bytes: Vec<u8> = Vec::new();
        if limit == 0 {
            return Ok(bytes);
        }
        let place = self.places.iter().rev().find(|(_, before, _)| *before <= from);
        let start = place.map_or(0, |place| place.2);
        let mut at = None;
        self.each_frame_at(
            start,
            |header| header.size.bytes > from,
            |bytes_before, line| {
                let line_at = at.unwrap_or(bytes_before);
                at = Some(line_at + line.text.len() as u64 + 1);
                let skip = usize::try_from(from.saturating_sub(line_at)).unwrap_or(usize::MAX);
                let text = line.text.as_bytes().iter().chain(b"\n").skip(skip);
                bytes.extend(text.take(limit - bytes.len()));
                bytes.len() < limit
            },
        )?;
        Ok(bytes)
    }

    fn each_frame(
        &self,
        start: u64,
        wanted: impl Fn(&Header) -> bool,
        mut visit: impl FnMut(Line) -> bool,
    ) -> Result<()> {
        self.each_frame_at(start, wanted, |_, line| visit(line))
    }

    /// Goes through the lines of the wanted frames, and then through what waits to be written; `visit` gets the text bytes before
    /// the frame too.
    fn each_frame_at(
        &self,
        start: u64,
        wanted: impl Fn(&Header) -> bool,
        mut visit: impl FnMut(u64, Line) -> bool,
    ) -> Result<()> {
        let mut on = true;
        let visited = self.frames.walk(start, &mut |header, _, body| {
            if wanted(header) {
                let raw = self.frames.body(header, body)?;
                frame::each_line(&raw, header.lines_before, header.lines(), |line| {
                    on = visit(header.bytes_before, line);
                    on
                })?;
            }
            Ok(on)
        });
        visited.map_err(|cause| self.failed(cause))?;
        if on {
            let lines = self.size.lines - self.written.lines;
            frame::each_line(&self.raw, self.written.lines, lines, |line| visit(self.written.bytes, line))
                .map_err(|cause| self.failed(cause))?;
        }
        Ok(())
    }
}
