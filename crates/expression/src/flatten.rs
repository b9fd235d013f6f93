//! Spans inside an expression. One that stands where a value may stand is an operand and stays for the parser; one that touches a
//! name, as in `artifact${".metadata.image"}`, is evaluated first and its text becomes part of the expression.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::ExpressionError;
use crate::limits::MAX_EXPRESSION;
use crate::scan::span_end;
use crate::token::{is_name_character, syntax};

/// Stands for spliced text that is not known yet; a private-use character, so it occurs in no name.
pub(crate) const UNKNOWN: char = '\u{E000}';

/// An expression without spans that touch names, and where its bytes came from.
pub(crate) struct Flat<'a> {
    pub(crate) text: Cow<'a, str>,
    chunks: Vec<Chunk>,
}

struct Chunk {
    flat: Range<usize>,
    source: Range<usize>,
    /// Whether the bytes are the source's own.
    verbatim: bool,
}

impl Flat<'_> {
    /// The bytes of the source for bytes of the flat text.
    pub(crate) fn source(&self, span: Range<usize>) -> Range<usize> {
        if self.chunks.is_empty() {
            return span;
        }
        let start = self.locate(span.start, false);
        start..self.locate(span.end, true).max(start)
    }

    fn locate(&self, at: usize, end: bool) -> usize {
        let chunk = self.chunks.iter().find(|chunk| at < chunk.flat.end || (end && at == chunk.flat.end));
        match chunk.or(self.chunks.last()) {
            Some(chunk) if chunk.verbatim => {
                (chunk.source.start + at.saturating_sub(chunk.flat.start)).min(chunk.source.end)
            }
            Some(chunk) if end => chunk.source.end,
            Some(chunk) => chunk.source.start,
            None => at,
        }
    }
}

/// Evaluates the inside of a span to the text that takes its place.
pub(crate) type Splice<'s> = dyn FnMut(&str) -> Result<String, ExpressionError> + 's;

/// Replaces the spans of `text` that touch names. Errors have spans of `text`.
pub(crate) fn flatten<'a>(text: &'a str, splice: &mut Splice<'_>) -> Result<Flat<'a>, ExpressionError> {
    if !text.contains("${") {
        return Ok(Flat { text: Cow::Borrowed(text), chunks: Vec::new() });
    }
    if text.len() > MAX_EXPRESSION {
        let message = format!("the expression is longer than {MAX_EXPRESSION} bytes");
        return Err(syntax(0..text.len(), message));
    }
    let mut builder = Builder { text, out: String::with_capacity(text.len()), chunks: Vec::new(), splice };
    builder.walk(0..text.len())?;
    Ok(Flat { text: Cow::Owned(builder.out), chunks: builder.chunks })
}

struct Builder<'a, 's, 'f> {
    text: &'a str,
    out: String,
    chunks: Vec<Chunk>,
    splice: &'f mut Splice<'s>,
}

impl Builder<'_, '_, '_> {
    /// Copies a range, replacing as it goes. Recursion is as deep as spans nest, which the scanner bounds.
    fn walk(&mut self, range: Range<usize>) -> Result<(), ExpressionError> {
        let bytes = self.text.as_bytes();
        let mut quote = None;
        let mut plain = range.start;
        let mut at = range.start;
        while at < range.end {
            let Some(byte) = bytes.get(at) else { break };
            match (*byte, quote) {
                (b'\\', Some(_)) => at += 2,
                (b'$', _) if bytes.get(at + 1) == Some(&b'{') => {
                    let Some(end) = span_end(bytes, at + 2, 0).filter(|end| *end < range.end) else {
                        at += 2;
                        continue;
                    };
                    self.copy(plain..at);
                    self.span(at + 2..end, quote.is_some())?;
                    at = end + 1;
                    plain = at;
                }
                (b'\'' | b'"', None) => {
                    quote = Some(*byte);
                    at += 1;
                }
                (byte, Some(open)) if byte == open => {
                    quote = None;
                    at += 1;
                }
                _ => at += 1,
            }
        }
        self.copy(plain..range.end);
        Ok(())
    }

    fn span(&mut self, inner: Range<usize>, quoted: bool) -> Result<(), ExpressionError> {
        let outer = inner.start - 2..inner.end + 1;
        if quoted || !self.touches_name(&outer) {
            self.copy(outer.start..inner.start);
            self.walk(inner.clone())?;
            self.copy(inner.end..outer.end);
            return Ok(());
        }
        let source = self.text.get(inner.clone()).unwrap_or_default();
        let replacement = (self.splice)(source).map_err(|error| error.moved(inner.start))?;
        let from = self.out.len();
        self.out.push_str(&replacement);
        self.chunks.push(Chunk { flat: from..self.out.len(), source: outer, verbatim: false });
        if self.out.len() > MAX_EXPRESSION {
            let message = format!("the expression grows longer than {MAX_EXPRESSION} bytes");
            return Err(syntax(inner, message));
        }
        Ok(())
    }

    fn touches_name(&self, outer: &Range<usize>) -> bool {
        let before = self.text.get(..outer.start).and_then(|before| before.chars().next_back());
        let after = self.text.get(outer.end..).and_then(|after| after.chars().next());
        // Another span that was spliced directly before counts too: `a${x}${y}`.
        let glued =
            self.chunks.last().is_some_and(|chunk| !chunk.verbatim && chunk.source.end == outer.start);
        glued
            || before.is_some_and(|c| c == '.' || is_name_character(c))
            || after.is_some_and(is_name_character)
    }

    fn copy(&mut self, source: Range<usize>) {
        if let Some(part) = self.text.get(source.clone()).filter(|part| !part.is_empty()) {
            let from = self.out.len();
            self.out.push_str(part);
            self.chunks.push(Chunk { flat: from..self.out.len(), source, verbatim: true });
        }
    }
}
