//! The one scanner for `${…}`: used by rendering, conditions, references and names alike.

use std::ops::Range;

use crate::limits::{MAX_EXPRESSION, MAX_NESTING};

/// A part of a text. Ranges are bytes of that text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Plain text.
    Text(Range<usize>),
    /// `${…}` that ends. It need not be an expression: `${a:-b}` is the shell's.
    Span {
        /// With `${` and `}`.
        outer: Range<usize>,
        /// Without.
        inner: Range<usize>,
    },
    /// `${` that does not end, nests too deep or is too long.
    Open(Range<usize>),
}

/// Splits a text into plain text and spans. Inside a span braces and spans nest, and quoted text (with `\` escapes) hides braces.
#[must_use]
pub fn scan(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut from = 0;
    while let Some(segment) = next(text, from) {
        let (start, end) = match &segment {
            Segment::Text(range) | Segment::Open(range) => (range.start, range.end),
            Segment::Span { outer, .. } => (outer.start, outer.end),
        };
        if start > from {
            segments.push(Segment::Text(from..start));
        }
        segments.push(segment);
        from = end;
    }
    if from < text.len() {
        segments.push(Segment::Text(from..text.len()));
    }
    segments
}

/// The first `${` at or after a byte: a [`Segment::Span`] or a [`Segment::Open`].
pub(crate) fn next(text: &str, from: usize) -> Option<Segment> {
    let start = from + text.get(from..)?.find("${")?;
    let inner = start + 2;
    Some(match span_end(text.as_bytes(), inner, 0) {
        Some(end) => Segment::Span { outer: start..end + 1, inner: inner..end },
        None => Segment::Open(start..inner),
    })
}

/// The `}` that ends the span whose inside begins at `from`. A nested span that does not end makes the outer one endless too, so
/// one look is linear; and since nesting is bounded, so is looking again from inside.
pub(crate) fn span_end(text: &[u8], from: usize, depth: usize) -> Option<usize> {
    if depth >= MAX_NESTING {
        return None;
    }
    let mut braces = 0_usize;
    let mut at = from;
    while at - from <= MAX_EXPRESSION {
        match text.get(at)? {
            b'\'' | b'"' => at = string_end(text, at, depth)?,
            b'$' if text.get(at + 1) == Some(&b'{') => at = span_end(text, at + 2, depth + 1)? + 1,
            b'{' => {
                braces += 1;
                at += 1;
            }
            b'}' if braces == 0 => return Some(at),
            b'}' => {
                braces -= 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

/// The byte after the quoted text that begins at `from`.
pub(crate) fn string_end(text: &[u8], from: usize, depth: usize) -> Option<usize> {
    let quote = *text.get(from)?;
    let mut at = from + 1;
    while at - from <= MAX_EXPRESSION {
        match *text.get(at)? {
            b'\\' => at += 2,
            b'$' if text.get(at + 1) == Some(&b'{') => at = span_end(text, at + 2, depth + 1)? + 1,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}
