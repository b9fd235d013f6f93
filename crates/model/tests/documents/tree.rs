//! Trees for tests: the fixture `shop`, and trees made from text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use manifold_model::assemble::{Row, build_catalog};
use manifold_model::catalog::Catalog;
use manifold_model::import::{ImportCheck, SourceFile};
use manifold_model::{EntityId, Problem};

/// The files of the fixture by path.
pub fn shop() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop");
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort();
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

pub fn tree(files: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

pub fn sources(files: &[(String, Vec<u8>)]) -> Vec<SourceFile<'_>> {
    files.iter().map(|(path, bytes)| SourceFile { path, bytes }).collect()
}

/// A catalog of a tree; each id is `id:` and the path.
pub fn catalog(files: &[(String, Vec<u8>)]) -> (Arc<Catalog>, Vec<Problem>) {
    build_catalog("acc", 1, rows(files, 1))
}

pub fn rows(files: &[(String, Vec<u8>)], revision: u64) -> Vec<Row<'_>> {
    files
        .iter()
        .map(|(path, body)| Row {
            id: id(path),
            path,
            is_file: path.ends_with(".properties")
                || path.ends_with("/values.yaml")
                || path.contains("/Manifests/Files/"),
            body,
            revision,
        })
        .collect()
}

pub fn id(path: &str) -> EntityId {
    EntityId::from(format!("id:{path}"))
}

/// Codes with path and line, sorted, as tests compare them.
pub fn told(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| match &problem.place {
            Some(place) => format!("{} {}:{}", problem.code, place.path, place.line),
            None => problem.code.to_string(),
        })
        .collect()
}

#[track_caller]
pub fn clean(check: &ImportCheck) {
    assert!(
        check.errors.is_empty() && check.warnings.is_empty(),
        "{:#?}\n{:#?}",
        check.errors,
        check.warnings
    );
    assert!(check.missing_parents.is_empty(), "{:#?}", check.missing_parents);
}
