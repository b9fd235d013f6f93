//! What all trials brought, for people and as a file. What follows from the seed stands apart from what differs from run to run.

use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::Effect;
use super::points::{OUT_OF_REACH, Try};
use super::trial::Found;

/// All that was found.
pub struct Report<'a> {
    /// The seed.
    pub seed: u64,
    /// Where the stores were.
    pub home: &'a str,
    /// How many points the code has.
    pub points: usize,
    /// Effects of the undisturbed runs together.
    pub effects: usize,
    /// Trials with what they found, in the order of the seed.
    pub trials: &'a [(Try, Found)],
}

/// Sums of all trials.
pub struct Sums {
    /// Points tried.
    pub tried: usize,
    /// Points that were reached.
    pub reached: usize,
    /// Effects lost.
    pub lost: usize,
    /// Effects doubled.
    pub doubled: usize,
    /// Effects of idempotent steps that happened again.
    pub repeated: usize,
    /// Questions about unsafe steps.
    pub asked: usize,
    /// Trials that are not well.
    pub bad: usize,
}

impl Report<'_> {
    /// Sums.
    pub fn sums(&self) -> Sums {
        let sum = |count: fn(&Found) -> usize| self.trials.iter().map(|(_, found)| count(found)).sum();
        Sums {
            tried: self.trials.len(),
            reached: sum(|found| usize::from(found.reached)),
            lost: sum(|found| found.difference.lost.len()),
            doubled: sum(|found| found.difference.doubled.len()),
            repeated: sum(|found| found.difference.repeated.len()),
            asked: sum(|found| found.asked),
            bad: sum(|found| usize::from(!found.is_well())),
        }
    }

    /// Median and worst time from a restart to the first new event.
    pub fn resumed(&self) -> Option<(Duration, Duration)> {
        let mut times: Vec<Duration> = self.trials.iter().filter_map(|(_, found)| found.resumed_in).collect();
        times.sort_unstable();
        Some((times.get(times.len() / 2).copied()?, times.last().copied()?))
    }

    /// The file.
    pub fn file(&self) -> Value {
        let sums = self.sums();
        let resumed = self.resumed();
        json!({
            "seed": self.seed,
            "store": self.home,
            "points": self.points,
            "outOfReach": OUT_OF_REACH.iter().map(|(point, why)| json!({ "point": point, "why": why })).collect::<Vec<_>>(),
            "effects": self.effects,
            "tried": sums.tried, "reached": sums.reached, "lost": sums.lost, "doubled": sums.doubled,
            "trials": self.trials.iter().map(|(trial, found)| fixed(trial, found)).collect::<Vec<_>>(),
            // Differs from run to run, on purpose in a part of its own.
            "observed": {
                "repeated": sums.repeated, "asked": sums.asked,
                "resumedMedianMs": resumed.map(|(median, _)| millis(median)),
                "resumedWorstMs": resumed.map(|(_, worst)| millis(worst)),
                "trials": self.trials.iter().map(|(trial, found)| observed(trial, found)).collect::<Vec<_>>(),
            },
        })
    }
}

fn fixed(trial: &Try, found: &Found) -> Value {
    let ends: Vec<Value> = found
        .ends
        .iter()
        .map(|(run, wanted, had)| json!({ "run": run, "wanted": wanted, "had": had }))
        .collect();
    json!({ "point": trial.point, "nth": trial.nth, "scene": trial.scene.name(), "afterKillAt": trial.after_kill_at,
        "reached": found.reached, "lost": texts(&found.difference.lost), "doubled": texts(&found.difference.doubled),
        "otherEnds": ends, "well": found.is_well() })
}

fn observed(trial: &Try, found: &Found) -> Value {
    json!({ "point": trial.point, "restartedMs": millis(found.restarted_in),
        "resumedMs": found.resumed_in.map(millis), "asked": found.asked,
        "repeated": texts(&found.difference.repeated), "trouble": found.trouble })
}

fn texts(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(ToString::to_string).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
