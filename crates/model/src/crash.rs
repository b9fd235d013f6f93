//! Named points at which a process can be made to die, for the shipped self-test (`manifold verify --crash`). In an ordinary run a point costs
//! one relaxed load of a flag that is false.
//!
//! With `MANIFOLD_CRASH_TEST=1` and `MANIFOLD_CRASH_AT=<point>[:<n>]` in the environment the process sends itself SIGKILL when it gets to that
//! point for the n-th time (the first one without a number). Before it dies it writes a line to the file named by `MANIFOLD_CRASH_LOG`, if there
//! is one. Points are those of [`Point`], and two for every kind of event: `before-append:<EVENT>` and `after-append:<EVENT>`.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::event::EventKind;

/// Says that the other variables hold.
pub const TEST: &str = "MANIFOLD_CRASH_TEST";
/// The point, and which time.
pub const AT: &str = "MANIFOLD_CRASH_AT";
/// The file that is told.
pub const LOG: &str = "MANIFOLD_CRASH_LOG";

/// Head of the names of points right before events are written.
const BEFORE: &str = "before-append:";
/// Head of the names of points right after events were written, when nobody knows of it yet.
const AFTER: &str = "after-append:";

macro_rules! points {
    ($($(#[doc = $what:literal])* $point:ident => $name:literal,)*) => {
        /// A point in the code. That each is reached somewhere is held by `cargo xtask tidy`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Point {
            $($(#[doc = $what])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$point),*];

            /// Its name, which stays.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }

            /// Where it is, for people.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Point::$point => concat!($($what),*).trim_ascii(),)*
                }
            }
        }
    };
}

points! {
    /// Server: it holds its lease, and nothing else has begun.
    ServerLeased => "server:leased",
    /// Server: what was unfinished has been given to the workers.
    UnfinishedWoken => "server:unfinished-woken",
    /// Server: its lease has been renewed.
    LeaseRenewed => "server:lease-renewed",
    /// Server: a connected delegate has its lease and does not know.
    DelegateLeased => "server:delegate-leased",
    /// Store: a group of writes is about to be committed.
    BeforeCommit => "store:before-commit",
    /// Store: a group of writes has been committed, and nobody has been told.
    AfterCommit => "store:after-commit",
    /// Server: waiting tasks are about to be claimed for a delegate.
    BeforeClaim => "task:before-claim",
    /// Server: waiting tasks have been claimed and not been handed over.
    AfterClaim => "task:after-claim",
    /// Server: a task that is leased to the delegate is about to be sent.
    BeforeHandOver => "task:before-sent",
    /// Server: a task has been sent.
    AfterHandOver => "task:after-sent",
    /// Server: an outcome came and was not looked at.
    OutcomeReceived => "outcome:received",
    /// Server: an outcome is about to be recorded.
    BeforeRecord => "outcome:before-recorded",
    /// Server: an outcome is recorded, and the delegate does not know.
    AfterRecord => "outcome:after-recorded",
    /// Server: an acknowledgement is about to be sent.
    BeforeAcknowledge => "outcome:before-acknowledged",
    /// Server: an acknowledgement has been sent.
    AfterAcknowledge => "outcome:after-acknowledged",
    /// Server: legs are written, and no worker knows of them.
    LegsWritten => "legs:written",
    /// Server: a request of a person is about to be put into an inbox.
    BeforeInbox => "inbox:before-sent",
    /// Server: a request of a person is in an inbox, and the person does not know.
    AfterInbox => "inbox:after-sent",
    /// Server: a timer is due and about to be fired.
    TimerDue => "timer:due",
    /// Server: a timer has been fired, and its execution was not woken.
    TimerFired => "timer:fired",
    /// Delegate: a task came and has no place yet.
    TaskReceived => "delegate:task-received",
    /// Delegate: it is about to look what became of a task that was handed out before.
    BeforeProbe => "delegate:before-probe",
    /// Delegate: it has looked and not acted.
    AfterProbe => "delegate:after-probe",
    /// Delegate: it is about to act.
    BeforeEffect => "delegate:before-effect",
    /// Delegate: it has acted, and the outcome is kept nowhere.
    AfterEffect => "delegate:after-effect",
    /// Delegate: the outcome is kept and not sent.
    OutcomeKept => "delegate:outcome-kept",
    /// Delegate: the outcome has been sent and not been acknowledged.
    OutcomeSent => "delegate:outcome-sent",
    /// Delegate: the acknowledgement came, and the outcome is kept still.
    Acknowledged => "delegate:acknowledged",
    /// Delegate: the outcome is forgotten.
    OutcomeForgotten => "delegate:outcome-forgotten",
    /// Delegate: a piece of a log has been sent.
    LogSent => "delegate:log-sent",
    /// Delegate: it was told to stop a task and has not begun to.
    CancelReceived => "delegate:cancel-received",
}

/// Names of all points: those of the code, then two for every kind of event.
#[must_use]
pub fn all() -> Vec<String> {
    let journal =
        EventKind::NAMES.iter().flat_map(|kind| [BEFORE, AFTER].map(|head| format!("{head}{kind}")));
    Point::ALL.iter().map(|point| point.name().to_owned()).chain(journal).collect()
}

/// The kind of event of a point at which events are written.
#[must_use]
pub fn event_of(point: &str) -> Option<&str> {
    point.strip_prefix(BEFORE).or_else(|| point.strip_prefix(AFTER))
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TRAP: OnceLock<Trap> = OnceLock::new();

/// Where this process dies.
struct Trap {
    point: String,
    /// Which time, from 1.
    nth: u64,
    seen: AtomicU64,
    log: Option<std::path::PathBuf>,
}

/// Reads the environment: from now on the process dies where that says. Without [`TEST`] nothing happens.
///
/// # Errors
/// No such point, or no number where one belongs; the text says so.
pub fn arm() -> Result<(), String> {
    if std::env::var_os(TEST).is_none_or(|test| test != "1") {
        return Ok(());
    }
    let Ok(at) = std::env::var(AT) else { return Ok(()) };
    let (point, nth) = parse(&at)?;
    let log = std::env::var_os(LOG).map(Into::into);
    if TRAP.set(Trap { point, nth, seen: AtomicU64::new(0), log }).is_ok() {
        ARMED.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// A point and which time, as [`AT`] names them.
fn parse(at: &str) -> Result<(String, u64), String> {
    let (point, nth) = match at.rsplit_once(':').map(|(point, nth)| (point, nth.parse::<u64>())) {
        Some((point, Ok(nth))) => (point, nth),
        _ => (at, 1),
    };
    if nth == 0 {
        return Err(format!("{AT}={at}: times are counted from 1"));
    }
    if !all().iter().any(|known| known == point) {
        return Err(format!("{AT}={at}: there is no such point; `manifold verify --list` prints them"));
    }
    Ok((point.to_owned(), nth))
}

/// The process has got to this point.
#[inline]
pub fn point(point: Point) {
    if ARMED.load(Ordering::Relaxed) {
        reached(point.name());
    }
}

/// The process is about to write these events in one transaction; what comes back is told when that is done.
#[inline]
pub fn journal<'e>(events: impl Iterator<Item = &'e EventKind>) -> Journal {
    if !ARMED.load(Ordering::Relaxed) {
        return Journal(Vec::new());
    }
    let mut kinds: Vec<&'static str> = events.map(EventKind::name).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.iter().for_each(|kind| reached(&format!("{BEFORE}{kind}")));
    Journal(kinds)
}

/// Kinds of events that are being written.
#[must_use = "say when they are written"]
pub struct Journal(Vec<&'static str>);

impl Journal {
    /// They are durable, and nobody knows.
    #[inline]
    pub fn written(self) {
        self.0.iter().for_each(|kind| reached(&format!("{AFTER}{kind}")));
    }
}

#[cold]
fn reached(point: &str) {
    let Some(trap) = TRAP.get().filter(|trap| trap.point == point) else { return };
    if trap.seen.fetch_add(1, Ordering::Relaxed) + 1 != trap.nth {
        return;
    }
    if let Some(log) = &trap.log
        && let Err(error) = note(log, &format!("{point} {}\n", trap.nth))
    {
        eprintln!("manifold: cannot write {}: {error}", log.display());
    }
    // As a power failure would: no destructor runs, nothing is flushed.
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    if let Err(error) = killed {
        eprintln!("manifold: cannot kill myself: {error}");
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}

fn note(log: &std::path::Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_different_and_understood() {
        let names = all();
        assert_eq!(names.len(), Point::ALL.len() + 2 * EventKind::NAMES.len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in &names {
            assert_eq!(parse(name).unwrap(), (name.clone(), 1));
            assert_eq!(parse(&format!("{name}:7")).unwrap(), (name.clone(), 7));
        }
        assert!(Point::ALL.iter().all(|point| !point.what().is_empty()));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for wrong in
            ["", "nowhere", "store:before-commit:0", "before-append:NOTHING", "store:before-commit:x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_that_are_not_armed_do_nothing() {
        Point::ALL.iter().for_each(|one| point(*one));
        let kinds = [EventKind::LockGranted {}];
        journal(kinds.iter()).written();
    }
}
