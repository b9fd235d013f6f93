//! Streams that follow something: a journal, a log, the legs of a stage. A hint wakes them, a poll stands behind it, and they end with the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use manifold_control::executions::{LONGEST_PAGE, LegFilter, Order};
use manifold_control::logs::{LogKey, LogPage};
use manifold_control::model::event::Event;
use manifold_control::model::execution::ExecutionRow;
use manifold_control::model::{ElementId, ExecutionId, Status};
use manifold_control::{Actor, Control, Hint, Result};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// How long a stream waits for a hint before it looks anyway.
const POLL: Duration = Duration::from_secs(1);
/// Events or lines of one item of a stream.
const ITEM: u32 = 500;
/// Shortest time between two looks at the legs of a stage.
const FLEET_PACE: Duration = Duration::from_millis(250);
/// A look at all legs may take this part of the time at most.
const FLEET_SHARE: u32 = 4;

/// Whose stream it is, over what, until when.
#[derive(Clone)]
pub struct Feed {
    /// The use cases.
    pub control: Arc<Control>,
    /// Who asks.
    pub actor: Actor,
    /// Ends every stream.
    pub shutdown: CancellationToken,
}

/// Waits for a hint that matters, or the poll. False: the store is closed.
async fn woken(hints: &mut Receiver<Hint>, matters: impl Fn(&Hint) -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + POLL;
    loop {
        match tokio::time::timeout_at(deadline, hints.recv()).await {
            Err(_) | Ok(Err(RecvError::Lagged(_))) => return true,
            Ok(Ok(Hint::Everything)) => return true,
            Ok(Ok(hint)) if matters(&hint) => return true,
            Ok(Ok(_)) => {}
            Ok(Err(RecvError::Closed)) => return false,
        }
    }
}

struct Journal {
    feed: Feed,
    id: ExecutionId,
    after: u64,
    hints: Receiver<Hint>,
    follow: bool,
    over: bool,
}

/// Events after a sequence number, in batches; with `follow` until the execution has ended, else those there are.
pub fn journal(
    feed: Feed,
    id: ExecutionId,
    after: u64,
    follow: bool,
) -> impl Stream<Item = Result<Vec<Event>>> + use<> {
    let end = feed.shutdown.clone().cancelled_owned();
    let hints = feed.control.hints();
    let start = Journal { feed, id, after, hints, follow, over: false };
    stream::unfold(start, |mut at| async move {
        while !at.over {
            let events = at.feed.control.events(&at.feed.actor, &at.id, at.after, ITEM).await;
            match events {
                Err(error) => {
                    at.over = true;
                    return Some((Err(error), at));
                }
                Ok(events) if !events.is_empty() => {
                    at.after = events.last().map_or(at.after, |event| event.seq);
                    return Some((Ok(events), at));
                }
                Ok(_) if !at.follow => at.over = true,
                Ok(_) => match at.feed.control.execution(&at.feed.actor, &at.id).await {
                    Err(error) => {
                        at.over = true;
                        return Some((Err(error), at));
                    }
                    Ok(row) if row.state.status.is_final() && row.state.seq <= at.after => at.over = true,
                    Ok(row) if row.state.seq > at.after => {}
                    Ok(_) => {
                        let id = at.id.clone();
                        at.over |= !woken(&mut at.hints, |hint| *hint == Hint::Execution(id.clone())).await;
                    }
                },
            }
        }
        None
    })
    .take_until(end)
}

struct Tail {
    feed: Feed,
    log: LogKey,
    from: u64,
    hints: Receiver<Hint>,
    follow: bool,
    over: bool,
}

/// Lines of a log from a number on, in batches. Without `follow` those there are; with it until the log is closed.
pub fn log(feed: Feed, log: LogKey, from: u64, follow: bool) -> impl Stream<Item = Result<LogPage>> + use<> {
    let end = feed.shutdown.clone().cancelled_owned();
    let hints = feed.control.log_hints();
    let start = Tail { feed, log, from, hints, follow, over: false };
    stream::unfold(start, |mut at| async move {
        while !at.over {
            match at.feed.control.log_lines(&at.feed.actor, &at.log, at.from, ITEM).await {
                Err(error) => {
                    at.over = true;
                    return Some((Err(error), at));
                }
                Ok(page) if !page.lines.is_empty() => {
                    at.from = page.next;
                    return Some((Ok(page), at));
                }
                Ok(page) if !at.follow || (page.size.closed && page.size.lines < at.from) => at.over = true,
                Ok(_) => {
                    let log = at.log.log.clone();
                    at.over |= !woken(&mut at.hints, |hint| *hint == Hint::Log(log.clone())).await;
                }
            }
        }
        None
    })
    .take_until(end)
}

/// Legs that changed, and how many have which status.
#[derive(Clone, Debug)]
pub struct FleetDelta {
    /// Number of the change in this stream, from 1.
    pub cursor: u64,
    /// Legs as they are now.
    pub legs: Vec<ExecutionRow>,
    /// All by inner status.
    pub counts: BTreeMap<Status, u64>,
}

struct Fleet {
    feed: Feed,
    parent: ExecutionId,
    element: Option<ElementId>,
    hints: Receiver<Hint>,
    seen: HashMap<ExecutionId, u64>,
    cursor: u64,
    over: bool,
}

/// Changes of the legs of a stage, coalesced: the first item holds all legs, later ones those that changed since; it ends with the execution.
pub fn fleet(
    feed: Feed,
    parent: ExecutionId,
    element: Option<ElementId>,
) -> impl Stream<Item = Result<FleetDelta>> + use<> {
    let end = feed.shutdown.clone().cancelled_owned();
    let hints = feed.control.hints();
    let start = Fleet { feed, parent, element, hints, seen: HashMap::new(), cursor: 0, over: false };
    stream::unfold(start, |mut at| async move {
        while !at.over {
            let began = Instant::now();
            match look(&mut at).await {
                Err(error) => {
                    at.over = true;
                    return Some((Err(error), at));
                }
                Ok(Some(delta)) => {
                    let pause = FLEET_PACE.max(began.elapsed() * FLEET_SHARE);
                    tokio::time::sleep(pause).await;
                    return Some((Ok(delta), at));
                }
                Ok(None) => {
                    let parent = at.parent.clone();
                    let matters = |hint: &Hint| match hint {
                        Hint::Rows(of) => of.as_ref() == Some(&parent),
                        Hint::Execution(id) => *id == parent,
                        _ => false,
                    };
                    at.over |= !woken(&mut at.hints, matters).await;
                }
            }
        }
        None
    })
    .take_until(end)
}

async fn look(at: &mut Fleet) -> Result<Option<FleetDelta>> {
    // The parent first: when it has ended, the legs read after it are their last state.
    let ended = at.feed.control.execution(&at.feed.actor, &at.parent).await?.state.status.is_final();
    let mut changed = Vec::new();
    let mut counts = BTreeMap::new();
    let mut offset = 0;
    loop {
        let page = at
            .feed
            .control
            .legs(
                &at.feed.actor,
                &at.parent,
                at.element.as_ref(),
                &LegFilter::default(),
                Order::Place,
                (offset, LONGEST_PAGE),
            )
            .await?;
        offset += page.items.len() as u64;
        let done = page.items.is_empty() || offset >= page.total;
        for row in page.items {
            *counts.entry(row.state.status).or_insert(0) += 1;
            if at.seen.insert(row.id.clone(), row.state.seq) != Some(row.state.seq) {
                changed.push(row);
            }
        }
        if done {
            break;
        }
    }
    at.over |= ended;
    if changed.is_empty() && at.cursor > 0 {
        return Ok(None);
    }
    at.cursor += 1;
    Ok(Some(FleetDelta { cursor: at.cursor, legs: changed, counts }))
}

struct Lists {
    hints: Receiver<Hint>,
    cursor: u64,
    over: bool,
}

/// Says when lists of executions changed, at most four times a second; the parents named are those whose legs changed.
pub fn lists(feed: &Feed) -> impl Stream<Item = (u64, Vec<ExecutionId>)> + use<> {
    let end = feed.shutdown.clone().cancelled_owned();
    let start = Lists { hints: feed.control.hints(), cursor: 0, over: false };
    stream::unfold(start, |mut at| async move {
        let mut parents: Vec<ExecutionId> = Vec::new();
        let mut changed = false;
        let mut until = None;
        while !at.over {
            let hint = match until {
                None => Ok(at.hints.recv().await),
                Some(until) => tokio::time::timeout_at(until, at.hints.recv()).await,
            };
            match hint {
                Err(_) => break,
                Ok(Ok(Hint::Rows(of))) => {
                    changed = true;
                    parents.extend(of.filter(|parent| !parents.contains(parent)));
                }
                Ok(Ok(Hint::Everything) | Err(RecvError::Lagged(_))) => changed = true,
                Ok(Ok(_)) => continue,
                Ok(Err(RecvError::Closed)) => at.over = true,
            }
            until = until.or(Some(tokio::time::Instant::now() + FLEET_PACE));
        }
        at.cursor += 1;
        changed.then_some(((at.cursor, parents), at))
    })
    .take_until(end)
}
