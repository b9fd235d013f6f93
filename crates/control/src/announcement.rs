//! What a delegate may say of itself, and how much of it. It is written down and shown to people, so it is bounded before anything else.

use data_encoding::BASE64;
use manifold_model::{Failure, code};

use crate::delegates::{Applicant, is_name, refusal};

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;
/// Longest id, characters.
const LONGEST_ID: usize = 64;
/// Selectors; capabilities.
const MOST_WORDS: usize = 64;
/// Longest selector or capability, characters.
const LONGEST_WORD: usize = 256;
/// Kinds.
const MOST_KINDS: usize = 256;
/// Properties of a kind, and each of its other lists.
const MOST_OF_KIND: usize = 256;
/// Longest name of a kind, and of anything in it, bytes.
const LONGEST_OF_KIND: usize = 256;
/// Longest host name, address, version, characters.
const LONGEST_FACT: usize = 256;
/// Longest description, characters.
const LONGEST_DESCRIPTION: usize = 1_024;
/// Everything that it says, as JSON, bytes.
const MOST_BYTES: usize = 512 * 1024;

/// Checks the shape of what a delegate says of itself.
///
/// # Errors
/// `DELEGATE_ANNOUNCEMENT_REFUSED`, saying what is wrong.
pub(crate) fn check(applicant: &Applicant) -> Result<(), Failure> {
    match complaint(applicant) {
        None => Ok(()),
        Some(what) => Err(refusal(
            code!("DELEGATE_ANNOUNCEMENT_REFUSED"),
            format!("what the delegate says of itself is refused: {what}"),
        )
        .hint("change how the delegate is started (--name, --selector, --description)")),
    }
}

fn complaint(applicant: &Applicant) -> Option<String> {
    let id = applicant.id.as_str();
    let id_chars = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(id_chars) {
        return Some(format!("its id is not 1 to {LONGEST_ID} letters, digits, \"-\" and \"_\""));
    }
    if !is_name(&applicant.name) {
        return Some("its name is not 1 to 128 letters, digits, \"-\", \"_\" and \".\"".to_owned());
    }
    if BASE64.decode(applicant.key.as_bytes()).map_or(0, |key| key.len()) != KEY_BYTES {
        return Some("its key is not a base64 Ed25519 public key".to_owned());
    }
    facts(applicant).or_else(|| words(applicant)).or_else(|| kinds(applicant)).or_else(|| size(applicant))
}

fn facts(applicant: &Applicant) -> Option<String> {
    let announced = &applicant.announced;
    let facts = [
        ("version", &announced.program, LONGEST_FACT),
        ("host name", &announced.host, LONGEST_FACT),
        ("address", &announced.address, LONGEST_FACT),
        ("description", &announced.description, LONGEST_DESCRIPTION),
    ];
    facts.into_iter().find_map(|(what, text, longest)| {
        if text.chars().count() > longest {
            return Some(format!("its {what} is longer than {longest} characters"));
        }
        let control = text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        control.then(|| format!("its {what} has control characters"))
    })
}

fn words(applicant: &Applicant) -> Option<String> {
    let announced = &applicant.announced;
    let lists = [("selectors", &announced.selectors), ("capabilities", &announced.capabilities)];
    lists.into_iter().find_map(|(what, list)| {
        if list.len() > MOST_WORDS {
            return Some(format!("it has {} {what}; {MOST_WORDS} are the most", list.len()));
        }
        let bad = list.iter().any(|word| {
            word.trim().is_empty()
                || word.chars().count() > LONGEST_WORD
                || word.chars().any(char::is_control)
        });
        bad.then(|| {
            format!(
                "one of its {what} is empty, longer than {LONGEST_WORD} characters, or has control characters"
            )
        })
    })
}

fn kinds(applicant: &Applicant) -> Option<String> {
    let kinds = &applicant.announced.kinds;
    if kinds.len() > MOST_KINDS {
        return Some(format!("it has {} kinds of tasks; {MOST_KINDS} are the most", kinds.len()));
    }
    let long = |text: &str| text.is_empty() || text.len() > LONGEST_OF_KIND;
    kinds.iter().find_map(|kind| {
        let lists = [
            kind.properties.len(),
            kind.class_by.len(),
            kind.capabilities.len(),
            kind.infrastructure_types.len(),
        ];
        let bad = long(kind.name.as_str())
            || kind.rolled_back_by.as_ref().is_some_and(|name| long(name.as_str()))
            || kind.stands.len() > MOST_OF_KIND
            || lists.into_iter().any(|length| length > MOST_OF_KIND)
            || kind.properties.iter().any(|property| long(&property.name))
            || kind.class_by.iter().any(|rule| long(&rule.property) || rule.value.len() > LONGEST_OF_KIND)
            || kind.capabilities.iter().chain(&kind.infrastructure_types).any(|text| long(text));
        bad.then(|| {
            "the description of one of its kinds of tasks has a part that is empty or too long".to_owned()
        })
    })
}

/// Many legal parts can still be too much together.
fn size(applicant: &Applicant) -> Option<String> {
    let bytes = serde_json::to_vec(&applicant.announced).map_or(usize::MAX, |json| json.len());
    (bytes > MOST_BYTES).then(|| format!("it is more than {} KiB in all", MOST_BYTES / 1024))
}
