//! The longest files and functions, for a reader to judge.

use std::path::Path;

use crate::tree::RustFile;

const SHOWN: usize = 8;

/// Prints them.
pub fn print(_root: &Path, files: &[RustFile]) {
    let mut lengths: Vec<(usize, &str)> =
        files.iter().map(|file| (file.text.lines().count(), file.path.as_str())).collect();
    lengths.sort_unstable_by(|one, other| other.cmp(one));
    println!("longest files:");
    lengths.iter().take(SHOWN).for_each(|(lines, path)| println!("  {lines:5} {path}"));
    let mut functions: Vec<(usize, String)> = files.iter().flat_map(functions).collect();
    functions.sort_unstable_by(|one, other| other.cmp(one));
    println!("longest functions:");
    functions.iter().take(SHOWN).for_each(|(lines, name)| println!("  {lines:5} {name}"));
}

/// Functions with their length: from the line with `fn` to the closing brace at the same indentation, as rustfmt leaves it.
fn functions(file: &RustFile) -> Vec<(usize, String)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines.iter().skip(start).position(|line| *line == closing) {
            found.push((length + 1, format!("{} {name}", file.path)));
        }
    }
    found
}

fn name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = ["pub", "async", "const", "pub(crate)", "pub(super)", "unsafe", "extern"];
    if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
        return None;
    }
    after.split(['(', '<']).next()
}
