//! Known-hosts files (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): patterns with wildcards and negation, hashed names, `[host]:port`, `@revoked`;
//! `@cert-authority` is refused clearly, for host certificates are not checked.

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use russh::keys::{HashAlg, PublicKey};

/// One line.
#[derive(Clone, PartialEq, Debug)]
struct Line {
    names: Names,
    marker: Marker,
    key: PublicKey,
    /// File and line number, for messages.
    place: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marker {
    None,
    Revoked,
    Authority,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Names {
    Patterns(Vec<String>),
    Hashed {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// A pinned key without names.
    Any,
}

/// Keys that are known.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
    fingerprints: Vec<String>,
}

/// What is known of a host's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the one.
    Trusted,
    /// Nothing is known of the host.
    Unknown,
    /// The host is known with other keys.
    Changed {
        /// Fingerprints of the keys known and where they stand.
        known: Vec<String>,
    },
    /// The key is revoked.
    Revoked {
        /// Where.
        place: String,
    },
    /// The host is known by a certificate authority only.
    Authority {
        /// Where.
        place: String,
    },
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {reason}")]
pub struct Unreadable {
    /// File and line.
    pub place: String,
    /// Why.
    pub reason: &'static str,
}

impl KnownHosts {
    /// Reads a file's text. Lines that cannot be read are given back: an unreadable line may be the one that revokes a key, so they must
    /// be shown, not passed over in silence.
    pub fn read(text: &str, file: &str) -> (Self, Vec<Unreadable>) {
        let (mut known, mut unreadable) = (Self::default(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match read_line(line, format!("{file}:{}", number + 1)) {
                Ok(line) => known.lines.push(line),
                Err(trouble) => unreadable.push(trouble),
            }
        }
        (known, unreadable)
    }

    /// Reads pinned keys: known-hosts lines, `type base64`, or `SHA256:…` fingerprints.
    pub fn pinned(keys: &[String]) -> Result<Self, Unreadable> {
        let mut known = Self::default();
        for (number, key) in keys.iter().enumerate() {
            let (key, place) = (key.trim(), format!("pinned key {}", number + 1));
            if key.starts_with("SHA256:") {
                known.fingerprints.push(key.trim_end_matches('=').to_owned());
            } else if let Some(key) = bare_key(key) {
                known.lines.push(Line { names: Names::Any, marker: Marker::None, key, place });
            } else {
                known.lines.push(read_line(key, place)?);
            }
        }
        Ok(known)
    }

    /// Adds what another knows.
    pub fn extend(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.fingerprints.extend(other.fingerprints);
    }

    /// Whether a host's key is to be trusted.
    #[must_use]
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let names = names_of(host, port);
        // A revoked key is refused whatever else is said of it, and for whichever name.
        let lines = || self.lines.iter().filter(|line| names.iter().any(|name| line.names.matches(name)));
        if let Some(line) = lines().find(|line| line.marker == Marker::Revoked && same(&line.key, key)) {
            return Verdict::Revoked { place: line.place.clone() };
        }
        let fingerprint = fingerprint(key);
        if self.fingerprints.contains(&fingerprint)
            || lines().any(|line| line.marker == Marker::None && same(&line.key, key))
        {
            return Verdict::Trusted;
        }
        let mut known: Vec<String> = lines()
            .filter(|line| line.marker == Marker::None)
            .map(|line| format!("{} ({})", self::fingerprint(&line.key), line.place))
            .collect();
        known.extend(self.fingerprints.iter().cloned());
        if !known.is_empty() {
            return Verdict::Changed { known };
        }
        match lines().find(|line| line.marker == Marker::Authority) {
            Some(line) => Verdict::Authority { place: line.place.clone() },
            None => Verdict::Unknown,
        }
    }

    /// Types of the keys known of a host (`ssh-ed25519`, …): a host that has several keys is asked for one that is known.
    #[must_use]
    pub fn key_types(&self, host: &str, port: u16) -> Vec<String> {
        let names = names_of(host, port);
        let lines = self.lines.iter().filter(|line| line.marker == Marker::None);
        lines
            .filter(|line| names.iter().any(|name| line.names.matches(name)))
            .map(|line| line.key.algorithm().as_str().to_owned())
            .collect()
    }
}

/// The names under which a host may stand: with its port when that is not 22, and without.
fn names_of(host: &str, port: u16) -> Vec<String> {
    let host = host.to_ascii_lowercase();
    if port == 22 { vec![host] } else { vec![format!("[{host}]:{port}"), host] }
}

fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

/// `SHA256:…`.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The line that makes a host known.
#[must_use]
pub fn line_of(host: &str, port: u16, key: &PublicKey) -> Option<String> {
    let name = names_of(host, port).into_iter().next()?;
    let key = key.to_openssh().ok()?;
    let mut words = key.split_ascii_whitespace();
    Some(format!("{name} {} {}\n", words.next()?, words.next()?))
}

fn bare_key(text: &str) -> Option<PublicKey> {
    let mut words = text.split_ascii_whitespace();
    let (kind, data) = (words.next()?, words.next()?);
    PublicKey::from_openssh(&format!("{kind} {data}")).ok()
}

fn read_line(line: &str, place: String) -> Result<Line, Unreadable> {
    let refuse = |reason| Unreadable { place: place.clone(), reason };
    let (marker, line) = match line.split_once(char::is_whitespace) {
        Some(("@revoked", rest)) => (Marker::Revoked, rest.trim_start()),
        Some(("@cert-authority", rest)) => (Marker::Authority, rest.trim_start()),
        _ if line.starts_with('@') => return Err(refuse("a marker that nobody knows")),
        _ => (Marker::None, line),
    };
    let (names, rest) = line.split_once(char::is_whitespace).ok_or_else(|| refuse("there is no key"))?;
    let key = bare_key(rest).ok_or_else(|| refuse("the key cannot be read"))?;
    let names = read_names(names).ok_or_else(|| refuse("the hashed name cannot be read"))?;
    Ok(Line { names, marker, key, place })
}

fn read_names(names: &str) -> Option<Names> {
    let Some(hashed) = names.strip_prefix("|1|") else {
        return Some(Names::Patterns(names.split(',').map(str::to_ascii_lowercase).collect()));
    };
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (BASE64.decode(salt.as_bytes()).ok()?, BASE64.decode(hash.as_bytes()).ok()?);
    Some(Names::Hashed { salt, hash })
}

impl Names {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Hashed { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, name.as_bytes(), hash).is_ok()
            }
            Self::Patterns(patterns) => {
                let negated = |pattern: &&String| pattern.strip_prefix('!').is_some_and(|p| glob(p, name));
                !patterns.iter().any(|pattern| negated(&pattern))
                    && patterns.iter().any(|pattern| !pattern.starts_with('!') && glob(pattern, name))
            }
        }
    }
}

/// `*` is any characters, `?` one. Linear in the product of the lengths at worst.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // The last star and where its match would go on.
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = text.get(seen) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((starred, from)) = star else { return false };
                star = Some((starred, from + 1));
                (at, seen) = (starred + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|character| *character == '*')
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("trusted"),
            Self::Unknown => f.write_str("the host is not known"),
            Self::Changed { known } => write!(f, "the host is known with {}", known.join(", ")),
            Self::Revoked { place } => write!(f, "the key is revoked at {place}"),
            Self::Authority { place } => {
                write!(
                    f,
                    "the host is known by a certificate authority only ({place}), and host certificates are not supported"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn check(text: &str, host: &str, port: u16) -> Verdict {
        let (known, unreadable) = KnownHosts::read(text, "f");
        assert_eq!(unreadable, []);
        known.check(host, port, &bare_key(ONE).unwrap())
    }

    #[test]
    fn the_file_format_of_openssh_is_understood() {
        assert_eq!(check(&format!("a,b {ONE} comment"), "B", 22), Verdict::Trusted);
        assert_eq!(check(&format!("a {ONE}"), "c", 22), Verdict::Unknown);
        assert_eq!(check(&format!("*.x,!b.x {ONE}"), "a.x", 22), Verdict::Trusted);
        assert_eq!(check(&format!("*.x,!b.x {ONE}"), "b.x", 22), Verdict::Unknown);
        assert_eq!(check(&format!("[a]:2222 {ONE}"), "a", 2222), Verdict::Trusted);
        assert_eq!(check(&format!("[a]:2222 {ONE}"), "a", 22), Verdict::Unknown);
        assert!(matches!(check(&format!("a {TWO}"), "a", 22), Verdict::Changed { .. }));
        assert_eq!(check(&format!("a {TWO}\na {ONE}"), "a", 22), Verdict::Trusted);
        let revoked = format!("a {ONE}\n@revoked * {ONE}");
        assert_eq!(check(&revoked, "a", 22), Verdict::Revoked { place: "f:2".into() });
        assert!(matches!(check(&format!("@cert-authority * {TWO}"), "a", 22), Verdict::Authority { .. }));
        // HMAC-SHA1 of the name with the salt.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"salt");
        let hash = BASE64.encode(hmac::sign(&key, b"a").as_ref());
        assert_eq!(check(&format!("|1|{}|{hash} {ONE}", BASE64.encode(b"salt")), "a", 22), Verdict::Trusted);
    }

    #[test]
    fn lines_that_cannot_be_read_are_told() {
        let (_, unreadable) =
            KnownHosts::read(&format!("a {ONE}\nb ssh-ed25519 AAAA\n@what c {ONE}\nd"), "f");
        let places: Vec<&str> = unreadable.iter().map(|trouble| trouble.place.as_str()).collect();
        assert_eq!(places, ["f:2", "f:3", "f:4"]);
    }

    #[test]
    fn pinned_keys_have_three_forms() {
        let key = bare_key(ONE).unwrap();
        for pin in [ONE.to_owned(), format!("host {ONE}"), fingerprint(&key)] {
            let known = KnownHosts::pinned(&[pin]).unwrap();
            assert_eq!(known.check("host", 22, &key), Verdict::Trusted);
            let other = known.check("host", 22, &bare_key(TWO).unwrap());
            assert!(matches!(other, Verdict::Changed { .. }));
        }
        assert!(KnownHosts::pinned(&["nonsense".to_owned()]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(?s).{0,300}") {
            let _ = KnownHosts::read(&text, "f");
            let _ = KnownHosts::pinned(&[text]);
        }

        #[test]
        fn a_known_host_is_trusted_whatever_else_stands_in_the_file(
            host in "[a-z0-9.-]{1,20}", port in 1u16.., noise in proptest::collection::vec("[a-z#|@ ]{0,30}", 0..5)
        ) {
            let key = bare_key(ONE).unwrap();
            let text = format!("{}\n{}", noise.join("\n"), line_of(&host, port, &key).unwrap());
            prop_assert_eq!(KnownHosts::read(&text, "f").0.check(&host, port, &key), Verdict::Trusted);
        }

        #[test]
        fn globs_agree_with_a_naive_reading(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn naive(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
                    (Some(b'?'), Some(_)) => naive(&pattern[1..], &text[1..]),
                    (Some(one), Some(other)) if one == other => naive(&pattern[1..], &text[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(glob(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
