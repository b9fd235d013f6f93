//! What the targets say that happened to them: one append-only file each, written by the commands themselves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use manifold_model::kind::Class;

/// Where the ledgers of one run are; gates that its scripts wait at lie beside them.
#[derive(Clone)]
pub struct Ledger(PathBuf);

/// One effect: step, infrastructure, target, and the attempt where the target knows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Effect {
    /// Step.
    pub step: String,
    /// Infrastructure.
    pub infrastructure: String,
    /// Host, `delegate`, or `pages`.
    pub target: String,
    /// Attempt; empty for requests.
    pub attempt: String,
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.step, self.infrastructure, self.target)?;
        if self.attempt.is_empty() { Ok(()) } else { write!(f, " attempt {}", self.attempt) }
    }
}

impl Effect {
    /// What may be done again by itself with a step of this name after a crash.
    pub fn class(&self) -> Class {
        match self.step.as_str() {
            "get" => Class::Idempotent,
            "post" => Class::Unsafe,
            _ => Class::Probeable,
        }
    }
}

/// Effects with how often each happened.
pub type Effects = BTreeMap<Effect, u32>;

impl Ledger {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Everything that happened.
    ///
    /// # Errors
    /// A file cannot be read, or has a line that is no effect.
    pub fn read(&self) -> Result<Effects> {
        let mut effects = Effects::new();
        for entry in std::fs::read_dir(&self.0).context("read the ledgers")? {
            let path = entry.context("read the ledgers")?.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            // A line without an end is being written.
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                let effect = parse(line).with_context(|| format!("{}: {line:?}", path.display()))?;
                *effects.entry(effect).or_default() += 1;
            }
        }
        Ok(effects)
    }

    /// Whether a step had an effect somewhere.
    pub fn has(&self, step: &str) -> bool {
        self.read().is_ok_and(|effects| effects.keys().any(|effect| effect.step == step))
    }

    /// Writes the effect of a request.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&self, step: &str, infrastructure: &str) -> std::io::Result<()> {
        let path = self.0.join("pages.log");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(format!("{step} {infrastructure} pages -\n").as_bytes())
    }

    /// Opens a gate.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open_gate(&self, gate: &str) -> Result<()> {
        std::fs::write(self.0.join(format!("{gate}.gate")), "").context("open a gate")
    }
}

/// `step infrastructure target attempt-folder`; an attempt folder is `<task>-<attempt>`.
fn parse(line: &str) -> Result<Effect> {
    let mut words = line.split(' ').map(str::to_owned);
    let mut next = || words.next().context("no effect");
    let (step, infrastructure, target, folder) = (next()?, next()?, next()?, next()?);
    let attempt = folder.rsplit_once('-').map(|(_, attempt)| attempt.to_owned()).unwrap_or_default();
    Ok(Effect { step, infrastructure, target, attempt })
}

/// How a run differs from the undisturbed one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Difference {
    /// Effects that are missing.
    pub lost: Vec<Effect>,
    /// Effects of steps that must not be repeated unasked that happened too often or should not have happened.
    pub doubled: Vec<Effect>,
    /// Effects of idempotent steps that happened again, which they may.
    pub repeated: Vec<Effect>,
}

/// Compares a run with the undisturbed one.
pub fn difference(wanted: &Effects, got: &Effects) -> Difference {
    let mut difference = Difference::default();
    for (effect, times) in wanted {
        let had = got.get(effect).copied().unwrap_or(0);
        let missing = times.saturating_sub(had);
        difference.lost.extend((0..missing).map(|_| effect.clone()));
    }
    for (effect, times) in got {
        let more = times.saturating_sub(wanted.get(effect).copied().unwrap_or(0));
        let list = if effect.class() == Class::Idempotent {
            &mut difference.repeated
        } else {
            &mut difference.doubled
        };
        list.extend((0..more).map(|_| effect.clone()));
    }
    difference
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn effects(lines: &[&str]) -> Effects {
        let mut effects = Effects::new();
        for line in lines {
            *effects.entry(parse(line).unwrap()).or_default() += 1;
        }
        effects
    }

    #[test]
    fn what_is_lost_and_what_is_doubled_is_told_apart() {
        let wanted =
            effects(&["install eu h abc-1", "install eu h abc-2", "get eu pages -", "post eu pages -"]);
        assert_eq!(difference(&wanted, &wanted), Difference::default());
        let got = effects(&[
            "install eu h xyz-1",
            "install eu h xyz-1",
            "get eu pages -",
            "get eu pages -",
            "post eu pages -",
            "undo eu h k-1",
        ]);
        let found = difference(&wanted, &got);
        let texts = |list: &[Effect]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&found.lost), ["install eu h attempt 2"]);
        assert_eq!(texts(&found.doubled), ["install eu h attempt 1", "undo eu h attempt 1"]);
        assert_eq!(texts(&found.repeated), ["get eu pages"]);
    }

    #[test]
    fn a_ledger_is_read_without_its_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::make(folder.path().join("l")).unwrap();
        ledger.note("post", "ask").unwrap();
        std::fs::write(ledger.folder().join("h.log"), "install eu h abc-1\ninstall eu").unwrap();
        ledger.open_gate("hold").unwrap();
        assert_eq!(ledger.read().unwrap().len(), 2);
        assert!(ledger.has("post") && !ledger.has("get"));
    }
}
