//! How an execution looks: grouping, lines of progress, the final table. Pure.

use std::collections::HashMap;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use manifold_model::wait::WaitReason;
use manifold_model::{Millis, Status};

use crate::print::{Paint, Tone};
use crate::run::{Element, Leg, Run, Stage, Wait, is_final};

/// Names in one pair of parentheses; more are counted.
const GROUPED: usize = 12;
/// Characters of a cause in a line of progress.
const CAUSE: usize = 160;

/// The stages of an execution in one line each: what runs in parallel stands in parentheses (S25), as `STAGE 1  regions ( eu, us, ap )`.
#[must_use]
pub fn grouping(stage: &Stage) -> String {
    let parts: Vec<String> = stage.elements.iter().map(element).collect();
    let body = match parts.as_slice() {
        [one] => one.clone(),
        several => parenthesised(several),
    };
    format!("{}  {body}", stage.name).trim().to_owned()
}

fn element(element: &Element) -> String {
    let names: Vec<String> = element.legs.iter().map(|leg| leg.label().to_owned()).collect();
    match names.as_slice() {
        [] => element.name.clone(),
        [one] if *one == element.name => element.name.clone(),
        [one] => format!("{}: {one}", element.name),
        several => format!("{} {}", element.name, parenthesised(several)),
    }
}

fn parenthesised(names: &[String]) -> String {
    let shown = names.iter().take(GROUPED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(GROUPED) {
        0 => format!("( {shown} )"),
        more => format!("( {shown}, … {more} more )"),
    }
}

/// Sign and meaning of a status: never colour alone.
fn sign(name: &str) -> (&'static str, Tone) {
    match Status::parse(name) {
        Some(Status::Success) => ("✓", Tone::Good),
        Some(Status::Skipped | Status::Queued) | None => ("·", Tone::Faint),
        Some(Status::Failed | Status::Error | Status::Rejected | Status::Expired) => ("✗", Tone::Bad),
        Some(Status::Aborted | Status::Aborting) => ("■", Tone::Bad),
        Some(Status::Waiting | Status::Paused | Status::Pausing) => ("⧗", Tone::Warn),
        Some(Status::Starting | Status::Running) => ("●", Tone::Busy),
    }
}

/// A status with its sign.
#[must_use]
pub fn status(name: &str, paint: Paint) -> String {
    let (sign, tone) = sign(name);
    paint.text(tone, &format!("{sign} {name}"))
}

/// A status as a cell: a table measures its texts, so colours must not be in them.
#[must_use]
pub fn status_cell(name: &str, paint: Paint) -> Cell {
    let (sign, tone) = sign(name);
    let cell = Cell::new(format!("{sign} {name}"));
    match tone {
        _ if !paint.0 => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Warn => cell.fg(Color::DarkYellow),
        Tone::Busy => cell.fg(Color::DarkCyan),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

/// A duration as `0:42` or `1:02:03`.
#[must_use]
pub fn duration(from: Option<Millis>, to: Option<Millis>) -> String {
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    let seconds = to.saturating_sub(from).max(0) / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Why a leg is not well, or not going on: its failure with the mark of its rollback, else what it waits for.
#[must_use]
pub fn cause(leg: &Leg) -> String {
    let rollback = match leg.rollback.as_deref() {
        Some("ROLLED_BACK") => "rolled back",
        Some("NOT_ROLLED_BACK") => "not rolled back",
        Some("ROLLBACK_FAILED") => "rollback failed",
        _ => "",
    };
    let failure = leg.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
    match (failure, rollback) {
        // That its own tasks run is what a leg is expected to do.
        ("", "") => leg.waits.iter().find(|wait| wait.reason != "TASK").map(waiting).unwrap_or_default(),
        ("", mark) => mark.to_owned(),
        (message, "") => message.to_owned(),
        (message, mark) => format!("{message} ({mark})"),
    }
}

/// What something waits for, in words.
#[must_use]
pub fn waiting(wait: &Wait) -> String {
    let Some(reason) = wait.parsed() else { return format!("waits: {}", wait.reason) };
    let step = wait.step.map(|step| format!(", step {step}")).unwrap_or_default();
    match reason {
        WaitReason::Lock { target, holder, place } => {
            let holder = holder.map(|holder| format!(" held by {holder}")).unwrap_or_default();
            let place = place.map(|place| format!(", place {place} in the queue")).unwrap_or_default();
            format!("waits for the lock of {target}{holder}{place}")
        }
        WaitReason::Barrier { identifier, arrived, of, .. } => {
            format!("waits at barrier {identifier}, {arrived} of {of} are there")
        }
        WaitReason::Constraint { constraint, unit, permits, free, holders, place, .. } => {
            let unit = if unit.is_empty() { String::new() } else { format!(" for {unit}") };
            let free = free.map(|free| format!(", {free} free")).unwrap_or_default();
            let held: Vec<String> =
                holders.iter().map(|holder| format!("{} ({})", holder.execution, holder.permits)).collect();
            let held = if held.is_empty() { String::new() } else { format!(", held by {}", held.join(", ")) };
            let place = place.map(|place| format!(", place {place} in the queue")).unwrap_or_default();
            let noun = if permits == 1 { "permit" } else { "permits" };
            format!("waits for {permits} {noun} of {constraint}{unit}{free}{held}{place}")
        }
        WaitReason::Retry { attempt, of, due } => {
            format!("tries again ({attempt} of {of}) at {}", clock(due))
        }
        WaitReason::Delay { due } => format!("waits until {}", clock(due)),
        WaitReason::Intervention { failure, options, until } => {
            let options: Vec<String> = options.iter().filter_map(action).collect();
            format!("needs an answer until {}{step}: {failure}; one of {}", clock(until), options.join(", "))
        }
        WaitReason::UnknownOutcome { instance, seen } => {
            let instance = instance.map(|instance| format!(" on {instance}")).unwrap_or_default();
            format!("needs to know whether it ran{instance}{step}: {seen}")
        }
        WaitReason::Delegate { selectors, detail, until } => {
            let selectors =
                if selectors.is_empty() { String::new() } else { format!(" with {}", selectors.join(", ")) };
            format!("waits for a delegate{selectors} until {}: {detail}", clock(until))
        }
        WaitReason::Task { running: 1 } => "1 task is running".to_owned(),
        WaitReason::Task { running } => format!("{running} tasks are running"),
        WaitReason::Legs { done, of } => format!("{done} of {of} legs are done"),
        WaitReason::Paused { by } => format!("paused by {by}"),
        WaitReason::Stopping { running: 1, .. } => "1 task is being stopped".to_owned(),
        WaitReason::Stopping { running, .. } => format!("{running} tasks are being stopped"),
        WaitReason::History {} => "looks up what was last deployed".to_owned(),
        WaitReason::Turn {} => "is about to go on".to_owned(),
        WaitReason::Limit { name, allowed } => format!("waits for its turn: {name}, {allowed} at once"),
    }
}

/// An answer as the API names it.
fn action(action: &manifold_model::entity::RepairAction) -> Option<String> {
    serde_json::to_value(action).ok()?.as_str().map(str::to_owned)
}

/// A time of day, UTC.
#[must_use]
pub fn clock(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map(|at| at.strftime("%H:%M:%S UTC").to_string())
        .unwrap_or_else(|_| at.to_string())
}

/// A day and time, UTC.
#[must_use]
pub fn time(at: Option<Millis>) -> String {
    let stamp = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    stamp.map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

/// The screen of an execution that runs: one line per leg, as many as fit into `height` lines, the rest counted.
#[must_use]
pub fn screen(run: &Run, now: Millis, height: usize, paint: Paint) -> Vec<String> {
    let took = duration(run.started_at, Some(run.ended_at.unwrap_or(now)));
    let mut lines =
        vec![format!("{} / {}  {}  {took}", run.application, run.name, status(&run.status, paint))];
    if let Some(wait) = run.waits.iter().find(|wait| !matches!(wait.reason.as_str(), "LEGS" | "TASK")) {
        lines.push(format!("  {}", waiting(wait)));
    }
    // Every stage needs its own line; what is left is for legs, and those of stages that are going on come first.
    let mut room = height.saturating_sub(lines.len() + run.stages.len());
    for stage in &run.stages {
        let legs: Vec<&Leg> = stage.elements.iter().flat_map(|element| &element.legs).collect();
        let done = legs.iter().filter(|leg| leg.is_final()).count();
        let head = grouping(stage);
        if legs.is_empty() {
            let statuses: Vec<String> = stage.elements.iter().map(|one| status(&one.status, paint)).collect();
            lines.push(format!("{head}  {}", statuses.join(" ")));
            continue;
        }
        if !head.is_empty() {
            lines.push(format!("{head}  {done} of {} done", legs.len()));
        }
        if done == legs.len() && run.stages.len() > 1 || legs.len() > room {
            lines.push(format!("  {}", counts(&legs, paint)));
            room = room.saturating_sub(1);
        } else {
            let width = legs.iter().map(|leg| leg.label().chars().count()).max().unwrap_or_default();
            lines.extend(legs.iter().map(|leg| format!("  {}", leg_line(leg, now, width, paint))));
            room -= legs.len();
        }
    }
    lines
}

/// How many legs have which status, worst first.
#[must_use]
pub fn counts(legs: &[&Leg], paint: Paint) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for leg in legs {
        match counted.iter_mut().find(|(name, _)| *name == leg.status) {
            Some((_, count)) => *count += 1,
            None => counted.push((&leg.status, 1)),
        }
    }
    counted.sort_by_key(|(name, _)| (is_final(name) && *name == "SUCCESS", *name));
    counted
        .iter()
        .map(|(name, count)| format!("{count} {}", status(name, paint)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn leg_line(leg: &Leg, now: Millis, width: usize, paint: Paint) -> String {
    let took = duration(leg.started_at, Some(leg.ended_at.unwrap_or(now)));
    let mut line = format!("{:width$}  {}", leg.label(), status(&leg.status, paint));
    if leg.steps_total > 0 && !leg.is_final() {
        line = format!("{line}  {}/{}", leg.steps_done, leg.steps_total);
    }
    if !took.is_empty() {
        line = format!("{line}  {took}");
    }
    let cause = short(&cause(leg));
    match (&leg.doing, cause.as_str()) {
        (Some(doing), "") if !leg.is_final() => format!("{line}  {doing}"),
        (Some(doing), cause) if !leg.is_final() => format!("{line}  {doing}: {cause}"),
        (_, "") => line,
        (_, cause) => format!("{line}  {cause}"),
    }
}

/// The first line, not too long.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= CAUSE {
        return line.to_owned();
    }
    line.chars().take(CAUSE).chain(['…']).collect()
}

/// What changed between two looks, a line per change, for logs and pipes.
#[must_use]
pub fn changes(before: Option<&Run>, now: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push(format!("{} / {}  {}", now.application, now.name, now.id));
    }
    for (index, stage) in now.stages.iter().enumerate() {
        let old = before.and_then(|run| run.stages.get(index));
        let prefix = if now.stages.len() > 1 { format!("  {}  ", stage.name) } else { "  ".to_owned() };
        changes_of_stage(old, stage, &prefix, &mut lines);
    }
    if before.is_none_or(|run| run.status != now.status) {
        lines.push(format!("{} / {}  {}", now.application, now.name, status(&now.status, Paint(false))));
    }
    lines
}

fn changes_of_stage(old: Option<&Stage>, stage: &Stage, prefix: &str, lines: &mut Vec<String>) {
    let has_legs = |stage: &Stage| stage.elements.iter().any(|element| !element.legs.is_empty());
    if has_legs(stage) && !old.is_some_and(has_legs) && !stage.name.is_empty() {
        lines.push(grouping(stage));
    }
    for element in &stage.elements {
        let known = old.and_then(|stage| stage.elements.iter().find(|one| one.id == element.id));
        let turned = known.is_none_or(|one| one.status != element.status);
        if element.legs.is_empty() && is_final(&element.status) && turned {
            let line = format!(
                "{prefix}{}  {}  {}",
                element.name,
                status(&element.status, Paint(false)),
                why(element)
            );
            lines.push(line.trim_end().to_owned());
        }
        let known: HashMap<&str, &Leg> =
            known.into_iter().flat_map(|one| &one.legs).map(|leg| (leg.id.as_str(), leg)).collect();
        for leg in &element.legs {
            let same = known.get(leg.id.as_str()).is_some_and(|known| {
                known.status == leg.status && known.doing == leg.doing && cause(known) == cause(leg)
            });
            if !same {
                let line = leg_line(leg, leg.started_at.unwrap_or_default(), 0, Paint(false));
                lines.push(format!("{prefix}{line}"));
            }
        }
    }
}

/// Why an element without legs was not run.
fn why(element: &Element) -> &str {
    let failure = element.failure.as_ref().map(|failure| failure.message.as_str());
    element.skip_reason.as_deref().or(failure).unwrap_or_default()
}

/// The table at the end: infrastructure, status, duration, cause.
#[must_use]
pub fn table(run: &Run, paint: Paint, width: Option<u16>) -> String {
    let mut table = plain_table(width, paint);
    table.set_header(vec!["STAGE", "INFRASTRUCTURE", "STATUS", "DURATION", "CAUSE"]);
    for stage in &run.stages {
        for element in &stage.elements {
            let of_stage = Cell::new(if stage.name.is_empty() { &element.name } else { &stage.name });
            if element.legs.is_empty() {
                let name = Cell::new("");
                table.add_row([
                    of_stage.clone(),
                    name,
                    status_cell(&element.status, paint),
                    Cell::new(""),
                    Cell::new(why(element)),
                ]);
            }
            for leg in &element.legs {
                table.add_row([
                    of_stage.clone(),
                    Cell::new(leg.label()),
                    status_cell(&leg.status, paint),
                    Cell::new(duration(leg.started_at, leg.ended_at)),
                    Cell::new(cause(leg)),
                ]);
            }
        }
    }
    let took = duration(run.started_at, run.ended_at);
    let took = if took.is_empty() { String::new() } else { format!(" after {took}") };
    let why = run.failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    format!(
        "{}\n{} / {}  {}{took}{why}",
        trimmed(&table),
        run.application,
        run.name,
        status(&run.status, paint)
    )
}

/// A table without lines, for people and for `awk`; wrapped to `width` on a terminal.
#[must_use]
pub fn plain_table(width: Option<u16>, paint: Paint) -> Table {
    let mut table = Table::new();
    if paint.0 {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.load_style(comfy_table::presets::NOTHING);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// The table without blanks at either end of its lines.
#[must_use]
pub fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;
    use crate::run::FailureInfo;

    const PLAIN: Paint = Paint(false);

    fn leg(name: &str, status: &str) -> Leg {
        Leg {
            id: name.to_owned(),
            infrastructure: Some(name.to_owned()),
            workflow: "roll".to_owned(),
            status: status.to_owned(),
            started_at: Some(0),
            ended_at: is_final(status).then_some(42_000),
            steps_done: 2,
            steps_total: 5,
            doing: Some("Start".to_owned()),
            ..Leg::default()
        }
    }

    fn stage(name: &str, elements: &[(&str, Vec<Leg>)]) -> Stage {
        let element = |(name, legs): &(&str, Vec<Leg>)| Element {
            id: (*name).to_owned(),
            name: (*name).to_owned(),
            status: "QUEUED".to_owned(),
            legs: legs.clone(),
            ..Element::default()
        };
        Stage { name: name.to_owned(), elements: elements.iter().map(element).collect() }
    }

    fn run(stages: Vec<Stage>) -> Run {
        let (application, name, status) = ("Shop".to_owned(), "ship".to_owned(), "RUNNING".to_owned());
        Run { id: "p".to_owned(), application, name, status, started_at: Some(0), stages, ..Run::default() }
    }

    #[test]
    fn s25_what_runs_in_parallel_stands_in_parentheses() {
        let legs = |names: &[&str]| names.iter().map(|name| leg(name, "RUNNING")).collect::<Vec<_>>();
        assert_eq!(
            grouping(&stage("STAGE 1", &[("regions", legs(&["eu", "us", "ap"]))])),
            "STAGE 1  regions ( eu, us, ap )"
        );
        assert_eq!(grouping(&stage("STAGE 1", &[("regions", legs(&["eu"]))])), "STAGE 1  regions: eu");
        assert_eq!(grouping(&stage("STAGE 1", &[("regions", Vec::new())])), "STAGE 1  regions");
        let both = stage("STAGE 2", &[("a", legs(&["eu", "us"])), ("b", Vec::new())]);
        assert_eq!(grouping(&both), "STAGE 2  ( a ( eu, us ), b )");
        let names: Vec<String> = (0..15).map(|number| format!("i{number}")).collect();
        let many: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(grouping(&stage("S", &[("e", legs(&many))])).ends_with("i10, i11, … 3 more )"));
    }

    #[test]
    fn a_screen_has_a_line_per_leg() {
        let mut waiting = leg("ap", "WAITING");
        waiting.waits = serde_json::from_value(json!([{ "since": 0, "reason": "LOCK",
            "detail": { "for": "LOCK", "target": "cart on ap", "holder": "x", "place": 2 } }]))
        .unwrap();
        let run = run(vec![
            stage("STAGE 1", &[("regions", vec![leg("eu", "SUCCESS"), waiting])]),
            stage("STAGE 2", &[("after", Vec::new())]),
        ]);
        assert_eq!(
            screen(&run, 61_000, 24, PLAIN),
            [
                "Shop / ship  ● RUNNING  1:01",
                "STAGE 1  regions ( eu, ap )  1 of 2 done",
                "  eu  ✓ SUCCESS  0:42",
                "  ap  ⧗ WAITING  2/5  1:01  Start: waits for the lock of cart on ap held by x, place 2 in the queue",
                "STAGE 2  after  · QUEUED",
            ]
        );
    }

    #[test]
    fn more_than_a_screenful_is_counted() {
        let legs: Vec<Leg> = (0..1_000)
            .map(|number| leg(&format!("i{number}"), if number < 990 { "SUCCESS" } else { "FAILED" }))
            .chain([leg("last", "RUNNING")])
            .collect();
        let lines = screen(&run(vec![stage("STAGE 1", &[("regions", legs)])]), 0, 24, PLAIN);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "  10 ✗ FAILED, 1 ● RUNNING, 990 ✓ SUCCESS");
    }

    #[test]
    fn changes_are_told_once() {
        let before =
            run(vec![stage("STAGE 1", &[("regions", vec![leg("eu", "RUNNING"), leg("us", "RUNNING")])])]);
        assert_eq!(changes(Some(&before), &before), Vec::<String>::new());
        let mut after = before.clone();
        after.stages[0].elements[0].legs[1] = Leg {
            failure: Some(FailureInfo { message: "exit code 1\nmore".to_owned(), ..FailureInfo::default() }),
            rollback: Some("ROLLED_BACK".to_owned()),
            ..leg("us", "FAILED")
        };
        after.status = "FAILED".to_owned();
        assert_eq!(
            changes(Some(&before), &after),
            ["  us  ✗ FAILED  0:42  exit code 1", "Shop / ship  ✗ FAILED"]
        );
        assert_eq!(changes(None, &before)[..2], ["Shop / ship  p", "STAGE 1  regions ( eu, us )"]);
    }

    #[test]
    fn the_table_names_causes_and_rollbacks() {
        let failed = Leg {
            failure: Some(FailureInfo { message: "exit code 1".to_owned(), ..FailureInfo::default() }),
            rollback: Some("ROLLBACK_FAILED".to_owned()),
            ..leg("us", "FAILED")
        };
        let mut skipped = stage("STAGE 2", &[("after", Vec::new())]);
        skipped.elements[0].status = "SKIPPED".to_owned();
        skipped.elements[0].skip_reason = Some("the stage before failed".to_owned());
        let mut run =
            run(vec![stage("STAGE 1", &[("regions", vec![leg("eu", "SUCCESS"), failed])]), skipped]);
        run.status = "FAILED".to_owned();
        run.ended_at = Some(3_723_000);
        let text = table(&run, PLAIN, None);
        let expected = [
            "STAGE    INFRASTRUCTURE  STATUS     DURATION  CAUSE",
            "STAGE 1  eu              ✓ SUCCESS  0:42",
            "STAGE 1  us              ✗ FAILED   0:42      exit code 1 (rollback failed)",
            "STAGE 2                  · SKIPPED            the stage before failed",
            "Shop / ship  ✗ FAILED after 1:02:03",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        let painted = table(&run, Paint(true), None);
        assert!(painted.contains("\x1b[") && painted.contains("✗ FAILED"));
        let bare = |line: &str| {
            let mut parts = line.split('\x1b');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |line, part| line + part.split_once('m').map_or("", |(_, text)| text))
        };
        let painted: Vec<String> = painted.lines().map(|line| bare(line).trim_end().to_owned()).collect();
        assert_eq!(painted, expected, "colours do not move the columns");
    }

    #[test]
    fn every_wait_has_words() {
        let words = |detail: serde_json::Value| {
            waiting(&Wait { step: Some(3), since: 0, reason: "R".to_owned(), detail })
        };
        assert_eq!(
            words(json!({ "for": "RETRY", "attempt": 2, "of": 3, "due": 3_600_000 })),
            "tries again (2 of 3) at 01:00:00 UTC"
        );
        assert_eq!(
            words(
                json!({ "for": "INTERVENTION", "failure": "exit code 1", "options": ["RETRY", "IGNORE"], "until": 0 })
            ),
            "needs an answer until 00:00:00 UTC, step 3: exit code 1; one of RETRY, IGNORE"
        );
        assert_eq!(words(json!({ "for": "SOMETHING_NEW" })), "waits: R");
    }
}
