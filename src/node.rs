//! The name under which a server joins those that share its store. It stays the same over restarts, so that a restarted server fences its
//! predecessor at once.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use manifold_model::EntityId;

use crate::folder;

/// Longest node id, characters.
const LONGEST: usize = 64;

/// The node id: as it was given, else that of `DIR/node`, which is made when absent, of `known` if there is one.
///
/// # Errors
/// It has another form, or the file cannot be read or made.
pub fn ensure(given: Option<&str>, folder: &Path, known: Option<String>) -> Result<String> {
    if let Some(given) = given {
        return checked(given).context("--node is refused");
    }
    let path = folder.join("node");
    match std::fs::read_to_string(&path) {
        Ok(text) => checked(&text).with_context(|| format!("{} is refused", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let node = known.unwrap_or_else(|| EntityId::random().to_string());
            folder::private_file(&path, format!("{node}\n").as_bytes())
                .with_context(|| format!("write {}", path.display()))?;
            Ok(node)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn checked(text: &str) -> Result<String> {
    let node = text.trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if node.is_empty() || node.len() > LONGEST || !node.chars().all(plain) {
        anyhow::bail!("a node id has 1 to {LONGEST} letters, digits, dots, dashes and underscores");
    }
    Ok(node.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let first = ensure(None, folder.path(), None).unwrap();
        assert_eq!(ensure(None, folder.path(), Some("other".to_owned())).unwrap(), first);
        assert_eq!(ensure(Some("west-1"), folder.path(), None).unwrap(), "west-1");
        assert!(ensure(Some("two words"), folder.path(), None).is_err());
        let other = tempfile::tempdir().unwrap();
        assert_eq!(ensure(None, other.path(), Some("known".to_owned())).unwrap(), "known");
        std::fs::write(other.path().join("node"), "").unwrap();
        assert!(ensure(None, other.path(), None).is_err());
    }
}
