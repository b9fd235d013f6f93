//! Compiles the pages of `docs/errors` in, for `manifold explain`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let folder = root.join("../../docs/errors").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if let Some(code) = code_of(&path) {
            pages.push((code, path));
        }
    }
    pages.sort();
    let mut text =
        String::from("/// Code and page, sorted by code.\npub static PAGES: &[(&str, &str)] = &[\n");
    for (code, path) in &pages {
        writeln!(text, "    ({code:?}, include_str!({:?})),", path.display().to_string())?;
    }
    text.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("pages.rs"), text)?;
    Ok(())
}

/// The code that a file is the page of.
fn code_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let is_page = path.extension().is_some_and(|extension| extension == "md") && stem != "README";
    is_page.then(|| stem.to_owned())
}
