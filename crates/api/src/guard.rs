//! What a query may cost, decided before anything of it runs: fragments that spread each other multiply a small text into millions of
//! fields, so the expanded size is computed once per fragment, in time linear in the text.

use std::collections::HashMap;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Positioned};
use manifold_control::model::{Problem, code};

/// Bytes of the query text; values belong into variables, but 10,000 ids may stand in the text.
pub const QUERY_BYTES: usize = 2 << 20;
/// Brackets open at once in the text: the parser goes down the stack with them.
pub const OPEN_BRACKETS: usize = 128;
/// Fields and fragments of a query once every spread is expanded, all operations together.
pub const EXPANDED_SIZE: u64 = 15_000;
/// Nesting of fields (`behaviour.md` 16.1).
pub const DEPTH: u64 = 10;
/// Nesting below `__schema` and `__type`, counted apart: the standard introspection query needs 15.
pub const INTROSPECTION_DEPTH: u64 = 20;

/// How large a selection is when expanded.
#[derive(Clone, Copy, Default, Debug)]
struct Measure {
    size: u64,
    depth: u64,
    introspection: u64,
}

enum State {
    Computing,
    Known(Measure),
}

/// Parses a query and refuses what would cost too much.
///
/// # Errors
/// A problem that says which limit it is over, or where the text is wrong.
pub fn parse(query: &str) -> Result<ExecutableDocument, Problem> {
    if query.len() > QUERY_BYTES {
        return Err(too_large(format!(
            "the query has {} bytes, at most {QUERY_BYTES} are read",
            query.len()
        )));
    }
    if open_brackets(query) > OPEN_BRACKETS {
        return Err(too_large(format!("the query opens more than {OPEN_BRACKETS} brackets at once")));
    }
    let document = async_graphql::parser::parse_query(query)
        .map_err(|error| Problem::new(code!("QUERY_SYNTAX"), error.to_string()))?;
    check(&document)?;
    Ok(document)
}

fn too_large(message: String) -> Problem {
    Problem::new(code!("QUERY_TOO_LARGE"), message).hint("ask for less at once")
}

fn check(document: &ExecutableDocument) -> Result<(), Problem> {
    let mut known = HashMap::new();
    let mut size = 0_u64;
    for (_, operation) in document.operations.iter() {
        let measure = measure(&operation.node.selection_set, document, &mut known)?;
        size = size.saturating_add(measure.size);
        if measure.depth > DEPTH {
            return Err(too_large(format!(
                "the query nests {} levels, at most {DEPTH} are allowed",
                measure.depth
            )));
        }
        if measure.introspection > INTROSPECTION_DEPTH {
            return Err(too_large(format!("introspection nests more than {INTROSPECTION_DEPTH} levels")));
        }
    }
    if size > EXPANDED_SIZE {
        return Err(too_large(format!(
            "the query expands to {size} fields, at most {EXPANDED_SIZE} are allowed"
        )));
    }
    Ok(())
}

fn measure<'a>(
    set: &'a Positioned<SelectionSet>,
    document: &'a ExecutableDocument,
    known: &mut HashMap<&'a Name, State>,
) -> Result<Measure, Problem> {
    let mut total = Measure::default();
    for item in &set.node.items {
        let inner = match &item.node {
            Selection::Field(field) => {
                let inner = measure(&field.node.selection_set, document, known)?;
                if matches!(field.node.name.node.as_str(), "__schema" | "__type") {
                    let below = inner.depth.max(inner.introspection).saturating_add(1);
                    Measure { depth: 0, introspection: below, ..inner }
                } else {
                    Measure { depth: inner.depth.saturating_add(1), ..inner }
                }
            }
            Selection::InlineFragment(fragment) => measure(&fragment.node.selection_set, document, known)?,
            Selection::FragmentSpread(spread) => fragment(&spread.node.fragment_name.node, document, known)?,
        };
        total.size = total.size.saturating_add(inner.size).saturating_add(1);
        total.depth = total.depth.max(inner.depth);
        total.introspection = total.introspection.max(inner.introspection);
    }
    Ok(total)
}

fn fragment<'a>(
    name: &'a Name,
    document: &'a ExecutableDocument,
    known: &mut HashMap<&'a Name, State>,
) -> Result<Measure, Problem> {
    match known.get(name) {
        Some(State::Known(measure)) => return Ok(*measure),
        Some(State::Computing) => {
            return Err(Problem::new(code!("QUERY_SYNTAX"), format!("the fragment {name} spreads itself")));
        }
        None => {}
    }
    // A spread of an unknown fragment is left to validation, which says where it stands.
    let Some(definition) = document.fragments.get(name) else { return Ok(Measure::default()) };
    known.insert(name, State::Computing);
    let measured = measure(&definition.node.selection_set, document, known)?;
    known.insert(name, State::Known(measured));
    Ok(measured)
}

/// Whether a document holds several operations, so that a name must choose.
pub fn has_several(document: &ExecutableDocument) -> bool {
    matches!(&document.operations, DocumentOperations::Multiple(operations) if operations.len() > 1)
}

/// Where a lexer that only knows strings and comments stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lexed {
    Code,
    Comment,
    Text,
    Block,
}

/// Walks over the text outside of strings and comments.
fn walk(query: &str, mut visit: impl FnMut(usize, u8)) {
    let bytes = query.as_bytes();
    let mut state = Lexed::Code;
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut step = 1;
        match state {
            Lexed::Code if rest.starts_with(b"\"\"\"") => (state, step) = (Lexed::Block, 3),
            Lexed::Code if byte == b'"' => state = Lexed::Text,
            Lexed::Code if byte == b'#' => state = Lexed::Comment,
            Lexed::Code => visit(at, byte),
            Lexed::Comment if byte == b'\n' => state = Lexed::Code,
            Lexed::Comment => {}
            Lexed::Text if byte == b'\\' => step = 2,
            Lexed::Text if byte == b'"' || byte == b'\n' => state = Lexed::Code,
            Lexed::Text => {}
            Lexed::Block if rest.starts_with(b"\\\"\"\"") => step = 4,
            Lexed::Block if rest.starts_with(b"\"\"\"") => (state, step) = (Lexed::Code, 3),
            Lexed::Block => {}
        }
        at += step;
    }
}

/// Most brackets open at once.
fn open_brackets(query: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0_usize);
    walk(query, |_, byte| match byte {
        b'{' | b'(' | b'[' => {
            open += 1;
            most = most.max(open);
        }
        b'}' | b')' | b']' => open = open.saturating_sub(1),
        _ => {}
    });
    most
}

/// Takes out the stray dot after a number that a widely used client writes (`offset: 0. filters: …`, R5).
#[must_use]
pub fn without_stray_dots(query: &str) -> std::borrow::Cow<'_, str> {
    let bytes = query.as_bytes();
    let mut stray = Vec::new();
    walk(query, |at, byte| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at + 1);
        if byte == b'.'
            && before.is_some_and(u8::is_ascii_digit)
            && !after.is_some_and(|after| after.is_ascii_digit() || *after == b'.')
        {
            stray.push(at);
        }
    });
    if stray.is_empty() {
        return query.into();
    }
    // Each dot becomes a blank, so that the places in error messages stay true.
    let text: String = query
        .char_indices()
        .map(|(at, letter)| if stray.binary_search(&at).is_ok() { ' ' } else { letter })
        .collect();
    text.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn nested_fragments_are_refused_at_once() {
        let mut query = String::from("{ ...F0 }");
        for level in 0..30 {
            query += &format!(" fragment F{level} on Query {{ a: x{{...F{0}}} b: x{{...F{0}}} }}", level + 1);
        }
        query += " fragment F30 on Query { x }";
        assert_eq!(parse(&query).unwrap_err().code.0, "QUERY_TOO_LARGE");
    }

    #[test]
    fn fragments_that_spread_each_other_are_refused() {
        let query = "{...A} fragment A on Query {...B} fragment B on Query {...A}";
        assert!(parse(query).unwrap_err().message.contains("spreads itself"));
    }

    #[test]
    fn deep_texts_never_reach_the_parser() {
        let deep = "{a".repeat(200_000);
        assert_eq!(parse(&deep).unwrap_err().code.0, "QUERY_TOO_LARGE");
        let lists = format!("{{a(x: {})}}", "[".repeat(100_000));
        assert_eq!(parse(&lists).unwrap_err().code.0, "QUERY_TOO_LARGE");
    }

    #[test]
    fn ten_levels_pass_and_eleven_do_not() {
        let query = |levels: usize| format!("{}{}", "{a".repeat(levels), "}".repeat(levels));
        assert!(parse(&query(10)).is_ok());
        assert_eq!(parse(&query(11)).unwrap_err().code.0, "QUERY_TOO_LARGE");
    }

    #[test]
    fn only_stray_dots_go() {
        assert_eq!(
            without_stray_dots("f(limit: 100, offset: 0. filters: $x)"),
            "f(limit: 100, offset: 0  filters: $x)"
        );
        for kept in
            ["f(x: 1.5)", "f(x: \"0. a\") # 0. b", "{...F}", "f(x: \"\"\"0. a\"\"\")", "f(x: \"ü\\\"0. \")"]
        {
            assert_eq!(without_stray_dots(kept), kept);
        }
    }
}
