//! Why a step failed. Failure strategies choose by class (`behaviour.md` 7.1, D19).

use serde::{Deserialize, Serialize};

/// The class of a failure; printed as in a Workflow's `failureTypes`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub enum FailureClass {
    /// Error of the deployed thing or of the deployment itself.
    #[serde(rename = "APPLICATION_ERROR")]
    Application,
    /// The target or provider cannot be reached.
    #[serde(rename = "CONNECTIVITY")]
    Connectivity,
    /// Credentials or host key refused.
    #[serde(rename = "AUTHENTICATION")]
    Authentication,
    /// A verification step flagged the deployment.
    #[serde(rename = "VERIFICATION_FAILURE")]
    Verification,
    /// The step's deadline passed.
    #[serde(rename = "TIMEOUT_ERROR")]
    Timeout,
    /// No delegate took the task, or it died with it.
    #[serde(rename = "DELEGATE_ERROR")]
    Delegate,
}

impl FailureClass {
    /// The name in YAML, also printed to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "APPLICATION_ERROR",
            Self::Connectivity => "CONNECTIVITY",
            Self::Authentication => "AUTHENTICATION",
            Self::Verification => "VERIFICATION_FAILURE",
            Self::Timeout => "TIMEOUT_ERROR",
            Self::Delegate => "DELEGATE_ERROR",
        }
    }

    /// Reads a `failureTypes` item; `None` for a name nobody knows.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "APPLICATION_ERROR" => Self::Application,
            "CONNECTIVITY" | "CONNECTIVITY_ERROR" => Self::Connectivity,
            "AUTHENTICATION" | "AUTHENTICATION_ERROR" => Self::Authentication,
            "VERIFICATION_FAILURE" | "VERIFICATION_ERROR" => Self::Verification,
            "TIMEOUT_ERROR" | "TIMEOUT" | "EXPIRED" => Self::Timeout,
            "DELEGATE_ERROR" | "DELEGATE_PROVISIONING" | "DELEGATE_RESTART" => Self::Delegate,
            _ => return None,
        })
    }
}

/// One failure: class, stable code, what happened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Failure {
    /// Class, for failure strategies.
    pub class: FailureClass,
    /// Stable code (`docs/errors/`).
    pub code: crate::Code,
    /// One sentence; secrets masked.
    pub message: String,
    /// What to do, if anything is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(class: FailureClass, code: crate::Code, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
