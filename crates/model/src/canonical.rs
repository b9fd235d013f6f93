//! The canonical text of a document (`wire.md` 4.4): `harnessApiVersion` first, `type` second, other keys by alphabet; list items not indented
//! under their key, `type` and `name` first in them; single quotes where quoting is needed; a final newline. Clients compare the text, so
//! nothing is added but `helmVersion: V2` where FirstGen adds it. Printing what was printed changes nothing.
//!
//! Scalars that are not text print as they were written (`0`, `1.50`, `~`, nothing). Text prints plain when it reads back as the same text; in
//! single quotes when it would not; as a block (`|-`, `|`, `|+`) when it has several lines; in double quotes when only escapes can say it.
//! Words that only YAML 1.1 takes for something else (`yes`, `on`, dates) keep the quotes they came with.

use std::fmt::Write as _;

use crate::node::{Content, Entry, Mapping, Node, Scalar, ScalarKind, plain_kind};

/// The version that every document names; the value is ignored on read.
pub const API_VERSION: &str = "1.0";

/// Prints a document. The root is put into canonical order first.
#[must_use]
pub fn print(root: &Node) -> String {
    let mut out = String::new();
    match &root.content {
        Content::Mapping(mapping) if !mapping.entries.is_empty() => {
            entries(&mut out, mapping, 0, Level::Root)
        }
        Content::Mapping(_) => out.push_str("{}\n"),
        Content::Sequence(items) if items.is_empty() => out.push_str("[]\n"),
        Content::Sequence(items) => sequence(&mut out, items, 0),
        Content::Scalar(scalar) => {
            scalar_after(&mut out, scalar, 0);
            if out.starts_with(' ') {
                out.remove(0);
            }
        }
    }
    out
}

/// What the server does to a document before it is printed: the version as text, and `helmVersion: V2` on services of type KUBERNETES or HELM
/// that do not say theirs.
pub fn normalise(root: &mut Node) {
    let Some(mapping) = root.as_mapping_mut() else { return };
    if let Some(version) = mapping.get_mut("harnessApiVersion") {
        *version = Node::text(API_VERSION);
    }
    let text = |key: &str| mapping.get(key).and_then(Node::as_str).unwrap_or_default();
    let helm = matches!(text("deploymentType"), "KUBERNETES" | "HELM");
    if text("type") == "SERVICE" && helm && mapping.get("helmVersion").is_none() {
        mapping.set("helmVersion", Node::text("V2"));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Plain,
}

/// Keys that come before the alphabet, by where the mapping stands.
fn rank(level: Level, key: &str) -> usize {
    let first: &[&str] = match level {
        Level::Root => &["harnessApiVersion", "type"],
        Level::Item => &["type", "name"],
        Level::Plain => &[],
    };
    first.iter().position(|name| *name == key).unwrap_or(first.len())
}

fn sorted(mapping: &Mapping, level: Level) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = mapping.entries.iter().collect();
    entries.sort_by(|a, b| {
        (rank(level, &a.key.text), &a.key.text).cmp(&(rank(level, &b.key.text), &b.key.text))
    });
    entries
}

fn indent(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// Entries one per line; the first begins where the text stands, the others at `column`.
fn entries(out: &mut String, mapping: &Mapping, column: usize, level: Level) {
    for (place, entry) in sorted(mapping, level).into_iter().enumerate() {
        if place > 0 {
            indent(out, column);
        }
        out.push_str(&inline(&entry.key));
        out.push(':');
        match &entry.value.content {
            Content::Scalar(scalar) => scalar_after(out, scalar, column),
            Content::Sequence(items) if items.is_empty() => out.push_str(" []\n"),
            Content::Mapping(mapping) if mapping.entries.is_empty() => out.push_str(" {}\n"),
            Content::Sequence(items) => {
                out.push('\n');
                sequence(out, items, column);
            }
            Content::Mapping(mapping) => {
                out.push('\n');
                indent(out, column + 2);
                entries(out, mapping, column + 2, Level::Plain);
            }
        }
    }
}

/// Items one per line at `column`.
fn sequence(out: &mut String, items: &[Node], column: usize) {
    for item in items {
        indent(out, column);
        self::item(out, item, column);
    }
}

fn item(out: &mut String, item: &Node, column: usize) {
    out.push('-');
    match &item.content {
        Content::Scalar(scalar) => scalar_after(out, scalar, column),
        Content::Sequence(items) if items.is_empty() => out.push_str(" []\n"),
        Content::Mapping(mapping) if mapping.entries.is_empty() => out.push_str(" {}\n"),
        Content::Mapping(mapping) => {
            out.push(' ');
            entries(out, mapping, column + 2, Level::Item);
        }
        Content::Sequence(items) => {
            out.push(' ');
            for (place, inner) in items.iter().enumerate() {
                if place > 0 {
                    indent(out, column + 2);
                }
                self::item(out, inner, column + 2);
            }
        }
    }
}

/// A scalar after `key:` or `-`, with the line's end; `column` is where the key or the dash stands.
fn scalar_after(out: &mut String, scalar: &Scalar, column: usize) {
    if scalar.kind == ScalarKind::String && fits_block(&scalar.text) {
        block(out, &scalar.text, column + 2);
        return;
    }
    let text = inline(scalar);
    if !text.is_empty() {
        out.push(' ');
        out.push_str(&text);
    }
    out.push('\n');
}

/// Whether text can be a literal block and read back exactly.
fn fits_block(text: &str) -> bool {
    let last = text.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
    text.contains('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
        && last.chars().any(|c| c != ' ' && c != '\t')
}

fn block(out: &mut String, text: &str, column: usize) {
    out.push_str(" |");
    // A first line that begins with a blank would be taken for a deeper indentation.
    if text.trim_start_matches('\n').starts_with([' ', '\t']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text.ends_with("\n\n") {
        out.push('+');
    }
    out.push('\n');
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for line in lines.split('\n') {
        if !line.is_empty() {
            indent(out, column);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// A scalar on one line.
fn inline(scalar: &Scalar) -> String {
    let text = &scalar.text;
    if scalar.kind != ScalarKind::String {
        return text.clone();
    }
    if !text.chars().all(is_printable) {
        return double_quoted(text);
    }
    let plain = is_plain(text) && !(scalar.quoted && is_other_in_yaml_1_1(text));
    if plain { text.clone() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Whether text written without quotes is this text again.
fn is_plain(text: &str) -> bool {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return false };
    let second = characters.next();
    let indicator = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' '),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
            true
        }
        _ => false,
    };
    !(indicator
        || plain_kind(text) != ScalarKind::String
        || matches!(text, "<<" | "=")
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #"))
}

/// Whether readers of YAML 1.1 (FirstGen's own among them) take plain text for a boolean, a date or a number.
fn is_other_in_yaml_1_1(text: &str) -> bool {
    let word = matches!(
        text,
        "y" | "Y"
            | "n"
            | "N"
            | "yes"
            | "Yes"
            | "YES"
            | "no"
            | "No"
            | "NO"
            | "on"
            | "On"
            | "ON"
            | "off"
            | "Off"
            | "OFF"
    );
    // Dates, times in base 60, and numbers with underscores: all begin with a digit, a sign or a point and hold little else.
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_hexdigit() || "_:-+.TtZzxo ".contains(c));
    word || number
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        let code = u32::from(character);
        // Writing into a string cannot fail.
        let _ = match character {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            '\r' => out.write_str("\\r"),
            '\0' => out.write_str("\\0"),
            _ if is_printable(character) => out.write_char(character),
            _ if code <= 0xff => write!(out, "\\x{code:02x}"),
            _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}
