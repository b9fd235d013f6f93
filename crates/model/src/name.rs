//! What may be a name: of an entity, of a variable, of a step.

use crate::{Problem, code};

/// Characters of an entity's name.
pub const NAME_LIMIT: usize = 256;

/// Words that a variable may not be called (`behaviour.md` 12.4).
pub const RESERVED: [&str; 18] = [
    "or",
    "and",
    "eq",
    "ne",
    "lt",
    "gt",
    "le",
    "ge",
    "div",
    "mod",
    "not",
    "null",
    "true",
    "false",
    "new",
    "var",
    "return",
    "shellScriptProvisioner",
];

/// Names under which a step may not publish besides (`behaviour.md` 12.4). Two more of FirstGen's have blanks in them, so no legal name is one.
pub const RESERVED_FOR_PUBLISHING: [&str; 22] = [
    "arm",
    "ami",
    "aws",
    "host",
    "terragrunt",
    "terraform",
    "k8s",
    "terraformPlan",
    "terraformApply",
    "terraformDestroy",
    "deploymentInstanceData",
    "setupSweepingOutputAppService",
    "setupSweepingOutputEcs",
    "deploySweepingOutputEcs",
    "runTaskDeploySweepingOutputEcs",
    "setupSweepingOutputAmi",
    "setupSweepingOutputAmiAlb",
    "ecsAllPhaseRollbackDone",
    "pcfDeploySweepingOutput",
    "CloudFormationCompletionFlag",
    "setupSweepingOutputSpotinst",
    "setupSweepingOutputSpotinstAlb",
];

/// Checks the name of an entity, whoever gives it: not empty, at most [`NAME_LIMIT`] characters, no slash, no control character, no blank at
/// its ends, not `.` or `..`.
///
/// # Errors
/// `NAME_INVALID`, saying what is wrong.
pub fn check_entity_name(name: &str) -> Result<(), Box<Problem>> {
    let wrong = if name.trim().is_empty() {
        "is empty"
    } else if name.chars().count() > NAME_LIMIT {
        "has more than 256 characters"
    } else if name.contains(['/', '\\']) {
        "holds a slash"
    } else if name.chars().any(is_control) {
        "holds a control character"
    } else if name != name.trim() {
        "begins or ends with a blank"
    } else if matches!(name, "." | "..") {
        "is a relative path"
    } else {
        return Ok(());
    };
    Err(Problem::new(code!("NAME_INVALID"), format!("the name {wrong}")).item(shown(name)).into())
}

/// Checks a name that somebody gives now: as [`check_entity_name`], and without a comma, which separates names in a selection (D4).
///
/// # Errors
/// `NAME_INVALID` or `NAME_COMMA`.
pub fn check_new_entity_name(name: &str) -> Result<(), Box<Problem>> {
    check_entity_name(name)?;
    comma(name).map_or(Ok(()), |problem| Err(problem.into()))
}

/// The complaint about a comma in a name; imported names that hold one are kept and can be selected by id only (D4).
#[must_use]
pub fn comma(name: &str) -> Option<Problem> {
    name.contains(',').then(|| {
        Problem::new(code!("NAME_COMMA"), "the name holds a comma, which separates names in a selection")
            .item(shown(name))
            .hint("rename it, or select it by id")
    })
}

/// Checks the name of a variable: letters, digits and `_`, not reserved (`behaviour.md` 12.4).
///
/// # Errors
/// `NAME_ILLEGAL` or `NAME_RESERVED`.
pub fn check_variable_name(name: &str) -> Result<(), Box<Problem>> {
    let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !legal || name.len() > NAME_LIMIT {
        let message = format!("`{}` is not a legal name", shown(name));
        let hint = "use letters, digits and `_` only, 256 at most";
        return Err(Problem::new(code!("NAME_ILLEGAL"), message).item(shown(name)).hint(hint).into());
    }
    if RESERVED.contains(&name) { Err(reserved(name).into()) } else { Ok(()) }
}

/// Checks the name under which a step publishes its outputs: as [`check_variable_name`], and none of the names that steps of some kinds publish
/// themselves.
///
/// # Errors
/// `NAME_ILLEGAL` or `NAME_RESERVED`.
pub fn check_publish_name(name: &str) -> Result<(), Box<Problem>> {
    if RESERVED_FOR_PUBLISHING.contains(&name) {
        return Err(reserved(name).into());
    }
    check_variable_name(name)
}

fn reserved(name: &str) -> Problem {
    Problem::new(code!("NAME_RESERVED"), format!("the name `{name}` is reserved"))
        .item(name)
        .hint("choose another name")
}

/// Whether the name of a workflow, phase or step keeps to letters, digits, blanks, `-` and `_` (`behaviour.md` 6.1). Others are kept when
/// imported and reported.
#[must_use]
pub fn is_tidy_name(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
}

/// Controls, and what is as invisible: separators of lines, the byte order mark, and marks that turn the direction of the text after them, so
/// that a name looks like another one.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// A name as messages show it: control characters made visible, and not longer than 80 characters.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(80).flat_map(visible).collect();
    if name.chars().nth(80).is_some() {
        text.push('…');
    }
    text
}

fn visible(character: char) -> Vec<char> {
    if is_control(character) { character.escape_default().collect() } else { vec![character] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_names_are_checked() {
        let long = "n".repeat(257);
        for name in ["", "  ", "a/b", "a\nb", " a", "a ", "..", "a\u{7}", "a\u{202e}b", long.as_str(), "a\\b"]
        {
            assert!(check_entity_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "k8s-eu (prod): #1", "ünïcode", "a,b", &"n".repeat(256)] {
            assert!(check_entity_name(name).is_ok(), "{name:?}");
        }
        assert!(check_new_entity_name("a,b").is_err());
    }

    #[test]
    fn variable_names_are_checked() {
        for name in ["", "a-b", "a b", "or", "null", "é", "a.b"] {
            assert!(check_variable_name(name).is_err(), "{name:?}");
        }
        for name in ["infrastructure", "_x1", "ORDER", "1a"] {
            assert!(check_variable_name(name).is_ok(), "{name:?}");
        }
        assert!(check_publish_name("aws").is_err() && check_variable_name("aws").is_ok());
    }

    #[test]
    fn shown_names_are_short_and_visible() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"x".repeat(300)).chars().count(), 81);
    }
}
