//! The state of one log: what its file holds, and what waits to be written.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frame::{self, Header};
use super::{
    FRAME, LAST_LINE_LIMIT, LINE_LIMIT, LINES_LIMIT, LOG_LIMIT, Line, LogError, LogSize, Result, file,
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
    path: PathBuf,
    file: Option<File>,
    /// Where the last whole frame ends.
    end: u64,
    /// What the file holds.
    written: LogSize,
    /// What the file and `raw` hold.
    size: LogSize,
    /// Records not yet written.
    raw: Vec<u8>,
    /// A line without its end, and where it comes from.
    begun: Option<Begun>,
    /// The last line dropped.
    last: Option<Begun>,
    /// Some frames: (lines before it, text bytes before it, place).
    places: Vec<(u64, u64, u64)>,
    frames: u64,
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
    /// Looks at a log for reading; one without a file is empty.
    pub(super) fn look(path: PathBuf) -> Result<Self> {
        let mut log = Self {
            path,
            file: None,
            end: 0,
            written: LogSize::default(),
            size: LogSize::default(),
            raw: Vec::new(),
            begun: None,
            last: None,
            places: Vec::new(),
            frames: 0,
            stride: 1,
        };
        match File::open(&log.path) {
            Ok(file) => log.scan(file).map_err(|cause| log.failed(cause))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(log.failed(error)),
        }
        Ok(log)
    }

    /// Goes on with a log: a frame that a killed process left half written is cut off.
    pub(super) fn resume(path: PathBuf) -> Result<Self> {
        let mut log = Self::look(path)?;
        if log.file.is_some() {
            let file = writable(&log.path).map_err(|cause| log.failed(cause))?;
            file.set_len(log.end).map_err(|cause| log.failed(cause))?;
            log.file = Some(file);
        }
        log.size.closed = false;
        Ok(log)
    }

    fn scan(&mut self, file: File) -> io::Result<()> {
        let mut at = 0;
        let mut headers = Vec::new();
        self.end = file::walk(&file, 0, |header, body| {
            headers.push((*header, at));
            at = body + u64::from(header.body);
            Ok(true)
        })?;
        for (header, at) in headers {
            self.remember(&header, at);
            self.written = header.size;
        }
        self.size = self.written;
        self.file = Some(file);
        Ok(())
    }

    fn remember(&mut self, header: &Header, at: u64) {
        if self.frames.is_multiple_of(self.stride) {
            self.places.push((header.lines_before, header.bytes_before, at));
        }
        self.frames += 1;
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
        LogError::File { path: self.path.clone(), cause }
    }

    pub(super) fn lines(&self) -> u64 {
        self.size.lines
    }

    pub(super) fn size(&self) -> LogSize {
        self.size
    }

    pub(super) fn unwritten(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is something that the file does not hold.
    pub(super) fn must_stay(&self) -> bool {
        !self.raw.is_empty() || self.begun.is_some() || self.last.is_some() || self.size != self.written
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

    /// Writes what waits as frames. On failure it waits on, and the file is as it was to every reader.
    pub(super) fn write(&mut self) -> Result<()> {
        if self.raw.is_empty() && self.size == self.written {
            return Ok(());
        }
        self.write_frame().map_err(|cause| self.failed(cause))
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let lines = u32::try_from(self.size.lines - self.written.lines)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "too many lines wait"))?;
        let frame = frame::encode(&self.raw, lines, self.written, self.size)?;
        let file = match self.file.take() {
            Some(file) => file,
            None => writable(&self.path)?,
        };
        let outcome = file.write_all_at(&frame, self.end);
        self.file = Some(file);
        outcome?;
        let header = Header {
            body: u32::try_from(frame.len() - frame::HEADER).unwrap_or_default(),
            lines_before: self.written.lines,
            bytes_before: self.written.bytes,
            size: self.size,
        };
        self.remember(&header, self.end);
        self.end += frame.len() as u64;
        self.written = self.size;
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

    /// Goes through the lines of the wanted frames of the file, and then through what waits to be written; `visit` gets the text bytes before
    /// the frame too.
    fn each_frame_at(
        &self,
        start: u64,
        wanted: impl Fn(&Header) -> bool,
        mut visit: impl FnMut(u64, Line) -> bool,
    ) -> Result<()> {
        let mut on = true;
        if let Some(file) = &self.file {
            file::walk(file, start, |header, at| {
                if wanted(header) {
                    let raw = file::body(file, header, at)?;
                    frame::each_line(&raw, header.lines_before, |line| {
                        on = visit(header.bytes_before, line);
                        on
                    })?;
                }
                Ok(on)
            })
            .map_err(|cause| self.failed(cause))?;
        }
        if on {
            frame::each_line(&self.raw, self.written.lines, |line| visit(self.written.bytes, line))
                .map_err(|cause| self.failed(cause))?;
        }
        Ok(())
    }
}

/// Opens the file for writing; makes it, its folder too, for its owner alone.
fn writable(path: &std::path::Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
