//! Names of variables and of published outputs (`behaviour.md` 12.4).

use manifold_model::name::{RESERVED, RESERVED_FOR_PUBLISHING};
use manifold_model::{Problem, code};

use crate::scan::{Segment, scan};

/// Whether a variable may have this name.
///
/// # Errors
/// Other characters than letters, digits and `_`; a reserved word.
#[expect(
    clippy::result_large_err,
    reason = "the problem is what the caller shows; names are not checked in a hot loop"
)]
pub fn check_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        return Err(Problem::new(code!("NAME_ILLEGAL"), format!("`{shown}` is not a legal name"))
            .item(shown)
            .hint("use letters, digits and `_` only"));
    }
    if RESERVED.contains(&name) { Err(reserved(name)) } else { Ok(()) }
}

/// Whether a step may publish its outputs under this name.
///
/// # Errors
/// As [`check_name`], and the names that steps of some kinds publish themselves.
#[expect(
    clippy::result_large_err,
    reason = "the problem is what the caller shows; names are not checked in a hot loop"
)]
pub fn check_publish_name(name: &str) -> Result<(), Problem> {
    if RESERVED_FOR_PUBLISHING.contains(&name) {
        return Err(reserved(name));
    }
    check_name(name)
}

fn reserved(name: &str) -> Problem {
    Problem::new(code!("NAME_RESERVED"), format!("the name `{name}` is reserved"))
        .item(name)
        .hint("choose another name")
}

/// The variable's name when a text is exactly one variable: `${infra}` or `${workflow.variables.infra}`.
#[must_use]
pub fn whole_variable(text: &str) -> Option<&str> {
    let text = text.trim();
    let segments = scan(text);
    let [Segment::Span { inner, .. }] = segments.as_slice() else { return None };
    let inner = text.get(inner.clone())?.trim();
    let name = inner.strip_prefix("workflow.variables.").unwrap_or(inner);
    check_name(name).is_ok().then_some(name)
}
