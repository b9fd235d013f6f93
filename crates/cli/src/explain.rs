//! `manifold explain CODE`: the page of an error code.

use manifold_model::{Problem, code};
use serde_json::json;

use crate::error::Error;
use crate::print::{Output, out, out_json};

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Near matches that are named.
const NEAR: usize = 5;

/// Prints the page of a code.
pub fn run(asked: &str, output: Output) -> Result<u8, Error> {
    let wanted = asked.trim().to_ascii_uppercase().replace('-', "_");
    let Some((code, page)) = PAGES.iter().find(|(code, _)| *code == wanted) else {
        let near = near(&wanted);
        let hint = if near.is_empty() {
            "codes stand in brackets at the end of a message".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        let problem = Problem::new(code!("CODE_UNKNOWN"), format!("there is no error code {asked:?}"));
        return Err(Error::refused(problem.hint(hint)));
    };
    match output {
        Output::Json => out_json(&json!({ "code": code, "page": page }))?,
        Output::Text => out(page)?,
    }
    Ok(0)
}

/// Codes that are spelled or put together alike, nearest first.
fn near(wanted: &str) -> Vec<&'static str> {
    let mut scored: Vec<(usize, &str)> = PAGES
        .iter()
        .map(|(code, _)| {
            let contains = wanted.len() >= 3 && code.contains(wanted);
            (if contains { 1 } else { distance(wanted, code) }, *code)
        })
        .filter(|(score, code)| *score <= (code.len() / 3).max(2))
        .collect();
    scored.sort_unstable();
    scored.into_iter().take(NEAR).map(|(_, code)| code).collect()
}

/// Letters to change, add or leave out to come from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    // Words of a command line are as long as their writer likes; codes are not.
    const LONGEST: usize = 64;
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().take(LONGEST).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(index + 1);
        for ((above, diagonal), other) in row.iter().skip(1).zip(&row).zip(&to) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above + 1).min(left + 1).min(diagonal + usize::from(letter != *other)));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_compiled_in_and_misspellings_found() {
        assert!(
            PAGES.iter().any(|(code, page)| *code == "CODE_UNKNOWN" && page.starts_with("# CODE_UNKNOWN"))
        );
        assert_eq!(near("CODE_UNKNWN").first(), Some(&"CODE_UNKNOWN"));
        assert!(near("QQQQQQQQQQQQQQQQQQQQ").is_empty());
        assert_eq!((distance("abc", "abd"), distance("", "ab"), distance("abc", "abc")), (1, 2, 0));
    }
}
