//! What a proxy is told.

use std::time::Duration;

/// What is done with a request, instead of passing it on and its answer back.
#[derive(Debug, Clone)]
pub enum Act {
    /// Not passed on: answered with this status and a `Status` object, as an API server does.
    Answer {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Not passed on: answered with something that no API server says.
    Say {
        /// HTTP status.
        status: u16,
        /// Media type.
        content_type: &'static str,
        /// The body.
        body: &'static str,
    },
    /// Passed on after this time.
    Delay(Duration),
    /// Not passed on and never answered.
    Hang,
    /// Not passed on: the connection ends without an answer.
    Cut,
    /// Passed on and done, but the connection ends without an answer.
    LoseAnswer,
    /// Passed on; the connection ends after so many bytes of the answer's body.
    CutAfter(usize),
    /// Passed on; the answer, a watch, ends properly after this time.
    EndAfter(Duration),
}

/// Which requests, how often, and what is done.
#[derive(Debug, Clone)]
pub struct Rule {
    method: Option<String>,
    path: String,
    left: Option<usize>,
    act: Act,
}

impl Rule {
    /// For all requests, always.
    #[must_use]
    pub fn new(act: Act) -> Self {
        Self { method: None, path: String::new(), left: None, act }
    }

    /// Only of this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only those whose path and query contain this (`/deployments/shop`, `watch=`).
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = part.to_owned();
        self
    }

    /// Only the first so many.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    /// What is done with a request, if this rule is for it; counts it.
    pub(super) fn take(&mut self, method: &str, path: &str) -> Option<Act> {
        let fits = self.method.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(method))
            && path.contains(&self.path);
        if !fits || self.left == Some(0) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.act.clone())
    }
}
