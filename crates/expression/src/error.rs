//! Why an expression has no value, and where.

use std::ops::Range;

use manifold_model::{Code, Problem, code};

/// An expression that could not be evaluated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// Bytes of the given text that the message is about.
    pub span: Range<usize>,
    /// What, in one sentence without a full stop.
    pub message: String,
    /// Stable code.
    pub code: Code,
    /// What to do.
    pub hint: Option<String>,
    pub(crate) class: Class,
}

/// Sorts of errors. The mode of rendering decides by them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Not JEXL; perhaps the shell's.
    Syntax,
    /// A reference that has no value here.
    Unresolved,
    /// All values known, but the operation is not possible with them.
    Failed,
    /// A regular expression that is not accepted.
    Pattern,
    /// A limit.
    Limit,
    /// A value that leads to itself.
    Loop,
    /// A secret where only text may stand.
    Secret,
    /// Only the delegate can know.
    Late,
    /// A condition that is neither true nor false.
    NotBoolean,
}

impl Class {
    fn code(self) -> Code {
        match self {
            Self::Syntax => code!("EXPRESSION_SYNTAX"),
            Self::Unresolved => code!("EXPRESSION_UNRESOLVED"),
            Self::Failed => code!("EXPRESSION_FAILED"),
            Self::Pattern => code!("EXPRESSION_PATTERN"),
            Self::Limit => code!("EXPRESSION_LIMIT"),
            Self::Loop => code!("EXPRESSION_LOOP"),
            Self::Secret => code!("EXPRESSION_SECRET"),
            Self::Late => code!("EXPRESSION_LATE"),
            Self::NotBoolean => code!("EXPRESSION_NOT_BOOLEAN"),
        }
    }

    /// Whether a script or a manifest keeps the span as text (`behaviour.md` 12.1) instead of failing.
    pub(crate) fn stays_text(self) -> bool {
        matches!(self, Self::Syntax | Self::Unresolved | Self::Failed | Self::NotBoolean)
    }
}

impl ExpressionError {
    pub(crate) fn new(class: Class, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), code: class.code(), hint: None, class }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error about other bytes: the surrounding text's instead of the expression's.
    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = span;
        self
    }

    pub(crate) fn moved(mut self, by: usize) -> Self {
        self.span = self.span.start.saturating_add(by)..self.span.end.saturating_add(by);
        self
    }

    /// Whether the only obstacle is a value that only the delegate has; such a text can be [captured](crate::capture).
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.class == Class::Late
    }

    /// The problem, quoting the place in the text that was evaluated.
    #[must_use]
    pub fn problem(&self, text: &str) -> Problem {
        let problem = Problem::from(self.clone());
        match text.get(self.span.clone()).map(str::trim) {
            Some(quoted) if !quoted.is_empty() => {
                let short: String = quoted.chars().take(120).collect();
                let dots = if short.len() < quoted.len() { "…" } else { "" };
                problem.detail(format!("`{short}{dots}` at character {}", column(text, self.span.start)))
            }
            _ => problem,
        }
    }
}

/// Position in characters, from 1.
fn column(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(1, |before| before.chars().count() + 1)
}

impl From<ExpressionError> for Problem {
    fn from(error: ExpressionError) -> Self {
        let problem = Problem::new(error.code, error.message);
        match error.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
