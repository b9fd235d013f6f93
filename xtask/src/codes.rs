//! Every stable code has a page, and every page a code.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::tree::RustFile;

const MACRO: &str = "code!(\"";

/// Complaints about codes without a page and pages without a code.
pub fn check(root: &Path, files: &[RustFile]) -> Result<Vec<String>> {
    let used: BTreeSet<&str> = files.iter().flat_map(|file| codes(&file.text)).collect();
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("docs/errors")).context("read docs/errors")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(code) = name.strip_suffix(".md").filter(|code| *code != "README") {
            pages.insert(code.to_owned());
        }
    }
    let missing = used
        .iter()
        .filter(|code| !pages.contains(**code))
        .map(|code| format!("the code {code} has no page docs/errors/{code}.md"));
    let unused = pages
        .iter()
        .filter(|page| !used.contains(page.as_str()))
        .map(|page| format!("docs/errors/{page}.md: no code {page} is in the source"));
    Ok(missing.chain(unused).collect())
}

/// Codes written with the macro; lines of documentation and the macro's own examples do not count.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(MACRO).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|code| {
            !code.is_empty() && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
}
