//! Names that say nothing, and files that nobody declares.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::RustFile;

/// Names that a file, folder or module may not have: they say nothing about what is inside.
const BANNED: [&str; 6] = ["utils", "util", "helpers", "common", "manager", "misc"];

/// Complaints about banned names and dead files.
pub fn check(root: &Path, files: &[RustFile]) -> Vec<String> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut complaints = Vec::new();
    for file in files {
        let words = file.path.trim_end_matches(".rs").split('/');
        for word in words.filter(|word| BANNED.contains(word)) {
            complaints.push(format!("{}: the name {word:?} says nothing", file.path));
        }
        if is_dead(root, file, files, &paths) {
            complaints.push(format!("{}: no `mod` declares it", file.path));
        }
    }
    complaints
}

/// Whether a module file below `src` is declared nowhere.
fn is_dead(root: &Path, file: &RustFile, files: &[RustFile], paths: &BTreeSet<&str>) -> bool {
    let Some((folder, name)) = file.path.rsplit_once('/') else { return false };
    let stem = name.trim_end_matches(".rs");
    let in_source = folder.ends_with("/src") || folder == "src" || folder.contains("src/");
    if !in_source
        || matches!(stem, "lib" | "main")
        || folder.ends_with("/bin")
        || !root.join(&file.path).exists()
    {
        return false;
    }
    let parents = if stem == "mod" { parents_of(folder) } else { parents_in(folder) };
    let module = if stem == "mod" { folder.rsplit('/').next().unwrap_or_default() } else { stem };
    !parents
        .iter()
        .filter(|parent| paths.contains(parent.as_str()))
        .any(|parent| files.iter().any(|other| other.path == *parent && declares(&other.text, module)))
}

/// Files that may declare the modules of a folder.
fn parents_in(folder: &str) -> Vec<String> {
    vec![
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
        format!("{folder}/mod.rs"),
        format!("{folder}.rs"),
    ]
}

/// Files that may declare a folder as a module.
fn parents_of(folder: &str) -> Vec<String> {
    folder.rsplit_once('/').map(|(above, _)| parents_in(above)).unwrap_or_default()
}

fn declares(text: &str, module: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        line.strip_suffix(';')
            .and_then(|line| line.rsplit_once("mod "))
            .is_some_and(|(before, name)| name == module && !before.starts_with("//"))
    })
}
