//! One trial: a scene is played, a process dies at a point, comes back, and what the targets say is compared with the undisturbed run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use manifold_cli::client::ClientError;
use manifold_model::Millis;
use serde_json::Value;

use super::ledger::{Difference, Effects, Ledger, difference};
use super::life::{Home, Life, Start};
use super::points::Try;
use super::scene::{Play, Scene};
use super::stage::Stage;

/// How long one life may play; a machine may be busy.
const PLAY: Duration = Duration::from_secs(180);
/// How long a server that has nothing left to do may still come to its point: renewals and sweeps go on.
const LINGER: Duration = Duration::from_secs(6);
/// Pause between two looks at a scene.
const TICK: Duration = Duration::from_millis(60);

/// An undisturbed run.
pub struct Undisturbed {
    /// Its effects.
    pub effects: Effects,
    /// Final statuses by run.
    pub ends: BTreeMap<&'static str, String>,
    /// How long it took.
    pub took: Duration,
}

/// What a trial brought.
#[derive(Default)]
pub struct Found {
    /// The process died where it should.
    pub reached: bool,
    /// Effects.
    pub difference: Difference,
    /// Runs that ended otherwise than undisturbed: name, wanted, had.
    pub ends: Vec<(String, String, String)>,
    /// Questions about unknown outcomes of unsafe steps.
    pub asked: usize,
    /// From the start after the crash until the server was ready.
    pub restarted_in: Duration,
    /// From the start after the crash to the first new event, when something had been left unfinished.
    pub resumed_in: Option<Duration>,
    /// What kept the trial from its end.
    pub trouble: Option<String>,
}

impl Found {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.reached
            && self.trouble.is_none()
            && self.ends.is_empty()
            && self.difference.lost.is_empty()
            && self.difference.doubled.is_empty()
    }
}

/// How a life went.
enum Lived {
    /// The scene was played to its end.
    Through(Box<Life>),
    /// The process died.
    Dead,
    /// A step had its effect.
    Had(Box<Life>),
}

/// Plays a scene without any crash.
///
/// # Errors
/// It cannot be played to its end.
pub async fn undisturbed(stage: &Stage, scene: Scene) -> Result<Undisturbed> {
    let name = format!("undisturbed-{}", scene.name());
    let begun = Instant::now();
    let home = stage.home(&name).await?;
    let (ledger, mut play) = scenery(stage, &home, &name, scene, false)?;
    let Lived::Through(life) = live(&home, &mut play, &ledger, None, None).await? else {
        bail!("the server died by itself: {}", home.log_end());
    };
    let took = begun.elapsed();
    life.kill().await?;
    stage.close(&name).await;
    Ok(Undisturbed { effects: ledger.read()?, ends: play.ends().clone(), took })
}

/// Does a trial; what keeps it from its end is in what it found.
pub async fn attempt(stage: &Stage, trial: &Try, number: usize, wanted: &Undisturbed) -> Found {
    let mut found = Found::default();
    let name = format!("trial-{number}");
    if let Err(error) = crash_and_go_on(stage, trial, &name, wanted, &mut found).await {
        found.trouble = Some(format!("{error:#}"));
    }
    stage.close(&name).await;
    found
}

fn scenery(stage: &Stage, home: &Home, name: &str, scene: Scene, silent: bool) -> Result<(Ledger, Play)> {
    let ledger = Ledger::make(home.folder.join("ledger"))?;
    let pages = stage.pages.open(name, &ledger, silent);
    Ok((ledger.clone(), Play::new(scene, name, stage.ids.clone(), ledger, pages)))
}

async fn crash_and_go_on(
    stage: &Stage,
    trial: &Try,
    name: &str,
    wanted: &Undisturbed,
    found: &mut Found,
) -> Result<()> {
    let home = stage.home(name).await?;
    let silent = trial.after_kill_at == Some("post");
    let (ledger, mut play) = scenery(stage, &home, name, trial.scene, silent)?;
    if let Some(step) = trial.after_kill_at {
        let Lived::Had(life) = live(&home, &mut play, &ledger, None, Some(step)).await? else {
            bail!("the step {step} has no effect before the end");
        };
        life.kill().await?;
        stage.pages.open(name, &ledger, false);
    }
    let at = format!("{}:{}", trial.point, trial.nth);
    match live(&home, &mut play, &ledger, Some(&at), None).await.context("before the crash")? {
        Lived::Dead => found.reached = told(&home, &trial.point),
        Lived::Through(life) | Lived::Had(life) => {
            // The scene was over before; what it did is compared all the same.
            life.kill().await?;
            return compare(&ledger, &play, wanted, found);
        }
    }
    let unfinished = !play.ended();
    let life = match live(&home, &mut play, &ledger, None, None).await.context("after the crash")? {
        Lived::Through(life) | Lived::Had(life) => life,
        Lived::Dead => bail!("the server died by itself after the crash: {}", home.log_end()),
    };
    found.restarted_in = life.ready_in;
    if unfinished {
        found.resumed_in = resumed(&life, &play).await?;
    }
    life.kill().await?;
    compare(&ledger, &play, wanted, found)
}

/// Whether the process said before its death that it died at this point.
fn told(home: &Home, point: &str) -> bool {
    let told = std::fs::read_to_string(home.crash_log()).unwrap_or_default();
    told.lines().any(|line| line.split(' ').next() == Some(point))
}

fn compare(ledger: &Ledger, play: &Play, wanted: &Undisturbed, found: &mut Found) -> Result<()> {
    found.asked = play.asked();
    found.difference = difference(&wanted.effects, &ledger.read()?);
    for (run, status) in &wanted.ends {
        let had = play.ends().get(run).map_or("", String::as_str);
        if had != status {
            found.ends.push(((*run).to_owned(), status.clone(), had.to_owned()));
        }
    }
    Ok(())
}

/// A life of the server, in which the scene is played until its end, the server's death, or an effect of a step.
async fn live(
    home: &Home,
    play: &mut Play,
    ledger: &Ledger,
    at: Option<&str>,
    until: Option<&str>,
) -> Result<Lived> {
    let begun = Instant::now();
    let Start::Serving(mut life) = Life::start(home, at).await? else { return Ok(Lived::Dead) };
    let mut over: Option<Instant> = None;
    loop {
        if until.is_some_and(|step| ledger.has(step)) {
            return Ok(Lived::Had(life));
        }
        if life.is_dead()? {
            return Ok(Lived::Dead);
        }
        match play.tick(&life.client).await {
            Ok(()) => {}
            // It may be dying; the next look sees it.
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("the scene stands still: {}", play.open()));
            }
        }
        if play.ended() {
            let since = *over.get_or_insert_with(Instant::now);
            if at.is_none() || since.elapsed() > LINGER {
                return Ok(Lived::Through(life));
            }
        }
        if begun.elapsed() > PLAY {
            bail!(
                "not over after {} s: {}; the server says: {}",
                PLAY.as_secs(),
                play.open(),
                home.log_end()
            );
        }
        tokio::time::sleep(TICK).await;
    }
}

/// From the start of a life to the first event that it wrote.
async fn resumed(life: &Life, play: &Play) -> Result<Option<Duration>> {
    const LEGS: &str = "query($e: String!) { execution(executionId: $e) {
        ... on PipelineExecution { memberExecutions(limit: 100) { nodes { id } } } } }";
    let mut first: Option<Millis> = None;
    for execution in play.executions() {
        let mut ids = vec![execution.clone()];
        let found = life.client.graphql(LEGS, serde_json::json!({ "e": execution })).await?;
        let legs = found.pointer("/execution/memberExecutions/nodes").and_then(Value::as_array);
        let legs = legs.into_iter().flatten().filter_map(|leg| leg.get("id")?.as_str());
        ids.extend(legs.map(str::to_owned));
        for id in ids {
            let bytes = life.client.get(&format!("/api/executions/{id}/events"), &[("after", "0")]).await?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let times = events.filter_map(|event| event.get("at")?.as_i64());
            let new = times.filter(|at| *at >= life.since).min();
            first = first.into_iter().chain(new).min();
        }
    }
    Ok(first.map(|at| Duration::from_millis(at.abs_diff(life.since))))
}
