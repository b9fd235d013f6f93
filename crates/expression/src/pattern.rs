//! Regular expressions: Java's syntax as far as it works without backtracking, in bounded memory and linear time.

use regex::{Regex, RegexBuilder};

use crate::error::Class;
use crate::limits::{MAX_PATTERN, MAX_PATTERN_MEMORY};
use crate::operator::Refusal;

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    build(pattern, pattern)
}

/// Compiles a pattern that must cover the whole text, as Java's `matches` does.
pub(crate) fn compile_whole(pattern: &str) -> Result<Regex, Refusal> {
    // Alone first: `a)(b` must not become valid by the brackets around it.
    compile(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"), pattern)
}

fn build(source: &str, written: &str) -> Result<Regex, Refusal> {
    if written.len() > MAX_PATTERN {
        return Err((Class::Limit, format!("the regular expression is longer than {MAX_PATTERN} bytes")));
    }
    if let Some(feature) = backtracking(written) {
        let message =
            format!("the regular expression `{}` uses {feature}, which is not supported", short(written));
        return Err((Class::Pattern, message));
    }
    let built =
        RegexBuilder::new(source).size_limit(MAX_PATTERN_MEMORY).dfa_size_limit(MAX_PATTERN_MEMORY).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            (Class::Limit, format!("the regular expression `{}` needs too much memory", short(written)))
        }
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            (Class::Pattern, format!("the regular expression `{}` is not valid: {reason}", short(written)))
        }
    })
}

fn short(pattern: &str) -> String {
    pattern.chars().take(60).collect()
}

/// The feature of a pattern that only a backtracking matcher has. Possessive quantifiers must be found here, because to the matcher
/// `a*+` is a valid pattern with another meaning.
fn backtracking(pattern: &str) -> Option<&'static str> {
    let bytes = pattern.as_bytes();
    let mut in_class = 0_usize;
    let mut quantified = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let was_quantified = std::mem::take(&mut quantified);
        match byte {
            b'\\' => {
                match bytes.get(at + 1) {
                    Some(b'1'..=b'9') if in_class == 0 => return Some("a back reference"),
                    Some(b'k') if in_class == 0 => return Some("a back reference"),
                    Some(b'G') => return Some(r"`\G`"),
                    _ => {}
                }
                at += 1;
            }
            b'[' => in_class += 1,
            b']' => in_class = in_class.saturating_sub(1),
            _ if in_class > 0 => {}
            b'(' if rest.starts_with(b"(?=") || rest.starts_with(b"(?!") => return Some("look-ahead"),
            b'(' if rest.starts_with(b"(?<=") || rest.starts_with(b"(?<!") => return Some("look-behind"),
            b'(' if rest.starts_with(b"(?>") => return Some("an atomic group"),
            b'(' if rest.starts_with(b"(?") => at += 1,
            b'+' if was_quantified => return Some("a possessive quantifier"),
            b'*' | b'+' | b'?' | b'}' => quantified = !was_quantified,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Java's `replaceAll` and `replaceFirst`: `$1` and `${name}` are groups, a backslash takes the next character as it is.
pub(crate) fn replace(text: &str, regex: &Regex, replacement: &str, all: bool) -> Result<String, Refusal> {
    let template = template(replacement, regex)?;
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for captures in regex.captures_iter(text).take(if all { usize::MAX } else { 1 }) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(text.get(from..whole.start()).unwrap_or_default());
        for part in &template {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |found| found.as_str())),
            }
        }
        if out.len() > crate::limits::MAX_VALUE {
            return Err((
                Class::Limit,
                format!("the replaced text is longer than {} bytes", crate::limits::MAX_VALUE),
            ));
        }
        from = whole.end();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Ok(out)
}

enum Part {
    Text(String),
    Group(usize),
}

fn template(replacement: &str, regex: &Regex) -> Result<Vec<Part>, Refusal> {
    let wrong =
        |what: String| Err((Class::Failed, format!("in the replacement `{}`: {what}", short(replacement))));
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut characters = replacement.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(next) => plain.push(next),
                None => return wrong("a backslash ends it".to_owned()),
            },
            '$' => {
                let mut group = match characters.next().and_then(|digit| digit.to_digit(10)) {
                    Some(digit) => digit as usize,
                    None => return wrong("`$` must be followed by a group number".to_owned()),
                };
                if group >= regex.captures_len() {
                    return wrong(format!("there is no group {group}"));
                }
                // As many digits as still name a group.
                while let Some(digit) = characters.peek().and_then(|digit| digit.to_digit(10)) {
                    let wider = group * 10 + digit as usize;
                    if wider >= regex.captures_len() {
                        break;
                    }
                    group = wider;
                    characters.next();
                }
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Group(group));
            }
            other => plain.push(other),
        }
    }
    parts.push(Part::Text(plain));
    Ok(parts)
}
