//! Tokens of one expression.

use std::ops::Range;

use crate::error::{Class, ExpressionError};
use crate::scan::{span_end, string_end};

/// A token and the bytes it stands on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Kind {
    Int(i64),
    Float(f64),
    /// Quoted text, in parts since spans may stand in it.
    Text(Vec<Part>),
    Name(String),
    /// An operator or punctuation.
    Sign(&'static str),
    /// `${…}` in the place of an operand; the range is its inside.
    Span(Range<usize>),
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Part {
    Text(String),
    Span(Range<usize>),
}

/// Longest first.
const SIGNS: [&str; 28] = [
    "&&", "||", "==", "!=", "<=", ">=", "=~", "!~", "=^", "!^", "=$", "!$", "<", ">", "!", "+", "-", "*",
    "/", "%", "(", ")", "[", "]", ",", ".", ":", "?",
];

/// Whether a character may stand in a name.
pub(crate) fn is_name_character(character: char) -> bool {
    character == '_' || character.is_alphanumeric() || character == crate::flatten::UNKNOWN
}

/// Splits `text[range]` into tokens; spans of tokens and errors are bytes of `text`.
pub(crate) fn tokens(text: &str, range: Range<usize>) -> Result<Vec<Token>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = range.start;
    while let Some(rest) = text.get(at..range.end).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, end) = token(text, at, rest, first)?;
        tokens.push(Token { kind, span: at..end });
        at = end;
    }
    Ok(tokens)
}

fn token(text: &str, at: usize, rest: &str, first: char) -> Result<(Kind, usize), ExpressionError> {
    if first == '\'' || first == '"' {
        return quoted(text, at);
    }
    if rest.starts_with("${") {
        let Some(end) = span_end(text.as_bytes(), at + 2, 0) else {
            return Err(syntax(at..at + 2, "a `${` inside the expression does not end"));
        };
        return Ok((Kind::Span(at + 2..end), end + 1));
    }
    if first.is_ascii_digit() {
        return number(at, rest);
    }
    if is_name_character(first) {
        let length = rest.find(|c| !is_name_character(c)).unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default();
        return Ok((Kind::Name(name.to_owned()), at + length));
    }
    // In `!${x}` the dollar belongs to the span.
    let fits = |sign: &&&str| {
        rest.strip_prefix(**sign).is_some_and(|tail| !(sign.ends_with('$') && tail.starts_with('{')))
    };
    match SIGNS.iter().find(fits) {
        Some(sign) => Ok((Kind::Sign(sign), at + sign.len())),
        None => Err(unknown(at, first)),
    }
}

fn unknown(at: usize, first: char) -> ExpressionError {
    let span = at..at + first.len_utf8();
    let error = syntax(span, format!("`{}` has no meaning in an expression", first.escape_default()));
    match first {
        '=' => error.hint("compare with `==`"),
        '&' => error.hint("write `&&`"),
        '|' => error.hint("write `||`"),
        _ => error,
    }
}

fn number(at: usize, rest: &str) -> Result<(Kind, usize), ExpressionError> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut length = digits(rest);
    let fraction = rest.get(length..).and_then(|tail| tail.strip_prefix('.')).map_or(0, digits);
    if fraction > 0 {
        length += 1 + fraction;
    }
    let written = rest.get(..length).unwrap_or_default();
    let span = at..at + length;
    let kind = if fraction > 0 {
        written.parse().ok().filter(|value: &f64| value.is_finite()).map(Kind::Float)
    } else {
        written.parse().ok().map(Kind::Int)
    };
    kind.map(|kind| (kind, span.end)).ok_or_else(|| syntax(span, "the number is too large"))
}

/// Quoted text. `\n`, `\r`, `\t`, `\uXXXX`, `\\` and quotes are escapes; any other backslash stays, so that regular expressions
/// can be written as usual.
fn quoted(text: &str, at: usize) -> Result<(Kind, usize), ExpressionError> {
    let Some(end) = string_end(text.as_bytes(), at, 0) else {
        return Err(syntax(at..text.len(), "the quoted text does not end"));
    };
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut from = at + 1;
    while let Some(rest) = text.get(from..end - 1).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("${")
            && let Some(close) = span_end(text.as_bytes(), from + 2, 0)
        {
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Span(from + 2..close));
            from = close + 1;
        } else if let Some(escape) = rest.strip_prefix('\\') {
            from += 1 + unescape(escape, &mut plain);
        } else if let Some(character) = rest.chars().next() {
            plain.push(character);
            from += character.len_utf8();
        }
    }
    if !plain.is_empty() || parts.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok((Kind::Text(parts), end))
}

/// Reads what follows a backslash; says how many bytes that was.
fn unescape(escape: &str, out: &mut String) -> usize {
    let Some(character) = escape.chars().next() else {
        out.push('\\');
        return 0;
    };
    match character {
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        '\\' | '\'' | '"' => out.push(character),
        'u' => {
            if let Some(code) = escape.get(1..5).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                && let Some(decoded) = u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
            {
                out.push(decoded);
                return 5;
            }
            out.push_str("\\u");
        }
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    character.len_utf8()
}

pub(crate) fn syntax(span: Range<usize>, message: impl Into<String>) -> ExpressionError {
    ExpressionError::new(Class::Syntax, span, message)
}
