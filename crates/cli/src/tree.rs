//! The configuration tree in folders: `Setup/…`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use manifold_model::import::{CONTENT_LIMIT, FILE_LIMIT, TOTAL_LIMIT};
use manifold_model::path::DocumentPath;
use manifold_model::{Problem, code};

use crate::error::Error;
use crate::print::say;

/// Name of the folder at the root of every tree.
pub const ROOT: &str = "Setup";
/// Folders in folders.
const DEPTH_LIMIT: usize = 32;
/// Passed-over entries that are named one by one.
const NAMED: usize = 10;

/// Files of a tree, by path from `Setup/` on.
pub type Files = Vec<(String, Vec<u8>)>;

/// What lies in a folder.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files by path from `Setup/` on, sorted.
    pub files: Files,
    /// What was passed over: hidden, a symbolic link, neither file nor folder. With the reason.
    pub passed_over: Vec<(PathBuf, &'static str)>,
}

/// Reads the tree below a folder: the parent of `Setup`, or `Setup` itself. Symbolic links are not followed and hidden files are not read but for
/// manifests, values and config files; both is said on standard error.
///
/// # Errors
/// When there is no tree, a file cannot be read, or it is larger than an import may be.
pub fn read(folder: &Path) -> Result<Files, Error> {
    let scan = scan(folder)?;
    say_passed_over(&scan);
    Ok(scan.files)
}

/// Says what was passed over.
pub fn say_passed_over(scan: &Scan) {
    for (path, why) in scan.passed_over.iter().take(NAMED) {
        say(&format!("passed over: {} ({why})", path.display()));
    }
    if let Some(more) = scan.passed_over.len().checked_sub(NAMED).filter(|more| *more > 0) {
        say(&format!("passed over: {more} more"));
    }
}

/// Reads the tree below a folder as [`read`] does, and gives what was passed over.
///
/// # Errors
/// As [`read`].
pub fn scan(folder: &Path) -> Result<Scan, Error> {
    let root = root_of(folder)?;
    let mut scan = Scan::default();
    let mut bytes = 0;
    walk(&root, ROOT, 0, &mut scan, &mut bytes)?;
    scan.files.sort();
    Ok(scan)
}

/// The folder `Setup` that is meant.
///
/// # Errors
/// When there is none.
pub fn root_of(folder: &Path) -> Result<PathBuf, Error> {
    let entry = fs::metadata(folder).map_err(|source| unreadable(folder, source))?;
    if !entry.is_dir() {
        return Err(Error::Usage(format!("{} is not a folder", folder.display())));
    }
    let inside = folder.join(ROOT);
    if inside.is_dir() {
        return Ok(inside);
    }
    let resolved = fs::canonicalize(folder).map_err(|source| unreadable(folder, source))?;
    if resolved.file_name().is_some_and(|name| name == ROOT) {
        return Ok(folder.to_owned());
    }
    let problem = Problem::new(code!("TREE_MISSING"), format!("{} holds no folder {ROOT}", folder.display()))
        .hint(format!("name the folder that holds {ROOT}, or {ROOT} itself"));
    Err(Error::refused(problem))
}

fn walk(folder: &Path, path: &str, depth: usize, scan: &mut Scan, bytes: &mut usize) -> Result<(), Error> {
    if depth > DEPTH_LIMIT {
        return Err(over(format!("{} lies more than {DEPTH_LIMIT} folders deep", folder.display())));
    }
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let at = entry.path();
        let kind = entry.file_type().map_err(|source| unreadable(&at, source))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::refused(
                Problem::new(code!("TREE_NAME"), format!("the name of {} is no UTF-8 text", at.display()))
                    .hint("rename it"),
            ));
        };
        let below = format!("{path}/{name}");
        if name.starts_with('.') && !(kind.is_file() && is_content(&name, &below)) {
            scan.passed_over.push((at, "hidden"));
        } else if kind.is_symlink() {
            scan.passed_over.push((at, "a symbolic link"));
        } else if kind.is_dir() {
            walk(&at, &below, depth + 1, scan, bytes)?;
        } else if kind.is_file() {
            take(&at, below, scan, bytes)?;
        } else {
            scan.passed_over.push((at, "neither file nor folder"));
        }
    }
    Ok(())
}

/// Whether a hidden file is part of the tree: one among the manifests (`.helmignore`), values or config files, unless tools left it there.
fn is_content(name: &str, path: &str) -> bool {
    !matches!(name, ".git" | ".DS_Store") && DocumentPath::parse(path).is_ok_and(|path| path.is_file())
}

fn take(at: &Path, path: String, scan: &mut Scan, bytes: &mut usize) -> Result<(), Error> {
    let size = fs::metadata(at).map_err(|source| unreadable(at, source))?.len();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > CONTENT_LIMIT {
        return Err(over(format!("{} has {size} bytes, a file may have {CONTENT_LIMIT}", at.display())));
    }
    let content = fs::read(at).map_err(|source| unreadable(at, source))?;
    *bytes = bytes.saturating_add(content.len());
    if *bytes > TOTAL_LIMIT {
        return Err(over(format!("the tree has more than {TOTAL_LIMIT} bytes")));
    }
    if scan.files.len() >= FILE_LIMIT {
        return Err(over(format!("the tree has more than {FILE_LIMIT} files")));
    }
    scan.files.push((path, content));
    Ok(())
}

fn over(message: String) -> Error {
    Error::refused(Problem::new(code!("TREE_LIMIT"), message).hint("import it in parts"))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::File { what: "read", path: path.to_owned(), source }
}

/// What came of writing a tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that are new or changed.
    pub written: usize,
    /// Files that were there, just so.
    pub unchanged: usize,
    /// Files below `Setup` that the tree does not have; they stay.
    pub strangers: Vec<String>,
}

/// Writes a tree below a folder, as `folder/Setup/…`. A file is replaced as a whole or not at all; files that the tree does not have stay.
///
/// # Errors
/// When a path would leave the folder, or a file cannot be written.
pub fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<Written, Error> {
    let mut done = Written::default();
    for (path, _) in files {
        check_path(path)?;
    }
    for (path, content) in files {
        let target = folder.join(path);
        if fs::read(&target).is_ok_and(|present| present == *content) {
            done.unchanged += 1;
            continue;
        }
        replace(&target, content).map_err(|source| Error::File { what: "write", path: target, source })?;
        done.written += 1;
    }
    if folder.join(ROOT).is_dir() {
        let known: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        let present = scan(folder)?.files;
        done.strangers =
            present.into_iter().map(|(path, _)| path).filter(|path| !known.contains(path.as_str())).collect();
    }
    Ok(done)
}

fn replace(target: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that what a broken-off export leaves behind is never read as part of the tree.
    let part = parent.join(format!(".{name}.part"));
    fs::write(&part, content)?;
    fs::rename(&part, target)
}

/// A path must stay below `Setup`.
fn check_path(path: &str) -> Result<(), Error> {
    let mut segments = path.split('/');
    let rooted = segments.next() == Some(ROOT);
    let mut rest = segments.peekable();
    let plain = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && !segment.contains(['\\', '\0'])
    };
    if rooted && rest.peek().is_some() && rest.all(plain) {
        return Ok(());
    }
    let problem = Problem::new(
        code!("TREE_PATH"),
        format!("the server names a file {path:?}, which lies outside of {ROOT}"),
    );
    Err(Error::refused(problem.hint("nothing was written; ask whoever runs the server")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("Setup/Applications/Shop");
        fs::create_dir_all(app.join(".git")).unwrap();
        fs::write(app.join("Index.yaml"), "type: APPLICATION\n").unwrap();
        fs::write(app.join(".git/config"), "x").unwrap();
        fs::write(app.join(".DS_Store"), "x").unwrap();
        let manifests = app.join("Services/web/Manifests/Files");
        fs::create_dir_all(&manifests).unwrap();
        for name in [".helmignore", ".git", ".DS_Store"] {
            fs::write(manifests.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", app.join("link.yaml")).unwrap();
        folder
    }

    #[test]
    fn a_tree_is_read_from_its_parent_and_from_itself() {
        let folder = tree();
        let scan = scan(folder.path()).unwrap();
        let paths: Vec<&str> = scan.files.iter().map(|(path, _)| path.as_str()).collect();
        let app = "Setup/Applications/Shop";
        let ignored = format!("{app}/Services/web/Manifests/Files/.helmignore");
        assert_eq!(paths, [&format!("{app}/Index.yaml"), &ignored]);
        let mut why: Vec<&str> = scan.passed_over.iter().map(|(_, why)| *why).collect();
        why.sort_unstable();
        assert_eq!(why, ["a symbolic link", "hidden", "hidden", "hidden", "hidden"]);
        assert_eq!(super::scan(&folder.path().join("Setup")).unwrap().files, scan.files);
    }

    #[test]
    fn a_folder_without_a_tree_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(scan(folder.path()).unwrap_err().exit_code(), 3);
        assert_eq!(scan(&folder.path().join("absent")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![
            ("Setup/Defaults.yaml".to_owned(), b"a".to_vec()),
            ("Setup/x/y.yaml".to_owned(), b"b".to_vec()),
        ];
        assert_eq!(write(folder.path(), &files).unwrap(), Written { written: 2, ..Written::default() });
        assert_eq!(scan(folder.path()).unwrap().files, files);
        let again = write(folder.path(), &files[..1]).unwrap();
        assert_eq!(again, Written { written: 0, unchanged: 1, strangers: vec!["Setup/x/y.yaml".to_owned()] });
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["/etc/x", "Setup/../../x", "Setup", "Setup/", "other/x", "Setup/a\\b"] {
            let files = vec![("Setup/a".to_owned(), Vec::new()), (path.to_owned(), Vec::new())];
            assert!(write(folder.path(), &files).is_err(), "{path}");
        }
        assert!(!folder.path().join("Setup").exists());
    }
}
