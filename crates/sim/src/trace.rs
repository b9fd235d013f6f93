//! What happened in a run: a hash over all of it, the last lines for people, faults by kind, and the first broken promise.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::SimClock;

/// Lines kept for people.
pub(crate) const KEPT: usize = 50;
/// FNV-1a, 64 bits.
const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// The trace of a run.
pub(crate) struct Trace {
    clock: Arc<SimClock>,
    /// Whether each line is printed as it comes.
    loud: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hash: u64,
    lines: u64,
    last: VecDeque<String>,
    faults: BTreeMap<&'static str, u64>,
    violation: Option<Violation>,
}

/// What is left of a trace when its run has ended.
pub(crate) struct Told {
    pub(crate) hash: u64,
    pub(crate) lines: u64,
    pub(crate) last: Vec<String>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) violation: Option<Violation>,
}

impl Trace {
    pub(crate) fn new(clock: Arc<SimClock>, loud: bool) -> Self {
        Self { clock, loud, state: Mutex::new(State { hash: BASIS, ..State::default() }) }
    }

    /// Adds a line.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {what}", self.clock.elapsed().as_secs_f64());
        if self.loud {
            println!("{line}");
        }
        let mut state = self.state();
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        state.lines += 1;
        if state.last.len() >= KEPT {
            state.last.pop_front();
        }
        state.last.push_back(line);
    }

    /// Counts a fault.
    pub(crate) fn fault(&self, kind: &'static str) {
        *self.state().faults.entry(kind).or_default() += 1;
    }

    /// A promise was broken; the first one counts.
    pub(crate) fn broken(&self, invariant: &'static str, detail: String) {
        self.note(format_args!("BROKEN {invariant}: {detail}"));
        self.state().violation.get_or_insert(Violation { invariant, detail });
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.state().violation.is_some()
    }

    pub(crate) fn told(&self) -> Told {
        let state = self.state();
        Told {
            hash: state.hash,
            lines: state.lines,
            last: state.last.iter().cloned().collect(),
            faults: state.faults.clone(),
            violation: state.violation.clone(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a line to the trace of a run.
macro_rules! note {
    ($sim:expr, $($what:tt)*) => { $sim.trace.note(format_args!($($what)*)) };
}
pub(crate) use note;
