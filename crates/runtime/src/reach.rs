//! Which delegates reached which targets lately (`behaviour.md` 19): whoever did is preferred, whoever failed to is asked last. A memory of this
//! server alone; losing it costs nothing but a worse choice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use manifold_model::{DelegateId, Millis};

/// How long a success is remembered, milliseconds.
const REACHED_MS: Millis = 6 * 60 * 60 * 1000;
/// How long a failure bars or sets back, milliseconds.
pub const MISSED_MS: Millis = 5 * 60 * 1000;
/// Pairs of delegate and target that are remembered; beyond it the memory starts anew.
const REMEMBERED: usize = 20_000;

/// How much a delegate is preferred for a target: less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    /// It reached it.
    Reached,
    /// Nothing is known.
    Untried,
    /// It did not reach it.
    Missed,
}

/// What is remembered.
#[derive(Default)]
pub struct Reach(Mutex<HashMap<(DelegateId, String), (Rank, Millis)>>);

impl Reach {
    /// Takes note of how it went.
    pub fn note(&self, delegate: &DelegateId, target: String, reached: bool, now: Millis) {
        let known = if reached { (Rank::Reached, now + REACHED_MS) } else { (Rank::Missed, now + MISSED_MS) };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert((delegate.clone(), target), known);
    }

    /// How much a delegate is preferred.
    pub fn rank(&self, delegate: &DelegateId, target: &str, now: Millis) -> Rank {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&(delegate.clone(), target.to_owned())) {
            Some((rank, until)) if *until > now => *rank,
            _ => Rank::Untried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_are_remembered_for_hours_and_failures_for_minutes() {
        let reach = Reach::default();
        let (a, b) = (DelegateId::from("a"), DelegateId::from("b"));
        reach.note(&a, "web".to_owned(), true, 0);
        reach.note(&b, "web".to_owned(), false, 0);
        let ranks = |now| (reach.rank(&a, "web", now), reach.rank(&b, "web", now));
        assert_eq!(ranks(1), (Rank::Reached, Rank::Missed));
        assert_eq!(ranks(MISSED_MS), (Rank::Reached, Rank::Untried));
        assert_eq!(ranks(REACHED_MS), (Rank::Untried, Rank::Untried));
        assert_eq!(reach.rank(&a, "db", 1), Rank::Untried);
        assert!(Rank::Reached < Rank::Untried && Rank::Untried < Rank::Missed);
    }
}
