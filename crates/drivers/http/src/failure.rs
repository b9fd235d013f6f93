//! What goes wrong with a request, by class.

use std::error::Error;

use manifold_model::{Failure, FailureClass, code};

/// A request that cannot be made.
pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Application, code!("HTTP_REQUEST_INVALID"), message)
        .hint("correct the step's method, URL, headers or body")
}

/// A request whose peer could not be reached, or that broke off.
pub(crate) fn unreachable(error: &reqwest::Error, place: &str) -> Failure {
    let cause = innermost(error);
    if error.is_timeout() && !error.is_connect() {
        return Failure::new(
            FailureClass::Timeout,
            code!("HTTP_TIMED_OUT"),
            format!("{place} did not answer in time"),
        )
        .hint("raise the step's timeout, or see why the server is slow");
    }
    if error.is_builder() {
        return invalid(format!("the request to {place} cannot be made: {cause}"));
    }
    if error.is_connect() {
        return Failure::new(
            FailureClass::Connectivity,
            code!("HTTP_UNREACHABLE"),
            format!("{place} cannot be reached from the delegate: {cause}"),
        )
        .hint("check the name, the port, the network and, for https, the certificate and its authority");
    }
    Failure::new(
        FailureClass::Connectivity,
        code!("HTTP_CONNECTION_LOST"),
        format!("the connection to {place} ended before the answer was complete: {cause}"),
    )
    .hint("the server may or may not have acted on the request")
}

/// The step's timeout has passed.
pub(crate) fn timed_out(place: &str, timeout_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Timeout,
        code!("HTTP_TIMED_OUT"),
        format!("{place} did not answer within {timeout_ms} ms"),
    )
    .hint("raise the step's timeout, or see why the server is slow")
}

/// The assertion is false.
pub(crate) fn assertion(text: &str, status: u16) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("HTTP_ASSERTION_FAILED"),
        format!("the assertion {text} is false; the answer has status {status}"),
    )
    .hint("the head of the answer's body is in the step's log")
}

/// No assertion, and a status that says no.
pub(crate) fn status(status: u16) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("HTTP_STATUS"),
        format!("the answer has status {status}, and the step asserts nothing"),
    )
    .hint("give the step an assertion if this status is good")
}

/// More redirects than are followed.
pub(crate) fn redirects(limit: usize) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("HTTP_REDIRECTS"),
        format!("the server redirected more than {limit} times"),
    )
    .hint("give the step the URL that the redirects lead to")
}

/// The innermost cause, which names what happened; the outer ones repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
