//! Which references a text has, without evaluating it.

use std::collections::BTreeSet;

use crate::error::ExpressionError;
use crate::flatten::{UNKNOWN, flatten};
use crate::functor;
use crate::parse::parse;
use crate::scan::{Segment, next};
use crate::syntax::{Expr, Node};
use crate::token::is_name_character;

/// The dotted references in all spans of a text, sorted, each once: `artifact.metadata.image`, `workflow.variables.x`. A receiver
/// counts with its path (`instance.name` in `instance.name.toLowerCase()`), an index or a quoted field ends it. A name that is put
/// together from parts, as in `${artifact${".metadata.image"}}`, is not reported (`behaviour.md` 12.1). From a span that is no
/// expression everything that looks like a reference is taken.
#[must_use]
pub fn references(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut from = 0;
    while let Some(segment) = next(text, from) {
        from = match segment {
            Segment::Span { outer, inner } => {
                if collect(text.get(inner.clone()).unwrap_or_default(), &mut found) {
                    outer.end
                } else {
                    inner.start
                }
            }
            Segment::Open(range) | Segment::Text(range) => {
                let rest = text.get(range.end..).unwrap_or_default();
                let line = rest.find(['}', '\n', '$']).and_then(|end| rest.get(..end)).unwrap_or(rest);
                guess(
                    line.get(..line.floor_char_boundary(crate::limits::MAX_EXPRESSION)).unwrap_or_default(),
                    &mut found,
                );
                range.end
            }
        };
    }
    found.into_iter().collect()
}

/// [`references`] of a condition, whose text is an expression as a whole.
#[must_use]
pub fn condition_references(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    if collect(text, &mut found) { found.into_iter().collect() } else { references(text) }
}

/// Takes the references of one expression. False when it could not be read as a whole and its spans must be looked at one by one.
fn collect(source: &str, found: &mut BTreeSet<String>) -> bool {
    let mut nested = BTreeSet::new();
    let flat = flatten(source, &mut |inner| {
        collect(inner, &mut nested);
        Ok::<_, ExpressionError>(UNKNOWN.to_string())
    });
    let expr = flat.and_then(|flat| parse(&flat.text));
    found.extend(nested);
    match expr {
        Ok(expr) => {
            walk(&expr, found);
            true
        }
        Err(_) => {
            guess(source, found);
            false
        }
    }
}

fn walk(expr: &Expr, found: &mut BTreeSet<String>) {
    match (&expr.node, expr.path()) {
        (_, Some(path)) => {
            if !path.contains(UNKNOWN) {
                found.insert(path);
            }
        }
        (Node::Call(receiver, _, args), None) => {
            if receiver.path().is_none_or(|path| !functor::is_functor(&path)) {
                walk(receiver, found);
            }
            args.iter().for_each(|arg| walk(arg, found));
        }
        _ => expr.children().into_iter().for_each(|child| walk(child, found)),
    }
}

/// Names joined by dots, wherever they stand.
fn guess(source: &str, found: &mut BTreeSet<String>) {
    for word in source.split(|c: char| c != '.' && !is_name_character(c)) {
        let word = word.trim_matches('.');
        if word.contains('.')
            && word.starts_with(|c: char| c == '_' || c.is_alphabetic())
            && !word.contains("..")
        {
            found.insert(word.to_owned());
        }
    }
}
