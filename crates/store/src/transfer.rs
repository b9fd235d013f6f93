//! Whole stores: looked through ([`check()`]), copied from one home to the other ([`copy()`]), kept in one file and brought back
//! ([`backup()`], [`restore()`]). Everything goes table by table over one consistent image, in a form that both homes have.

mod archive;
mod check;
mod copy;
mod side;
mod tables;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use manifold_model::{Code, code};

use crate::{StoreError, postgres, sqlite};

pub use archive::{Archived, backup, restore};
pub use check::{Checked, Complaint, Found, check};
pub use copy::{Copied, copy};

/// File of the database in a data folder.
const DATABASE: &str = "manifold.db";
/// Folder of the step logs in a data folder.
const LOGS: &str = "logs";

/// Where a store is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A data folder: SQLite in `DIR/manifold.db`.
    Folder(PathBuf),
    /// A PostgreSQL database, `postgres://…`.
    Database(String),
}

impl Place {
    /// Reads `postgres://…`, `sqlite:DIR` or the path of a data folder.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Database(text.to_owned());
        }
        let folder = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        Self::Folder(PathBuf::from(folder))
    }
}

impl fmt::Display for Place {
    /// As a message says it: never with a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Database(url) => match url.split_once("://") {
                Some((scheme, rest)) => {
                    let shown = rest.rsplit_once('@').map_or(rest, |(_, shown)| shown);
                    write!(f, "{scheme}://{}", shown.split('?').next().unwrap_or_default())
                }
                None => f.write_str("the database"),
            },
        }
    }
}

/// Why a whole store cannot be looked through, copied, kept or brought back.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A data folder cannot be opened.
    #[error(transparent)]
    Folder(#[from] sqlite::OpenError),
    /// A PostgreSQL database cannot be opened.
    #[error(transparent)]
    Database(#[from] postgres::OpenError),
    /// There is no store.
    #[error("there is no store in {0}; name the server's --data folder or its --database-url")]
    Missing(String),
    /// Its schema is older than this Manifold.
    #[error(
        "the store has schema version {found}, this Manifold has {known}; start its server once, which brings the store up to date"
    )]
    Older {
        /// Version found.
        found: i64,
        /// Version of this Manifold.
        known: i64,
    },
    /// Servers run on it.
    #[error(
        "a server runs on it: node {node}; stop all servers first, or say --force when you know that it is gone"
    )]
    Served {
        /// One of them.
        node: String,
    },
    /// The target has something already.
    #[error("the target is not empty: {what}; choose an empty one")]
    NotEmpty {
        /// What it has.
        what: String,
    },
    /// What was copied is not what was read.
    #[error(
        "the copy differs in the table {table}; nothing was kept of it. Stop whatever writes to either side and copy again"
    )]
    Differs {
        /// First table that differs.
        table: &'static str,
    },
    /// The archive's file is there already.
    #[error("{} exists; a backup overwrites nothing", .0.display())]
    Exists(PathBuf),
    /// The archive is not whole.
    #[error("{} is no whole backup: {why}; nothing was restored. Take another backup", path.display())]
    Damaged {
        /// Archive.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The archive was written by a newer Manifold.
    #[error("{} was written by a newer Manifold ({program}); restore it with that one", path.display())]
    Newer {
        /// Archive.
        path: PathBuf,
        /// Version of the program that wrote it.
        program: String,
    },
    /// A file or folder cannot be used.
    #[error("{} cannot be used", path.display())]
    File {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        cause: io::Error,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Folder(error) => error.code(),
            Self::Database(error) => error.code(),
            Self::Missing(_) => code!("STORE_MISSING"),
            Self::Older { .. } => code!("STORE_OLDER"),
            Self::Served { .. } => code!("STORE_SERVED"),
            Self::NotEmpty { .. } => code!("STORE_NOT_EMPTY"),
            Self::Differs { .. } => code!("STORE_COPY_DIFFERS"),
            Self::Exists(_) => code!("BACKUP_EXISTS"),
            Self::Damaged { .. } => code!("BACKUP_DAMAGED"),
            Self::Newer { .. } => code!("BACKUP_NEWER"),
            Self::File { .. } | Self::Store(_) => code!("STORE_UNUSABLE"),
        }
    }
}

/// Result of an operation on a whole store.
pub type Result<T> = std::result::Result<T, TransferError>;

impl From<rusqlite::Error> for TransferError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<tokio_postgres::Error> for TransferError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Says which file or folder an I/O error is about.
fn file(path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |cause| TransferError::File { path, cause }
}

/// Runs work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Broken { action: "go on", cause: Box::new(error) })?
}
