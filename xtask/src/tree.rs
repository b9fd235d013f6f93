//! Reading the repository's tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A Rust file: its path from the root, and its text.
pub struct RustFile {
    pub path: String,
    pub text: String,
}

/// The repository's root.
pub fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(Path::to_owned).context("xtask lies in no repository")
}

/// The folder that cargo builds into.
pub fn target() -> Result<PathBuf> {
    let root = root()?;
    Ok(std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), |target| root.join(target)))
}

/// All Rust files outside the target folder, by path.
pub fn rust_files(root: &Path) -> Result<Vec<RustFile>> {
    let mut files = Vec::new();
    for folder in ["benches", "crates", "src", "tests", "xtask", "fuzz"] {
        let folder = root.join(folder);
        if folder.exists() {
            walk(root, &folder, &mut files)?;
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<RustFile>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "corpus" {
            walk(root, &path, files)?;
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.push(RustFile { path, text });
        }
    }
    Ok(())
}
