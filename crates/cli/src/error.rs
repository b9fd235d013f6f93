//! Why a command did not do what it was asked.

use std::path::PathBuf;

use manifold_model::Problem;

use crate::client::ClientError;
use crate::exit;

/// Why a command did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no, or did not say anything.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The command line, the environment or the profile is wrong.
    #[error("{0}")]
    Usage(String),
    /// A file that the user named cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// Read, write, ….
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Refused before anything was sent.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Standard output cannot be written to.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl Error {
    /// Refused before anything was sent.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }

    /// Exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Usage(_) | Self::File { .. } => exit::USAGE,
            Self::Refused(_) => exit::REFUSED,
            // Whoever read our output has seen enough, as with `| head`.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => exit::FAILED,
        }
    }

    /// A name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Refused { .. }) | Self::Refused(_) => "REFUSED",
            Self::Client(ClientError::Unreachable { .. }) => "UNREACHABLE",
            Self::Client(ClientError::Misunderstood { .. }) => "BUG",
            Self::Usage(_) | Self::File { .. } => "USAGE",
            Self::Output(_) => "OUTPUT",
        }
    }

    /// Every refusal, for the kinds that have any.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Client(ClientError::Refused { problems }) => problems,
            Self::Refused(problem) => std::slice::from_ref(problem),
            _ => &[],
        }
    }
}
