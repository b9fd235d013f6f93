//! What a use case says when it does nothing.

use manifold_model::{Code, Problem, code};
use manifold_store::StoreError;

/// Most problems spelled out in one message; all of them are in [`Error::problems`].
const SPELLED_OUT: usize = 5;

/// Why a use case did nothing. Whatever the variant, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be done as it stands; every reason at once.
    #[error("{}", sentence(problems))]
    Refused {
        /// The reasons, at least one.
        problems: Vec<Problem>,
    },
    /// What was named is not there. The phrase is one that clients match (`wire.md` 1.5).
    #[error("{phrase}")]
    NotFound {
        /// The phrase.
        phrase: String,
    },
    /// Somebody else changed the same thing first.
    #[error("{message}")]
    Conflict {
        /// What changed.
        message: String,
    },
    /// It cannot be done now, but maybe later.
    #[error("{}", problem.message)]
    Unavailable {
        /// What is missing.
        problem: Box<Problem>,
    },
    /// The caller is not who they say.
    #[error("Token is not valid.")]
    InvalidToken,
    /// The store failed; the cause is logged, not told.
    #[error("the store cannot do that now")]
    Store(#[source] StoreError),
}

/// Result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// One reason.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        Self::Refused { problems: vec![problem] }
    }

    /// Not there.
    #[must_use]
    pub fn not_found(phrase: impl Into<String>) -> Self {
        Self::NotFound { phrase: phrase.into() }
    }

    /// Not now.
    #[must_use]
    pub fn unavailable(problem: Problem) -> Self {
        Self::Unavailable { problem: Box::new(problem) }
    }

    /// The stable code of the whole: of the first problem when refused.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { problems } => {
                problems.first().map_or(code!("REQUEST_REFUSED"), |problem| problem.code.clone())
            }
            Self::NotFound { .. } => code!("NOT_FOUND"),
            Self::Conflict { .. } => code!("CONFLICT"),
            Self::Unavailable { problem } => problem.code.clone(),
            Self::InvalidToken => code!("INVALID_TOKEN"),
            Self::Store(_) => code!("STORE_UNAVAILABLE"),
        }
    }

    /// Everything that is to be told, at least one.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused { problems } if !problems.is_empty() => problems.clone(),
            Self::Unavailable { problem } => vec![(**problem).clone()],
            other => vec![Problem::new(other.code(), other.to_string())],
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing(what) => Self::not_found(format!("{what} does not exist")),
            StoreError::Exists(what) => Self::refused(
                Problem::new(code!("NAME_TAKEN"), format!("{what} exists already"))
                    .hint("choose another name, or change the one that exists"),
            ),
            StoreError::Used { what, by } => Self::refused(
                Problem::new(code!("CONSTRAINT_USED"), format!("{what} is in use by {by}"))
                    .hint("wait until it has ended, or abort it"),
            ),
            StoreError::Conflict { .. } => Self::Conflict {
                message: "somebody else changed this at the same time; read it again and repeat".to_owned(),
            },
            broken @ (StoreError::Fenced { .. } | StoreError::Broken { .. }) => {
                tracing::error!(error = %broken, cause = ?std::error::Error::source(&broken), "the store failed");
                Self::Store(broken)
            }
        }
    }
}

/// What the first problems say, in one line.
fn sentence(problems: &[Problem]) -> String {
    let mut said: Vec<String> = problems
        .iter()
        .take(SPELLED_OUT)
        .map(|problem| {
            let mut text = problem.message.clone();
            if let Some(item) = problem.item.as_ref().filter(|item| !text.contains(item.as_str())) {
                text = format!("{text}: {item}");
            }
            match &problem.detail {
                Some(detail) => format!("{text} ({detail})"),
                None => text,
            }
        })
        .collect();
    if problems.len() > SPELLED_OUT {
        said.push(format!("and {} more", problems.len() - SPELLED_OUT));
    }
    said.join("; ")
}
