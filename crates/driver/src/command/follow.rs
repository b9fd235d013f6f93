//! Follows a unit to its end over connections that may be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use manifold_model::{Failure, FailureClass, code};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    CommandSpec, Ended, OUTPUT_LIMIT, Piece, Program, STOP_LIMIT, Shell, Stream, VARIABLES_LIMIT, cancel,
};
use crate::Context;

/// First and longest pause before attaching again over a new connection.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Bytes of a report besides the output variables; more is not read.
const REPORT_LIMIT: usize = VARIABLES_LIMIT + 64 * 1024;

/// Why following stopped.
enum Stopped {
    /// The program has said everything.
    Report(Vec<u8>),
    /// The connection was lost.
    Lost(Failure),
    /// The task is no longer wanted.
    Cancelled,
    /// The deadline has passed.
    Deadline,
}

/// See [`super::run`].
pub(super) async fn run(
    shell: &dyn Shell,
    spec: &CommandSpec,
    context: &Context,
    deadline: Instant,
) -> Ended {
    let mut offset = 0;
    let mut asked = false;
    let mut pause = RECONNECT.0;
    loop {
        let program = Program::run(spec, offset);
        let before = offset;
        let lost = match once(shell, &program, spec, context, deadline, &mut offset, &mut asked).await {
            Stopped::Report(report) => match read_report(&report, &program.nonce, spec) {
                Some(ended) => return ended,
                None => unfinished(shell),
            },
            Stopped::Lost(failure) => failure,
            Stopped::Cancelled => return stop(shell, spec, context, asked, Ended::Cancelled).await,
            Stopped::Deadline => return stop(shell, spec, context, asked, Ended::TimedOut).await,
        };
        // Only a lost connection is worth another try, and only when the unit may have started: else the failure strategy decides.
        if !asked || lost.class != FailureClass::Connectivity {
            return Ended::Failed(lost);
        }
        if offset > before {
            pause = RECONNECT.0;
        }
        context.log.note(&spec.log_unit, &format!("{}; attaching again", lost.message)).await;
        tokio::select! {
            () = context.cancel.cancelled() => return stop(shell, spec, context, asked, Ended::Cancelled).await,
            () = tokio::time::sleep_until(deadline.min(Instant::now() + pause)) => {}
        }
        if Instant::now() >= deadline {
            return Ended::Failed(
                lost.hint("the command may still run on the host; look there before starting it again"),
            );
        }
        pause = (pause * 2).min(RECONNECT.1);
    }
}

/// One connection's worth of following.
async fn once(
    shell: &dyn Shell,
    program: &Program,
    spec: &CommandSpec,
    context: &Context,
    deadline: Instant,
    offset: &mut u64,
    asked: &mut bool,
) -> Stopped {
    let started = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Stopped::Cancelled,
        started = timeout_at(deadline, shell.start(program)) => started,
    };
    let mut stream = match started {
        Ok(Ok(stream)) => stream,
        Ok(Err(failure)) => return Stopped::Lost(failure),
        Err(_) => return Stopped::Deadline,
    };
    *asked = true;
    let stopped = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Stopped::Cancelled,
        () = tokio::time::sleep_until(deadline) => Stopped::Deadline,
        stopped = pump(stream.as_mut(), spec, context, offset) => stopped,
    };
    stream.close().await;
    stopped
}

/// Moves output to the log until the program ends.
async fn pump(stream: &mut dyn Stream, spec: &CommandSpec, context: &Context, offset: &mut u64) -> Stopped {
    let mut report = Vec::new();
    loop {
        match stream.next().await {
            Ok(Piece::Output(bytes)) => {
                *offset += bytes.len() as u64;
                // The host keeps to the limit; this is for one that does not. 8 KiB: the last words of a command that printed too much.
                if *offset <= OUTPUT_LIMIT + 8 * 1024 {
                    context.log.write(&spec.log_unit, bytes).await;
                }
            }
            Ok(Piece::Report(bytes)) if report.len() + bytes.len() <= REPORT_LIMIT => {
                report.extend_from_slice(&bytes);
            }
            Ok(Piece::Report(_)) => {}
            Ok(Piece::End) => return Stopped::Report(report),
            Err(failure) => return Stopped::Lost(failure),
        }
    }
}

fn unfinished(shell: &dyn Shell) -> Failure {
    Failure::new(
        FailureClass::Connectivity,
        code!("CONNECTION_LOST"),
        format!("the connection to {} ended before the command did", shell.place()),
    )
}

/// Stops the unit and says so in the log when that cannot be confirmed.
async fn stop(shell: &dyn Shell, spec: &CommandSpec, context: &Context, asked: bool, ended: Ended) -> Ended {
    if !asked {
        return ended;
    }
    let limit = spec.attempt.settings.grace + STOP_LIMIT;
    let stopped = timeout(limit, cancel(shell, &spec.attempt, &spec.unit)).await;
    let trouble = match stopped {
        Ok(Ok(())) => return ended,
        Ok(Err(failure)) => failure.message,
        Err(_) => format!("{} did not answer", shell.place()),
    };
    let line = format!("the command could not be stopped and may still run: {trouble}");
    tracing::warn!(unit = %spec.log_unit, "{line}");
    // The log may be what hangs.
    let _ = timeout(STOP_LIMIT, context.log.note(&spec.log_unit, &line)).await;
    ended
}

/// Reads the report of the run program; `None` when it is not there.
fn read_report(report: &[u8], nonce: &str, spec: &CommandSpec) -> Option<Ended> {
    let needle = format!("{nonce} ");
    let at = report.windows(needle.len()).position(|window| window == needle.as_bytes())?;
    let rest = report.get(at + needle.len()..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = String::from_utf8_lossy(rest.get(..end)?).into_owned();
    let variables = rest.get(end + 1..).unwrap_or_default();
    let (word, tail) = line.split_once(' ')?;
    match word {
        "end" => {
            let (code, full) = tail.split_once(' ')?;
            Some(match outputs(variables, spec) {
                Ok(outputs) => Ended::Exited { code: code.parse().ok()?, outputs, truncated: full == "full" },
                Err(failure) => Ended::Failed(failure),
            })
        }
        "gone" => {
            Some(Ended::Gone { seen: format!("the command began and is gone without an exit code ({tail})") })
        }
        "trouble" => {
            let (_, message) = tail.split_once(' ')?;
            Some(Ended::Failed(
                Failure::new(FailureClass::Application, code!("COMMAND_NOT_STARTED"), message)
                    .hint("nothing was run; the machine needs a POSIX shell, setsid or perl, and a writable attempts folder"),
            ))
        }
        _ => None,
    }
}

/// Reads output variables: each a `1` and its value, or a `0`, ended by NUL, in the order of the names.
fn outputs(bytes: &[u8], spec: &CommandSpec) -> Result<BTreeMap<String, String>, Failure> {
    if bytes.len() > VARIABLES_LIMIT {
        return Err(Failure::new(
            FailureClass::Application,
            code!("OUTPUTS_TOO_LARGE"),
            format!("the output variables have more than {VARIABLES_LIMIT} bytes together"),
        ));
    }
    let mut values = BTreeMap::new();
    for (name, value) in spec.outputs.iter().zip(bytes.split(|byte| *byte == 0)) {
        if let Some((b'1', value)) = value.split_first() {
            values.insert(name.clone(), String::from_utf8_lossy(value).into_owned());
        }
    }
    Ok(values)
}
