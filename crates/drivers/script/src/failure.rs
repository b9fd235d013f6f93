//! What goes wrong with a script, by class.

use manifold_model::{Failure, FailureClass, code};

/// The script ended with another exit code than 0.
pub(crate) fn exited(code: i32) -> Failure {
    let how = match code {
        126 => " (not executable)",
        127 => " (command not found)",
        137 => " (killed, perhaps because memory ran out)",
        143 => " (terminated)",
        _ => "",
    };
    Failure::new(
        FailureClass::Application,
        code!("SCRIPT_FAILED"),
        format!("the script ended with exit code {code}{how}"),
    )
    .hint("its output is in the step's log")
}

/// The step's deadline has passed; the script was stopped.
pub(crate) fn timed_out(timeout_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Timeout,
        code!("SCRIPT_TIMED_OUT"),
        format!("the script did not end within {timeout_ms} ms and was stopped"),
    )
    .hint("raise the step's timeout, or see in its log what it waited for")
}

/// A language that is not run here.
pub(crate) fn language(language: &str) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("SCRIPT_LANGUAGE_UNSUPPORTED"),
        format!("the delegate cannot run {language} scripts: it has a POSIX shell, and bash where installed"),
    )
    .hint("write the script for BASH")
}

/// A script for a host.
pub(crate) fn not_here(host: &str) -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("SCRIPT_NOT_FOR_DELEGATE"),
        format!("the script is for host {host}, but was sent to run on the delegate itself"),
    )
    .hint("this is a bug of Manifold: report it with the step's properties")
}

/// An output variable that is too large.
pub(crate) fn output_too_large(name: &str, size: usize, limit: usize) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("SCRIPT_OUTPUT_TOO_LARGE"),
        format!("the output variable {name} has {size} bytes; at most {limit} are kept"),
    )
    .hint("write large output to a file and publish its path")
}
