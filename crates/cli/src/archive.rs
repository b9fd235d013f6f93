//! Configuration trees as zip archives, as the API takes and gives them.

use std::io::{Cursor, Read, Write};

use manifold_model::import::{CONTENT_LIMIT, FILE_LIMIT, TOTAL_LIMIT};
use manifold_model::{Problem, code};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::error::Error;
use crate::tree::Files;

/// Packs a tree.
///
/// # Errors
/// When a path cannot be a name in an archive.
pub fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (path, content) in files {
        archive.start_file(path.as_str(), options).map_err(|error| broken(&error))?;
        archive.write_all(content).map_err(|error| broken(&error))?;
    }
    Ok(archive.finish().map_err(|error| broken(&error))?.into_inner())
}

/// Unpacks a tree; bounded, whatever the archive claims.
///
/// # Errors
/// When it is no archive, or one that is larger than a tree may be.
pub fn unpack(bytes: Vec<u8>) -> Result<Files, Error> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.len() > FILE_LIMIT {
        return Err(broken(&format!("it has more than {FILE_LIMIT} files")));
    }
    let mut files = Files::new();
    let mut total = 0_usize;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|error| broken(&error))?;
        if file.is_dir() {
            continue;
        }
        let path = file.name().map_err(|error| broken(&error))?.to_string();
        let mut content = Vec::new();
        let most = CONTENT_LIMIT as u64 + 1;
        file.by_ref().take(most).read_to_end(&mut content).map_err(|error| broken(&error))?;
        total = total.saturating_add(content.len());
        if content.len() > CONTENT_LIMIT || total > TOTAL_LIMIT {
            return Err(broken(&format!(
                "it is larger than {TOTAL_LIMIT} bytes, or {path} than {CONTENT_LIMIT}"
            )));
        }
        files.push((path, content));
    }
    files.sort();
    Ok(files)
}

fn broken(cause: &impl ToString) -> Error {
    let problem = Problem::new(code!("TREE_ARCHIVE"), "the archive of the configuration tree cannot be used");
    Error::refused(problem.detail(cause.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let files = vec![
            ("Setup/Applications/Shop/Index.yaml".to_owned(), b"type: APPLICATION\n".to_vec()),
            ("Setup/Defaults.yaml".to_owned(), Vec::new()),
        ];
        assert_eq!(unpack(pack(&files).unwrap()).unwrap(), files);
        assert!(unpack(b"no archive".to_vec()).is_err());
    }
}
