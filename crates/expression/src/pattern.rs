//! Regular expressions: Java's syntax as far as it works without backtracking, in bounded memory and linear time.

use regex::{Regex, RegexBuilder};

use crate::error::Class;
use crate::limits::{MAX_PATTERN, MAX_PATTERN_MEMORY, MAX_VALUE, PATTERN_STEPS};
use crate::operator::Refusal;

/// Steps that using a pattern on a text is charged. Counted repetition is what makes patterns large, and then every byte costs.
pub(crate) fn steps(pattern: &str, text: usize) -> usize {
    if pattern.contains('{') {
        PATTERN_STEPS.saturating_add(text)
    } else {
        pattern.len().saturating_add(text / 64)
    }
}

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    build(&translate(pattern)?, pattern)
}

/// Compiles a pattern that must cover the whole text, as Java's `matches` does.
pub(crate) fn compile_whole(pattern: &str) -> Result<Regex, Refusal> {
    let translated = translate(pattern)?;
    // Alone first: `a)(b` must not become valid by the brackets around it.
    build(&translated, pattern)?;
    build(&format!(r"\A(?:{translated})\z"), pattern)
}

fn build(source: &str, written: &str) -> Result<Regex, Refusal> {
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

/// Java's pattern as the matcher's: `\w`, `\d`, `\s` and `\b` mean ASCII, `\Q…\E` quotes. Features that only a backtracking matcher
/// has are refused here by name; possessive quantifiers must be, because to the matcher `a*+` is valid with another meaning.
fn translate(pattern: &str) -> Result<String, Refusal> {
    if pattern.len() > MAX_PATTERN {
        return Err((Class::Limit, format!("the regular expression is longer than {MAX_PATTERN} bytes")));
    }
    let refuse = |feature: &str| {
        let message =
            format!("the regular expression `{}` uses {feature}, which is not supported", short(pattern));
        Err((Class::Pattern, message))
    };
    let mut out = String::with_capacity(pattern.len());
    let mut classes = 0_usize;
    let mut quantified = false;
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let was_quantified = std::mem::take(&mut quantified);
        if let Some(escape) = rest.strip_prefix('\\') {
            rest = match escape_sequence(escape, classes > 0, &mut out) {
                Ok(length) => escape.get(length..).unwrap_or_default(),
                Err(feature) => return refuse(feature),
            };
            continue;
        }
        let mut length = character.len_utf8();
        match character {
            '[' => classes += 1,
            ']' => classes = classes.saturating_sub(1),
            _ if classes > 0 => {}
            '(' => match lookaround(rest) {
                Some(feature) => return refuse(feature),
                // The question mark of a group is no quantifier.
                None if rest.starts_with("(?") => length += 1,
                None => {}
            },
            '+' if was_quantified => return refuse("a possessive quantifier"),
            '*' | '+' | '?' | '}' => quantified = !was_quantified,
            _ => {}
        }
        out.push_str(rest.get(..length).unwrap_or_default());
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(out)
}

fn lookaround(rest: &str) -> Option<&'static str> {
    let table = [
        ("(?=", "look-ahead"),
        ("(?!", "look-ahead"),
        ("(?<=", "look-behind"),
        ("(?<!", "look-behind"),
        ("(?>", "an atomic group"),
    ];
    table.iter().find(|(start, _)| rest.starts_with(start)).map(|(_, feature)| *feature)
}

/// Translates what follows a backslash; says how many bytes that was, or which feature is refused.
fn escape_sequence(escape: &str, in_class: bool, out: &mut String) -> Result<usize, &'static str> {
    if let Some(quoted) = escape.strip_prefix('Q') {
        let length = quoted.find("\\E").unwrap_or(quoted.len());
        out.push_str(&regex::escape(quoted.get(..length).unwrap_or_default()));
        return Ok((1 + length + 2).min(escape.len()));
    }
    let Some(character) = escape.chars().next() else {
        out.push('\\');
        return Ok(0);
    };
    match character {
        '1'..='9' | 'k' if !in_class => return Err("a back reference"),
        'G' => return Err("`\\G`"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[ \t\n\x0B\f\r]"),
        'S' => out.push_str(r"[^ \t\n\x0B\f\r]"),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        'Z' if !in_class => out.push_str(r"\z"),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    Ok(character.len_utf8())
}

/// Java's `replaceAll` and `replaceFirst`: `$1` is a group, a backslash takes the next character as it is.
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
        if out.len() > MAX_VALUE {
            return Err((Class::Limit, format!("the replaced text is longer than {} bytes", MAX_VALUE)));
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
