//! The administrator's API key: taken from its file, or made and written there; never printed in a log.

use std::path::Path;

use anyhow::{Context, Result};
use manifold_control::Control;
use manifold_model::KeyId;
use manifold_secrets::ExposeSecret;

use crate::folder;

/// Name of the key record.
const NAME: &str = "administrator";
/// Shortest key that is taken from a file, characters.
const SHORTEST: usize = 16;

/// Makes sure that the key of this file is an administrator's; returns it. Servers that share a store each have a file, and a record per `node`
/// unless the store knows the key already; alone, a server has the one record, and a new file replaces its key.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub async fn ensure(control: &Control, path: &Path, node: Option<&str>) -> Result<String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        folder::private(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    if !path.exists() {
        let key = manifold_secrets::api_key::random().context("make an API key")?;
        folder::private_file_once(path, format!("{}\n", key.expose_secret()).as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
    }
    let key = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let key = key.trim().to_owned();
    if key.len() < SHORTEST || key.contains(char::is_whitespace) {
        anyhow::bail!("{} holds no API key: at least {SHORTEST} characters without blanks", path.display());
    }
    let id = match node {
        Some(_) if control.authenticate(&key).await.is_ok() => return Ok(key),
        Some(node) => KeyId::derived(&["api key", NAME, node]),
        None => KeyId::derived(&["api key", NAME]),
    };
    control.add_api_key(id, NAME, &key).await.context("write down the administrator's API key")?;
    Ok(key)
}
