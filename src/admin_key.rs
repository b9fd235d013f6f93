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

/// Makes sure that the key of this file is the administrator's; returns it.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub async fn ensure(control: &Control, path: &Path) -> Result<String> {
    let key = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key =
                manifold_secrets::api_key::random().context("make an API key")?.expose_secret().to_owned();
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                folder::private(folder).with_context(|| format!("make {}", folder.display()))?;
            }
            folder::private_file(path, format!("{key}\n").as_bytes())
                .with_context(|| format!("write {}", path.display()))?;
            key
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if key.len() < SHORTEST || key.contains(char::is_whitespace) {
        anyhow::bail!("{} holds no API key: at least {SHORTEST} characters without blanks", path.display());
    }
    control
        .add_api_key(KeyId::derived(&["api key", NAME]), NAME, &key)
        .await
        .context("write down the administrator's API key")?;
    Ok(key)
}
