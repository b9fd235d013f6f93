//! Opening the database: one process a folder, no newer schema, no damage.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use manifold_model::{Code, code};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::prepare_connection;

refinery::embed_migrations!("migrations/sqlite");

/// `PRAGMA application_id` of a Manifold store: "MFLD".
const APPLICATION: i32 = 0x4D46_4C44;
/// Databases up to this many pages (64 MiB) are looked through for damage at every start; larger ones by [`SqliteStore::check`](super::SqliteStore::check) alone, so that
/// a restart stays quick (P7).
const CHECKED_PAGES: i64 = 16_384;

/// Memory in which the writer keeps pages; it grows only with what is used.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// Pages (64 MiB) of the write-ahead log at which the writer itself moves them into the database, should the chore be late.
const LOG_PAGES: i64 = 16_384;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process; stop it, or choose another --data folder", .0.display())]
    Locked(PathBuf),
    /// Written by a newer Manifold.
    #[error(
        "{} has schema version {found}, this Manifold knows up to {known}; run the newer Manifold again, or restore a backup made before the upgrade",
        path.display()
    )]
    Newer {
        /// Database.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Damaged, or no database of Manifold at all.
    #[error("{} is damaged or no Manifold store: {found}; restore a backup", path.display())]
    Damaged {
        /// Database.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The file or folder cannot be used.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread that opened it was stopped.
    #[error("opening the store was interrupted")]
    Stopped(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl OpenError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Locked(_) => code!("STORE_LOCKED"),
            Self::Newer { .. } => code!("STORE_NEWER"),
            Self::Damaged { .. } => code!("STORE_DAMAGED"),
            Self::Unusable { .. } | Self::Stopped(_) => code!("STORE_UNUSABLE"),
        }
    }
}

/// The exclusive lock on the folder; let go when dropped, and by the system when the process dies.
pub(crate) struct FolderLock(#[expect(dead_code, reason = "held, never read")] File);

/// Opens the database for writing, its schema up to date.
pub(crate) fn open(path: &Path) -> Result<(FolderLock, Connection), OpenError> {
    let lock = lock_folder(path.parent().unwrap_or(Path::new(".")))?;
    let unusable =
        |error: rusqlite::Error| OpenError::Unusable { path: path.to_owned(), cause: Box::new(error) };
    let mut db = Connection::open(path).map_err(unusable)?;
    refuse_strangers(&db, path)?;
    prepare_connection(&db).map_err(unusable)?;
    db.pragma_update(None, "journal_mode", "WAL").map_err(unusable)?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(unusable)?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(unusable)?;
    migrations::runner()
        .run(&mut db)
        .map_err(|error| OpenError::Unusable { path: path.to_owned(), cause: Box::new(error) })?;
    db.pragma_update(None, "application_id", APPLICATION).map_err(unusable)?;
    private(path)?;
    Ok((lock, db))
}

/// Opens a new database in memory, its schema up to date.
pub(super) fn in_memory() -> Result<Connection, OpenError> {
    let unusable = |cause: Box<dyn std::error::Error + Send + Sync>| OpenError::Unusable {
        path: PathBuf::from(":memory:"),
        cause,
    };
    let mut db = Connection::open_in_memory().map_err(|error| unusable(Box::new(error)))?;
    prepare_connection(&db).map_err(|error| unusable(Box::new(error)))?;
    migrations::runner().run(&mut db).map_err(|error| unusable(Box::new(error)))?;
    Ok(db)
}

/// Opens a database that a server may have open, to read from; nothing about it is changed.
pub(crate) fn look(path: &Path) -> Result<Connection, OpenError> {
    let unusable =
        |error: rusqlite::Error| OpenError::Unusable { path: path.to_owned(), cause: Box::new(error) };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(unusable)?;
    prepare_connection(&db).map_err(unusable)?;
    refuse_strangers(&db, path)?;
    Ok(db)
}

/// The newest schema version known.
pub(crate) fn newest_schema() -> i64 {
    migrations::runner()
        .get_migrations()
        .iter()
        .map(|step| i64::from(step.version()))
        .max()
        .unwrap_or_default()
}

fn lock_folder(folder: &Path) -> Result<FolderLock, OpenError> {
    let unusable = |error| OpenError::Unusable { path: folder.to_owned(), cause: Box::new(error) };
    fs::create_dir_all(folder).map_err(unusable)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// The database holds sealed secrets and hashes of keys: for its owner alone.
pub(crate) fn private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| OpenError::Unusable { path: path.to_owned(), cause: Box::new(error) })
}

/// Refuses databases of other programs, of a newer Manifold, and damaged ones, before anything is written to them.
fn refuse_strangers(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let damaged =
        |error: rusqlite::Error| OpenError::Damaged { path: path.to_owned(), found: error.to_string() };
    let found = |what: &str| OpenError::Damaged { path: path.to_owned(), found: what.to_owned() };
    let pragma = |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(damaged)?;
    if tables == 0 {
        return Ok(());
    }
    let known_table: Option<i64> = db
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'", [], |row| row.get(0))
        .optional()
        .map_err(damaged)?;
    let application = pragma("application_id").map_err(damaged)?;
    // A first start that was killed has the table but not yet the mark.
    if known_table.is_none() || (application != i64::from(APPLICATION) && application != 0) {
        return Err(found("it has the tables of another program"));
    }
    let version: Option<i64> = db
        .query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
        .map_err(damaged)?;
    let known = newest_schema();
    if let Some(version) = version
        && version > known
    {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    if pragma("page_count").map_err(damaged)? <= CHECKED_PAGES {
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(damaged)?;
        if verdict != "ok" {
            return Err(found(&verdict));
        }
    }
    Ok(())
}
