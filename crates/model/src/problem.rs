//! What a user is told when something is refused or fails: a stable code, what, where, and what to do.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable code such as `INFRASTRUCTURE_UNKNOWN`. Each has a page `docs/errors/CODE.md`; write it with [`code!`](crate::code),
/// so that `cargo xtask tidy` finds it and checks that the page exists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Code(pub Cow<'static, str>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a stable error code; the only way to write one.
#[macro_export]
macro_rules! code {
    ($code:literal) => {
        $crate::Code(::std::borrow::Cow::Borrowed($code))
    };
}

/// Where in a file: line and column count from 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct Place {
    /// Path of the document, as in the configuration tree.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One complaint, refusal or warning.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Problem {
    /// Stable code.
    pub code: Code,
    /// What, in one sentence without a full stop.
    pub message: String,
    /// Which item exactly (a name of the request, a step, a host), when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Problem {
    /// A problem with a code and a message only.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), item: None, detail: None, hint: None, place: None }
    }

    /// Names the item.
    #[must_use]
    pub fn item(mut self, item: impl Into<String>) -> Self {
        self.item = Some(item.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds where.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.path, place.line, place.column)?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
