//! Whether a process or a wire lets anything through: it runs, it stands still, or it is gone.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Shut,
    Gone,
}

/// A gate. Everything that a simulated process does to the world passes its gate.
pub(crate) struct Gate {
    state: Mutex<State>,
    // Not a watch channel: that one wakes its waiters in an order of chance.
    changed: Notify,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Self { state: Mutex::new(State::Open), changed: Notify::new() }
    }

    /// Waits until it is open; for ever when it is gone.
    pub(crate) async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            match self.state() {
                State::Open => return,
                State::Shut => changed.await,
                State::Gone => std::future::pending().await,
            }
        }
    }

    /// Lets nothing through until [`Gate::reopen`].
    pub(crate) fn shut(&self) {
        self.set(State::Shut);
    }

    /// Lets everything through again.
    pub(crate) fn reopen(&self) {
        self.set(State::Open);
    }

    /// Never lets anything through again.
    pub(crate) fn go(&self) {
        self.set(State::Gone);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state() == State::Open
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state() == State::Gone
    }

    fn set(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Gone {
            *state = to;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
