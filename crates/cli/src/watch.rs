//! Watches an execution to its end. The tail of its events wakes, a poll stands behind it (`design.md` 4.9); a server that is away for a while is
//! waited for.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use manifold_model::Millis;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::client::{Client, ClientError};
use crate::print::{Paint, say};
use crate::run::{Depth, Run, fetch};
use crate::show;

/// Between two looks, when nothing wakes.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks at least, however much happens.
const REST: Duration = Duration::from_millis(200);
/// A look at a large execution may take long: between two lie this many times as much, so that watching is no load.
const BREATH: u32 = 5;
/// Longest time between two looks.
const LONGEST: Duration = Duration::from_secs(15);
/// How long an unreachable server is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest time between two tries to open the tail.
const TAIL_LONGEST: Duration = Duration::from_secs(15);
/// Rows and columns of a terminal that does not say how many it has.
const SIZE: (u16, u16) = (24, 80);

/// Where progress is shown.
pub trait Progress {
    /// The execution is like this now.
    fn update(&mut self, run: &Run);
    /// Something to say beside it.
    fn note(&mut self, text: &str);
    /// Nothing more comes.
    fn finish(&mut self);
}

/// Progress on standard error: a screen that is drawn again and again on a terminal, a line per change elsewhere.
#[must_use]
pub fn progress() -> Box<dyn Progress + Send> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stderr().is_terminal() && !dumb { Box::new(Screen::new()) } else { Box::new(Log::default()) }
}

/// Watches an execution until it has ended.
///
/// # Errors
/// When there is no such execution, or the server stays away for two minutes.
pub async fn follow(client: &Client, id: &str, progress: &mut dyn Progress) -> Result<Run, ClientError> {
    let wake = Arc::new(Notify::new());
    let mut tail: Option<Tail> = None;
    let mut away: Option<Instant> = None;
    loop {
        let began = Instant::now();
        match fetch(client, id, Depth::Live).await {
            Ok(run) => {
                away = None;
                progress.update(&run);
                if run.is_final() {
                    break;
                }
                if tail.is_none() {
                    tail = Some(Tail::start(client.clone(), id.to_owned(), run.seq, Arc::clone(&wake)));
                }
            }
            Err(error @ ClientError::Unreachable { .. }) => match away {
                // The first look fails at once: nothing has been watched yet.
                None if tail.is_none() => return Err(error),
                None => {
                    away = Some(began);
                    progress.note(&format!("{error}; trying again for {} s", PATIENCE.as_secs()));
                }
                Some(since) if since.elapsed() > PATIENCE => return Err(error),
                Some(_) => {}
            },
            Err(error) => return Err(error),
        }
        pause(&wake, began.elapsed()).await;
    }
    progress.finish();
    drop(tail);
    fetch(client, id, Depth::All).await
}

/// Waits for the next look.
async fn pause(wake: &Notify, took: Duration) {
    let rest = took.saturating_mul(BREATH).clamp(REST, LONGEST);
    sleep(rest).await;
    let longest = POLL.max(rest).saturating_sub(rest);
    tokio::select! {
        () = wake.notified() => {}
        () = sleep(longest) => {}
    }
}

/// Reads the events of an execution and wakes whoever waits; ends when it is dropped.
struct Tail(tokio::task::JoinHandle<()>);

impl Tail {
    fn start(client: Client, id: String, after: u64, wake: Arc<Notify>) -> Self {
        Self(tokio::spawn(read_events(client, id, after, wake)))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tail is a hint only: what goes wrong with it is seen, and said, by the poll.
async fn read_events(client: Client, id: String, mut after: u64, wake: Arc<Notify>) {
    let path = format!("/api/executions/{id}/events");
    let mut gap = POLL;
    loop {
        let seen = after;
        if let Ok(mut lines) = client.tail(&path, &[("after", &after.to_string()), ("follow", "true")]).await
        {
            while let Ok(Some(event)) = lines.next().await {
                after = event.get("seq").and_then(Value::as_u64).unwrap_or(after).max(after);
                wake.notify_one();
            }
        }
        gap = if after > seen { POLL } else { gap.saturating_mul(2).min(TAIL_LONGEST) };
        sleep(gap).await;
    }
}

fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

/// Lines that are drawn again and again.
struct Screen {
    bar: ProgressBar,
    paint: Paint,
}

impl Screen {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        Self { bar, paint: Paint::of_stderr() }
    }
}

impl Progress for Screen {
    fn update(&mut self, run: &Run) {
        let (rows, columns) = console::Term::stderr().size_checked().unwrap_or(SIZE);
        let room = usize::from(rows.saturating_sub(1));
        let lines: Vec<String> = show::screen(run, now(), room, self.paint)
            .iter()
            .take(room)
            .map(|line| console::truncate_str(line, usize::from(columns), "…").into_owned())
            .collect();
        self.bar.set_message(lines.join("\n"));
        self.bar.tick();
    }

    fn note(&mut self, text: &str) {
        self.bar.println(text);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line per change.
#[derive(Default)]
struct Log {
    last: Option<Run>,
}

impl Progress for Log {
    fn update(&mut self, run: &Run) {
        show::changes(self.last.as_ref(), run).iter().for_each(|line| say(line));
        self.last = Some(run.clone());
    }

    fn note(&mut self, text: &str) {
        say(text);
    }

    fn finish(&mut self) {}
}
