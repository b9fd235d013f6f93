//! Uploads: one file of a multipart body, and zip archives that may be bombs.

use std::io::{Cursor, Read};

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use manifold_control::import::Incoming;
use manifold_control::model::{Problem, code};

/// Bytes of an uploaded archive.
pub const ARCHIVE_BYTES: usize = 100 << 20;
/// Files in an archive.
const ENTRIES: usize = 50_000;
/// Bytes of one file, unpacked.
const FILE_BYTES: u64 = 16 << 20;
/// Bytes of all files, unpacked.
const TOTAL_BYTES: u64 = 256 << 20;
/// How many times larger a file may become; text shrinks to a tenth, a bomb to a thousandth.
const RATIO: u64 = 200;
/// Files smaller than this may have any ratio: a file of one letter repeated is no bomb.
const SMALL: u64 = 1 << 20;

/// A part of a multipart body by its name; `None` when it is not there.
///
/// # Errors
/// When the body is no multipart body.
pub async fn part(request: Request, names: &[&str]) -> Result<Option<Bytes>, Problem> {
    let mut parts = Multipart::from_request(request, &()).await.map_err(|error| {
        Problem::new(code!("REQUEST_UNREADABLE"), format!("the multipart body cannot be read: {error}"))
    })?;
    while let Some(part) = parts.next_field().await.map_err(unreadable)? {
        if part.name().is_some_and(|name| names.contains(&name)) {
            return Ok(Some(part.bytes().await.map_err(unreadable)?));
        }
    }
    Ok(None)
}

fn unreadable(error: MultipartError) -> Problem {
    Problem::new(
        code!("REQUEST_UNREADABLE"),
        format!("the multipart body cannot be read: {}", error.body_text()),
    )
}

/// The files of an archive.
///
/// # Errors
/// When it is no zip archive, or larger than the limits allow.
pub fn unzip(bytes: &[u8]) -> Result<Vec<Incoming>, Problem> {
    let broken = |error: &dyn std::fmt::Display| {
        Problem::new(code!("ARCHIVE_UNREADABLE"), format!("the zip archive cannot be read: {error}"))
    };
    let large = |what: String| Problem::new(code!("ARCHIVE_TOO_LARGE"), what).hint("upload it in parts");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.len() > ENTRIES {
        return Err(large(format!("the archive has {} files, at most {ENTRIES} are taken", archive.len())));
    }
    let mut files = Vec::new();
    let mut total = 0_u64;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| broken(&error))?;
        if entry.is_dir() {
            continue;
        }
        let path = entry.name().map_err(|error| broken(&error))?.replace('\\', "/");
        let packed = entry.compressed_size();
        // What the archive says of its sizes is not believed: reading stops at the limit.
        let allowed = FILE_BYTES.min(TOTAL_BYTES - total).min(packed.saturating_mul(RATIO).max(SMALL));
        let mut content = Vec::new();
        entry.take(allowed + 1).read_to_end(&mut content).map_err(|error| broken(&error))?;
        if content.len() as u64 > allowed {
            return Err(large(format!("{path} unpacks to more than the archive may hold")).item(path));
        }
        total += content.len() as u64;
        files.push(Incoming { path, bytes: content });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use std::io::Write;

    use super::*;

    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let files = unzip(&archive(&[("Setup/a.yaml", b"x".to_vec())])).unwrap();
        assert_eq!(files, [Incoming { path: "Setup/a.yaml".into(), bytes: b"x".to_vec() }]);
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = archive(&[("Setup/a", vec![0; 15 << 20])]);
        assert!(bomb.len() < 100_000);
        assert_eq!(unzip(&bomb).unwrap_err().code.0, "ARCHIVE_TOO_LARGE");
        assert_eq!(unzip(b"PK no").unwrap_err().code.0, "ARCHIVE_UNREADABLE");
    }
}
