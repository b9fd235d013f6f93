//! What is tried: every point that the code has, in which scene it is reached, and the which time of the many.

use anyhow::{Result, ensure};
use manifold_model::crash::{self, Point};

use super::dice::Dice;
use super::scene::Scene;

/// Points that a build cannot reach, and why. Whoever adds one here says so to everybody who runs the self-test.
pub const OUT_OF_REACH: &[(&str, &str)] = &[];

/// One trial: a process that dies at a point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    /// The point.
    pub point: String,
    /// Which time it is got to, from 1.
    pub nth: u64,
    /// What runs meanwhile.
    pub scene: Scene,
    /// The server is killed once before, as soon as this step has had an effect: the point lies on the way back from a crash.
    pub after_kill_at: Option<&'static str>,
}

/// Points of the short version: some of every part.
const QUICK: [&str; 10] = [
    "store:after-commit",
    "task:after-claim",
    "task:after-sent",
    "outcome:after-recorded",
    "delegate:before-effect",
    "delegate:after-effect",
    "delegate:after-probe",
    "delegate:outcome-sent",
    "before-append:TASK_ENDED",
    "after-append:ROLLBACK_STARTED",
];

/// All trials, in the order that the seed gives them.
///
/// # Errors
/// No point is named so.
pub fn chosen(pattern: Option<&str>, quick: bool, seed: u64) -> Result<Vec<Try>> {
    let points: Vec<String> = crash::all()
        .into_iter()
        .filter(|point| !OUT_OF_REACH.iter().any(|(out, _)| out == point))
        .filter(|point| !quick || QUICK.contains(&point.as_str()))
        .filter(|point| {
            pattern.is_none_or(|pattern| pattern.split(',').any(|part| point.contains(part.trim())))
        })
        .collect();
    ensure!(
        !points.is_empty(),
        "no point has {:?} in its name; --list prints them",
        pattern.unwrap_or_default()
    );
    let tries = points.into_iter().map(|point| one(point, seed)).collect();
    Ok(Dice::new(seed, "order").shuffled(tries))
}

fn one(point: String, seed: u64) -> Try {
    let named = Point::ALL.iter().copied().find(|named| named.name() == point);
    let (scene, most, after_kill_at) = match (named, crash::event_of(&point)) {
        (Some(named), _) => of_code(named),
        (None, Some(event)) => of_event(event),
        (None, None) => (Scene::Fleet, 1, None),
    };
    let nth = Dice::new(seed, &point).throw(most);
    Try { point, nth, scene, after_kill_at }
}

/// Where a point of the code is reached, and how often for certain.
fn of_code(point: Point) -> (Scene, u64, Option<&'static str>) {
    match point {
        Point::ServerLeased | Point::DelegateLeased => (Scene::Fleet, 1, None),
        Point::UnfinishedWoken => (Scene::Fleet, 1, Some("install")),
        Point::LeaseRenewed => (Scene::Fleet, 2, None),
        Point::BeforeCommit | Point::AfterCommit => (Scene::Fleet, 20, None),
        Point::BeforeClaim => (Scene::Fleet, 3, None),
        Point::AfterClaim => (Scene::Fleet, 1, None),
        Point::BeforeHandOver
        | Point::AfterHandOver
        | Point::OutcomeReceived
        | Point::BeforeAcknowledge
        | Point::AfterAcknowledge
        | Point::TaskReceived
        | Point::BeforeEffect
        | Point::AfterEffect
        | Point::OutcomeKept
        | Point::OutcomeSent
        | Point::Acknowledged
        | Point::OutcomeForgotten => (Scene::Fleet, 12, None),
        Point::BeforeRecord | Point::AfterRecord => (Scene::Fleet, 4, None),
        Point::LogSent => (Scene::Fleet, 2, None),
        Point::LegsWritten => (Scene::Fleet, 1, None),
        Point::BeforeInbox | Point::AfterInbox => (Scene::People, 4, None),
        Point::TimerDue | Point::TimerFired => (Scene::Fleet, 2, None),
        Point::BeforeProbe | Point::AfterProbe => (Scene::Fleet, 2, Some("install")),
        Point::CancelReceived => (Scene::People, 1, None),
    }
}

/// Where an event of this kind is written, and in how many transactions for certain.
fn of_event(event: &str) -> (Scene, u64, Option<&'static str>) {
    match event {
        "REQUESTED" => (Scene::People, 3, None),
        "INTERVENTION_ASKED" | "INTERVENTION_ANSWERED" => (Scene::People, 1, None),
        "UNKNOWN_OUTCOME_ANSWERED" => (Scene::People, 1, Some("post")),
        "ELEMENT_FAILED" | "LOCK_REFUSED" | "BARRIER_BROKEN" | "PERMITS_REFUSED" | "STRATEGY_MISSING" => {
            (Scene::Turns, 1, None)
        }
        "STEP_STARTED" | "TASKS_ISSUED" | "TASK_ENDED" | "STEP_ENDED" => (Scene::Fleet, 4, None),
        // A new kind of event is tried in the scene that has most.
        _ => (Scene::Fleet, 1, None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_point_is_tried_or_said_to_be_out_of_reach() {
        let all = chosen(None, false, 1).unwrap();
        assert_eq!(all.len() + OUT_OF_REACH.len(), crash::all().len());
        assert_eq!(chosen(None, true, 1).unwrap().len(), QUICK.len());
        assert_eq!(chosen(Some("claim"), false, 1).unwrap().len(), 2);
        assert!(chosen(Some("nowhere"), false, 1).is_err());
    }

    #[test]
    fn order_and_times_follow_from_the_seed() {
        assert_eq!(chosen(None, false, 5).unwrap(), chosen(None, false, 5).unwrap());
        assert_ne!(chosen(None, false, 5).unwrap(), chosen(None, false, 6).unwrap());
    }
}
