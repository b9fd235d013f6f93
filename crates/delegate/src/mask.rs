//! Masking of secrets in a stream of output: every exact occurrence of a value, or of one of its lines, of at least three bytes
//! (`behaviour.md` 20), also when it arrives in pieces.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::limits::{MAX_MASKED, MIN_MASKED};

/// What stands in the place of a secret; its length says nothing about the secret's.
pub(crate) const MASK: &str = "******";

/// The secrets of one task.
#[derive(Default)]
pub(crate) struct Secrets {
    patterns: RwLock<Arc<Patterns>>,
}

impl Secrets {
    /// From now on this value is masked.
    pub(crate) fn add(&self, value: &[u8]) {
        let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
        *patterns = Arc::new(patterns.with(value));
    }

    /// What is masked now.
    pub(crate) fn patterns(&self) -> Arc<Patterns> {
        self.patterns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A whole text, masked.
    pub(crate) fn mask(&self, text: &str) -> String {
        let patterns = self.patterns();
        if patterns.is_empty() {
            return text.to_owned();
        }
        let mut stream = MaskStream::default();
        let mut out = stream.push(&patterns, Bytes::copy_from_slice(text.as_bytes())).to_vec();
        out.extend_from_slice(&stream.finish(&patterns));
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether a secret is in this text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let patterns = self.patterns();
        let bytes = text.as_bytes();
        (0..bytes.len())
            .any(|at| matches!(patterns.at(bytes.get(at..).unwrap_or_default(), true), Found::Whole(_)))
    }
}

/// Texts to mask, longest first, so that a value wins over its own lines.
#[derive(Default)]
pub(crate) struct Patterns {
    texts: Vec<Arc<Zeroizing<Vec<u8>>>>,
    /// Whether a text begins with this byte: most bytes of most output need no further look.
    begins: Vec<bool>,
}

enum Found {
    Nothing,
    /// A secret of this length.
    Whole(usize),
    /// What is there may be the beginning of a secret.
    Beginning,
}

impl Patterns {
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn with(&self, value: &[u8]) -> Self {
        let mut texts = self.texts.clone();
        let trimmed = value.strip_suffix(b"\n").unwrap_or(value);
        let lines = value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        for text in lines.chain([trimmed]) {
            let text = text.get(..MAX_MASKED).unwrap_or(text);
            let known = texts.iter().any(|old| old.as_slice() == text);
            // A line of blanks is no secret, and masking it would garble everything.
            if text.len() >= MIN_MASKED && !known && !text.iter().all(u8::is_ascii_whitespace) {
                texts.push(Arc::new(Zeroizing::new(text.to_vec())));
            }
        }
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let mut begins = vec![false; 256];
        for first in texts.iter().filter_map(|text| text.first()) {
            if let Some(begin) = begins.get_mut(usize::from(*first)) {
                *begin = true;
            }
        }
        Self { texts, begins }
    }

    /// What stands at the start of `rest`; `complete`: nothing follows it.
    fn at(&self, rest: &[u8], complete: bool) -> Found {
        let begins =
            rest.first().and_then(|first| self.begins.get(usize::from(*first))).copied().unwrap_or_default();
        if !begins {
            return Found::Nothing;
        }
        for text in &self.texts {
            if rest.starts_with(text) {
                return Found::Whole(text.len());
            }
            if !complete && text.starts_with(rest) {
                return Found::Beginning;
            }
        }
        Found::Nothing
    }
}

/// One stream of output. Holds back only bytes that may be the beginning of a secret.
#[derive(Default)]
pub(crate) struct MaskStream {
    held: Vec<u8>,
}

impl MaskStream {
    /// Output comes in; what may go out comes back.
    pub(crate) fn push(&mut self, patterns: &Patterns, bytes: Bytes) -> Bytes {
        if patterns.is_empty() && self.held.is_empty() {
            return bytes;
        }
        self.held.extend_from_slice(&bytes);
        self.release(patterns, false)
    }

    /// No more output comes: the rest.
    pub(crate) fn finish(&mut self, patterns: &Patterns) -> Bytes {
        self.release(patterns, true)
    }

    fn release(&mut self, patterns: &Patterns, complete: bool) -> Bytes {
        let input = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(input.len());
        let mut rest = input.as_slice();
        while let Some(first) = rest.first() {
            match patterns.at(rest, complete) {
                Found::Nothing => {
                    out.push(*first);
                    rest = rest.get(1..).unwrap_or_default();
                }
                Found::Whole(length) => {
                    out.extend_from_slice(MASK.as_bytes());
                    rest = rest.get(length..).unwrap_or_default();
                }
                Found::Beginning => break,
            }
        }
        self.held = rest.to_vec();
        out.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let secrets = Secrets::default();
        for value in values {
            secrets.add(value.as_bytes());
        }
        secrets
    }

    fn in_pieces(secrets: &Secrets, text: &str, sizes: &[usize]) -> String {
        let patterns = secrets.patterns();
        let mut stream = MaskStream::default();
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
            out.extend_from_slice(&stream.push(&patterns, Bytes::copy_from_slice(&rest[..size])));
            rest = &rest[size..];
        }
        out.extend_from_slice(&stream.finish(&patterns));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_and_their_lines_are_masked_but_nothing_shorter_than_three() {
        let secrets = secrets(&["hunter2", "first line\r\nab\nthird", "xy"]);
        assert_eq!(secrets.mask("pw=hunter2;"), "pw=******;");
        assert_eq!(secrets.mask("first line\nthird ab xy"), "******\n****** ab xy");
        assert_eq!(secrets.mask("first line\r\nab\nthird"), "******");
        assert_eq!(secrets.mask("hunter"), "hunter");
    }

    #[test]
    fn the_longest_secret_wins() {
        let secrets = secrets(&["abc", "abcdef"]);
        assert_eq!(secrets.mask("abcdef abcd"), "****** ******d");
        assert!(secrets.is_in("xxabcx") && !secrets.is_in("ab c"));
    }

    #[test]
    fn only_what_may_begin_a_secret_is_held_back() {
        let secrets = secrets(&["hunter2"]);
        let patterns = secrets.patterns();
        let mut stream = MaskStream::default();
        assert_eq!(&stream.push(&patterns, Bytes::from_static(b"prompt> hun"))[..], b"prompt> ");
        assert_eq!(&stream.push(&patterns, Bytes::from_static(b"dred\n"))[..], b"hundred\n");
    }

    proptest! {
        #[test]
        fn pieces_are_masked_as_the_whole(
            text in "[abn\n ]{0,60}",
            secret in "[ab\n]{3,6}",
            other in "[abn]{1,5}",
            sizes in proptest::collection::vec(1usize..7, 1..5),
        ) {
            let secrets = secrets(&[&secret, &other]);
            let whole = secrets.mask(&text);
            prop_assert_eq!(&in_pieces(&secrets, &text, &sizes), &whole);
            for line in secret.lines().filter(|line| line.len() >= MIN_MASKED) {
                prop_assert!(!whole.contains(line));
            }
        }
    }
}
