//! `manifold verify --crash`: the shipped self-test. It plays deployments in stores of its own, lets the server die by SIGKILL at every named point
//! in turn (`manifold_model::crash`), starts it again, and compares what the targets say happened to them with an undisturbed run.

mod dice;
mod ledger;
mod life;
mod pages;
mod points;
mod report;
mod scene;
mod stage;
mod tree;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures::StreamExt;
use manifold_model::crash::{self, Point};

use crate::interrupts::Interrupts;
use points::{OUT_OF_REACH, Try};
use report::Report;
use scene::Scene;
use stage::Stage;
use trial::{Found, Undisturbed};

/// Exit code of a self-test that was interrupted before its end.
const INTERRUPTED: u8 = 130;
/// Most trials at the same time.
const MOST_JOBS: u64 = 64;

/// Flags of `manifold verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyFlags {
    /// Kill the server at every named point and compare what the targets say with an undisturbed run
    #[arg(long, required_unless_present = "list")]
    crash: bool,
    /// Print the points and end
    #[arg(long)]
    list: bool,
    /// Use databases of this PostgreSQL server instead of SQLite, each made for a trial and dropped after it; the user must be allowed to
    /// make databases
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Only points with this in their names; several with commas between
    #[arg(long, value_name = "PATTERN")]
    points: Option<String>,
    /// Only some points of every part
    #[arg(long)]
    quick: bool,
    /// Decides the order of the points and which time of many a process dies at one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write what was found to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Folder for the stores, logs and ledgers, which stay there [default: a folder of its own that is removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Trials at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=MOST_JOBS))]
    jobs: u64,
}

/// Runs the self-test.
pub async fn run(flags: VerifyFlags) -> ExitCode {
    if flags.list {
        list();
        return ExitCode::SUCCESS;
    }
    let mut interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => return crate::ended(Err(error)),
    };
    match verify(&flags, &mut interrupts).await {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::NotWell) => ExitCode::FAILURE,
        Ok(Verdict::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => crate::ended(Err(error)),
    }
}

/// How the self-test ended.
enum Verdict {
    Well,
    NotWell,
    Interrupted,
}

/// Prints the points: what each is, and which cannot be reached.
fn list() {
    for name in crash::all() {
        let what = match (Point::ALL.iter().find(|point| point.name() == name), crash::event_of(&name)) {
            (Some(point), _) => point.what().to_owned(),
            (None, Some(event)) if name.starts_with("before") => {
                format!("Server: {event} is about to be written.")
            }
            (None, Some(event)) => format!("Server: {event} is written, and nobody knows."),
            (None, None) => String::new(),
        };
        let reach = OUT_OF_REACH.iter().find(|(point, _)| *point == name);
        let reach = reach.map(|(_, why)| format!(" (out of reach: {why})")).unwrap_or_default();
        say!("{name:<44} {what}{reach}");
    }
    say!("{} points", crash::all().len());
}

/// Makes the stage, plays on it, and clears it away however that ends.
async fn verify(flags: &VerifyFlags, interrupts: &mut Interrupts) -> Result<Verdict> {
    let tries = points::chosen(flags.points.as_deref(), flags.quick, flags.seed)?;
    let (place, _removed) = place(flags.data.as_deref())?;
    let stage = Stage::make(&place, flags.database_url.as_deref()).await?;
    say!(
        "{} points in the code, {} to be tried, seed {}; stores in {}",
        crash::all().len(),
        tries.len(),
        flags.seed,
        place.display()
    );
    let verdict = tokio::select! {
        verdict = play(flags, &stage, tries) => verdict,
        // Servers are killed by being dropped.
        () = interrupts.next() => Ok(Verdict::Interrupted),
    };
    stage.leave().await;
    verdict
}

async fn play(flags: &VerifyFlags, stage: &Stage, tries: Vec<Try>) -> Result<Verdict> {
    let wanted = undisturbed(stage, &tries).await?;
    let trials = all(stage, tries, &wanted, usize::try_from(flags.jobs).unwrap_or(1)).await;
    let effects = wanted.values().map(|run| run.effects.values().sum::<u32>() as usize).sum();
    let home = if flags.database_url.is_some() { "postgresql" } else { "sqlite" };
    let report = Report { seed: flags.seed, home, points: crash::all().len(), effects, trials: &trials };
    tell(&report, flags.data.is_some());
    if let Some(file) = &flags.report {
        let text = serde_json::to_string_pretty(&report.file()).context("write the report")?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if report.sums().bad == 0 { Verdict::Well } else { Verdict::NotWell })
}

/// The folder for everything, and what removes it.
fn place(given: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    let prefix = "manifold-verify-";
    match given {
        Some(folder) => {
            crate::folder::private(folder).with_context(|| format!("make {}", folder.display()))?;
            let folder = std::path::absolute(folder).context("find the folder")?;
            // One of its own for each time, so that nothing of an earlier time is taken for this one's.
            let made = tempfile::Builder::new().prefix(prefix).tempdir_in(folder).context("make a folder")?;
            Ok((made.keep(), None))
        }
        None => {
            let made = tempfile::Builder::new().prefix(prefix).tempdir().context("make a folder")?;
            Ok((made.path().to_owned(), Some(made)))
        }
    }
}

/// Plays every scene that is needed once without a crash.
async fn undisturbed(stage: &Stage, tries: &[Try]) -> Result<BTreeMap<Scene, Undisturbed>> {
    let mut wanted = BTreeMap::new();
    for scene in Scene::ALL.into_iter().filter(|scene| tries.iter().any(|one| one.scene == *scene)) {
        let run = trial::undisturbed(stage, scene)
            .await
            .with_context(|| format!("play the scene {} without a crash", scene.name()))?;
        let ends: Vec<String> = run.ends.iter().map(|(run, status)| format!("{run} {status}")).collect();
        let effects: u32 = run.effects.values().sum();
        say!(
            "undisturbed: {} has {effects} effects in {:.1} s and ends with {}",
            scene.name(),
            run.took.as_secs_f64(),
            ends.join(", ")
        );
        wanted.insert(scene, run);
    }
    Ok(wanted)
}

/// Does all trials, some at the same time; they come back in their order.
async fn all(
    stage: &Stage,
    tries: Vec<Try>,
    wanted: &BTreeMap<Scene, Undisturbed>,
    jobs: usize,
) -> Vec<(Try, Found)> {
    let count = tries.len();
    let numbered = tries.into_iter().enumerate();
    let running = numbered.map(|(number, one)| async move {
        let found = match wanted.get(&one.scene) {
            Some(wanted) => trial::attempt(stage, &one, number, wanted).await,
            None => Found { trouble: Some("its scene was not played".to_owned()), ..Found::default() },
        };
        (number, one, found)
    });
    let mut done = futures::stream::iter(running).buffer_unordered(jobs);
    let mut trials = Vec::with_capacity(count);
    say!("\n{:<9} {:<44} reached  restarted  lost  doubled", "", "point");
    while let Some((number, one, found)) = done.next().await {
        trials.push((number, one, found));
        if let Some((_, one, found)) = trials.last() {
            line(trials.len(), count, one, found);
        }
    }
    trials.sort_by_key(|(number, ..)| *number);
    trials.into_iter().map(|(_, one, found)| (one, found)).collect()
}

/// Prints what a trial brought.
fn line(done: usize, count: usize, one: &Try, found: &Found) {
    let point = format!("{}:{}", one.point, one.nth);
    let reached = if found.reached { "yes" } else { "NO" };
    say!(
        "{:<9} {point:<44} {reached:<7} {:>7.2} s  {:>4}  {:>7}",
        format!("{done}/{count}"),
        found.restarted_in.as_secs_f64(),
        found.difference.lost.len(),
        found.difference.doubled.len()
    );
    for effect in &found.difference.lost {
        say!("          LOST: {effect}");
    }
    for effect in &found.difference.doubled {
        say!("          DOUBLED: {effect}");
    }
    for (run, wanted, had) in &found.ends {
        say!("          OTHER END: {run} ended {had:?}, not {wanted}");
    }
    if let Some(trouble) = &found.trouble {
        say!("          TROUBLE: {trouble}");
    }
}

fn tell(report: &Report<'_>, kept: bool) {
    let sums = report.sums();
    say!("\n{} points in the code, {} tried, {} reached", report.points, sums.tried, sums.reached);
    for (point, why) in OUT_OF_REACH {
        say!("out of reach: {point}: {why}");
    }
    say!("{} effects of an undisturbed run", report.effects);
    say!("{} effects lost, {} doubled", sums.lost, sums.doubled);
    say!("{} effects of idempotent steps repeated, which they may be", sums.repeated);
    say!("{} times a person was asked about an unsafe step", sums.asked);
    if let Some((median, worst)) = report.resumed() {
        let seconds = |time: Duration| time.as_secs_f64();
        say!(
            "first new event after a restart: {:.2} s in the middle, {:.2} s at worst",
            seconds(median),
            seconds(worst)
        );
    }
    if sums.bad == 0 {
        say!("all is well");
    } else {
        say!("{} TRIALS ARE NOT WELL", sums.bad);
        if !kept {
            say!("run it with --points and --data DIR to keep stores, logs and ledgers");
        }
    }
}
