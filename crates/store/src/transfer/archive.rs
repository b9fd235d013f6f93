//! A store in one file: a compressed archive of the database (always as SQLite, so that either home can take it), the step logs, and the sums of
//! both. The key that wraps secret keys is never in it, only its id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::copy::{copy, copy_from};
use super::side::{Side, Value};
use super::{Copied, DATABASE, LOGS, Place, Result, TransferError, blocking, file};
use crate::{StoreError, sqlite};

/// Version of the form.
const FORMAT: u32 = 1;
/// First entry: what the archive is.
const MANIFEST: &str = "manifest.json";
/// Last entry: SHA-256 of each entry before it.
const SUMS: &str = "sums.json";
/// Bytes of the first and the last entry at most; a million logs have their place in it.
const SMALL: u64 = 256 * 1024 * 1024;
/// zstd level: the logs in it are compressed already.
const LEVEL: i32 = 3;

/// What an archive holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Archived {
    /// Version of its form.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Id of the key that its secrets need; the key itself is kept apart.
    pub key_id: Option<String>,
    /// Account.
    pub account_id: Option<String>,
}

/// Writes a store and its logs into a file, while servers may run on it.
///
/// # Errors
/// The file exists or cannot be written, or the store cannot be read.
pub async fn backup(from: &Place, logs: Option<&Path>, to: &Path, program: &str) -> Result<Archived> {
    if to.exists() {
        return Err(TransferError::Exists(to.to_owned()));
    }
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let work = tempfile::Builder::new().prefix(".backup-").tempdir_in(&folder).map_err(file(&folder))?;
    let database = work.path().join(DATABASE);
    match from {
        Place::Folder(folder) => image(folder, &database).await?,
        Place::Database(_) => {
            // One image of the database: servers that run on it do no harm.
            copy(from, &Place::Folder(work.path().to_owned()), true, &mut |_| {}).await?;
        }
    }
    let archived = describe(work.path(), program).await?;
    let (written, to, logs) = (archived.clone(), to.to_owned(), logs.map(Path::to_owned));
    blocking(move || write(&written, &database, logs.as_deref(), &folder, &to)).await?;
    Ok(archived)
}

/// Writes a consistent image of a folder's database, whether a server runs on it or not.
async fn image(folder: &Path, to: &Path) -> Result<()> {
    let from = folder.join(DATABASE);
    if !from.is_file() {
        return Err(TransferError::Missing(folder.display().to_string()));
    }
    let name = to
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| StoreError::Broken { action: "back up", cause: "the path is not UTF-8".into() })?;
    blocking(move || {
        let db = sqlite::look(&from)?;
        db.execute("VACUUM INTO ?1", [&name])?;
        Ok(())
    })
    .await
}

async fn describe(folder: &Path, program: &str) -> Result<Archived> {
    let side = Side::take(&Place::Folder(folder.to_owned()), false).await?;
    let mut settings = BTreeMap::new();
    for name in ["key_id", "account_id"] {
        let sql = "SELECT value FROM settings WHERE name = $1";
        let found = side.rows(sql, &[Value::Text(name.to_owned())]).await?;
        settings.insert(name, found.first().and_then(|row| row.first()).map(|value| value.text().to_owned()));
    }
    side.commit().await?;
    Ok(Archived {
        format: FORMAT,
        program: program.to_owned(),
        key_id: settings.remove("key_id").flatten(),
        account_id: settings.remove("account_id").flatten(),
    })
}

fn write(archived: &Archived, database: &Path, logs: Option<&Path>, folder: &Path, to: &Path) -> Result<()> {
    let partial = tempfile::NamedTempFile::new_in(folder).map_err(file(folder))?;
    let fill = || -> io::Result<()> {
        let mut packed = zstd::Encoder::new(BufWriter::new(partial.as_file()), LEVEL)?;
        packed.include_checksum(true)?;
        let mut archive = tar::Builder::new(packed);
        let mut sums = BTreeMap::new();
        add_bytes(&mut archive, &mut sums, MANIFEST, &serde_json::to_vec(archived)?)?;
        add_file(&mut archive, &mut sums, DATABASE, database)?;
        if let Some(logs) = logs.filter(|logs| logs.is_dir()) {
            add_folder(&mut archive, &mut sums, LOGS, logs)?;
        }
        let last = serde_json::to_vec(&sums)?;
        add_bytes(&mut archive, &mut sums, SUMS, &last)?;
        archive.into_inner()?.finish()?.flush()
    };
    fill().and_then(|()| partial.as_file().sync_all()).map_err(file(to))?;
    match partial.persist_noclobber(to) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(TransferError::Exists(to.to_owned()))
        }
        Err(error) => Err(file(to)(error.error)),
    }
}

type Sums = BTreeMap<String, String>;

fn add_bytes<W: Write>(
    archive: &mut tar::Builder<W>,
    sums: &mut Sums,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    add(archive, sums, name, bytes.len() as u64, bytes)
}

/// Adds a file as long as it is now: a log may grow meanwhile.
fn add_file<W: Write>(
    archive: &mut tar::Builder<W>,
    sums: &mut Sums,
    name: &str,
    path: &Path,
) -> io::Result<()> {
    let opened = match File::open(path) {
        Ok(opened) => opened,
        // A log whose time was over.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name != DATABASE => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = opened.metadata()?.len();
    add(archive, sums, name, length, BufReader::new(opened).take(length))
}

fn add_folder<W: Write>(
    archive: &mut tar::Builder<W>,
    sums: &mut Sums,
    name: &str,
    path: &Path,
) -> io::Result<()> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Some(own) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let inner = format!("{name}/{own}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            add_folder(archive, sums, &inner, &entry.path())?;
        } else if kind.is_file() {
            add_file(archive, sums, &inner, &entry.path())?;
        }
    }
    Ok(())
}

fn add<W: Write>(
    archive: &mut tar::Builder<W>,
    sums: &mut Sums,
    name: &str,
    length: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    let mut summed = Summed { inner: content, sum: digest::Context::new(&digest::SHA256), read: 0 };
    archive.append_data(&mut header, name, &mut summed)?;
    if summed.read != length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} became shorter")));
    }
    sums.insert(name.to_owned(), hex(summed.sum.finish().as_ref()));
    Ok(())
}

/// Brings a store back into an empty data folder or database, and its logs into `logs`, if a folder is named. Nobody holds anything in it then;
/// tasks that delegates had go back to the queue.
///
/// # Errors
/// The archive is not whole or of a newer Manifold, or the target is not empty.
pub async fn restore(from: &Path, to: &Place, logs: Option<&Path>) -> Result<(Archived, Vec<Copied>)> {
    if let Some(logs) = logs
        && fs::read_dir(logs).is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(TransferError::NotEmpty { what: format!("there are logs in {}", logs.display()) });
    }
    let beside = match (to, logs.and_then(Path::parent)) {
        (Place::Folder(folder), _) => {
            if folder.join(DATABASE).exists() {
                let what = format!("there is a store in {}", folder.display());
                return Err(TransferError::NotEmpty { what });
            }
            folder.clone()
        }
        (Place::Database(_), Some(folder)) => folder.to_owned(),
        (Place::Database(_), None) => std::env::temp_dir(),
    };
    let (archive, above) = (from.to_owned(), beside.clone());
    let (work, archived) = blocking(move || {
        private_folder(&above).map_err(file(&above))?;
        let work = tempfile::Builder::new().prefix(".restore-").tempdir_in(&above).map_err(file(&above))?;
        let archived = unpack(&archive, work.path())?;
        Ok((work, archived))
    })
    .await?;
    let source = Side::take(&Place::Folder(work.path().to_owned()), false).await?;
    let copied = copy_from(&source, to, &mut |_| {}).await?;
    let unpacked = work.path().join(LOGS);
    if let Some(logs) = logs.filter(|_| unpacked.is_dir()) {
        // An empty folder of that name gives way.
        fs::rename(&unpacked, logs).map_err(file(logs))?;
    }
    Ok((archived, copied))
}

fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Unpacks an archive into a folder, and believes nothing before all sums are right.
fn unpack(path: &Path, into: &Path) -> Result<Archived> {
    let damaged = |why: String| TransferError::Damaged { path: path.to_owned(), why };
    let opened = File::open(path).map_err(file(path))?;
    let broken = |error: io::Error| damaged(error.to_string());
    let mut archive = tar::Archive::new(zstd::Decoder::new(opened).map_err(broken)?);
    let (mut sums, mut listed, mut archived) = (Sums::new(), None, None);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if listed.is_some() || !is_expected(&name) || !entry.header().entry_type().is_file() {
            return Err(damaged(format!("it has an unexpected entry {name}")));
        }
        let mut summed = Summed { inner: &mut entry, sum: digest::Context::new(&digest::SHA256), read: 0 };
        match name.as_str() {
            MANIFEST => archived = Some(manifest(&read_small(&mut summed).map_err(broken)?, path)?),
            SUMS => {
                let read = read_small(&mut summed).map_err(broken)?;
                listed = Some(serde_json::from_slice::<Sums>(&read).map_err(|e| damaged(e.to_string()))?);
                continue;
            }
            _ if archived.is_none() => return Err(damaged("it does not say what it is".to_owned())),
            _ => unpack_file(&mut summed, &into.join(&name)).map_err(broken)?,
        }
        sums.insert(name, hex(summed.sum.finish().as_ref()));
    }
    // Up to the end of the compressed stream, which has a sum of its own.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    let listed = listed.ok_or_else(|| damaged("it ends too early".to_owned()))?;
    if listed != sums || !sums.contains_key(DATABASE) {
        return Err(damaged("what is in it is not what was put in".to_owned()));
    }
    archived.ok_or_else(|| damaged("it does not say what it is".to_owned()))
}

fn manifest(bytes: &[u8], path: &Path) -> Result<Archived> {
    let archived: Archived = serde_json::from_slice(bytes)
        .map_err(|error| TransferError::Damaged { path: path.to_owned(), why: error.to_string() })?;
    if archived.format > FORMAT {
        return Err(TransferError::Newer { path: path.to_owned(), program: archived.program });
    }
    Ok(archived)
}

/// Whether an entry may be there: never outside the folder.
fn is_expected(name: &str) -> bool {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    inside && (matches!(name, MANIFEST | DATABASE | SUMS) || name.starts_with("logs/"))
}

fn read_small(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SMALL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unpack_file(from: &mut impl Read, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = to.parent() {
        private_folder(folder)?;
    }
    let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(from, &mut new)?;
    new.sync_all()
}

/// Sums up what is read through it.
struct Summed<R> {
    inner: R,
    sum: digest::Context,
    read: u64,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(buffer.get(..read).unwrap_or_default());
        self.read += read as u64;
        Ok(read)
    }
}

/// Hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
