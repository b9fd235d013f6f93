//! Subscriptions (graphql-transport-ws).

use async_graphql::{Context, Result, Subscription as Root};
use futures::{Stream, StreamExt};
use manifold_control::executions::page_offset;
use manifold_control::logs::key_of;
use manifold_control::model::{ElementId, ExecutionId};
use tokio_util::sync::CancellationToken;

use super::execution::WorkflowExecution;
use super::leg::{ExecutionEvent, ExecutionsChange, FleetChange, StatusCount};
use super::log::LogLines;
use super::{actor_of, control_of};
use crate::error;
use crate::feed::{self, Feed};

/// The subscription root.
#[derive(Debug)]
pub struct Subscription;

fn feed_of(ctx: &Context<'_>) -> Result<Feed> {
    Ok(Feed {
        control: control_of(ctx)?.clone(),
        actor: actor_of(ctx)?.clone(),
        shutdown: ctx.data::<CancellationToken>()?.clone(),
    })
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What can be followed.
#[Root]
impl Subscription {
    /// The journal of an execution after a sequence number; ends with the execution.
    async fn execution_events(
        &self,
        ctx: &Context<'_>,
        execution_id: String,
        after: Option<i64>,
    ) -> Result<impl Stream<Item = Result<ExecutionEvent>> + use<>> {
        let after = page_offset(after).map_err(error::graphql)?;
        let batches = feed::journal(feed_of(ctx)?, ExecutionId::from(execution_id), after, true);
        Ok(batches.flat_map(|batch| {
            let items: Vec<Result<ExecutionEvent>> = match batch {
                Ok(events) => events.iter().map(|event| Ok(ExecutionEvent::from(event))).collect(),
                Err(refusal) => vec![Err(error::graphql(refusal))],
            };
            futures::stream::iter(items)
        }))
    }

    /// Says when lists of executions changed, a few times a second at most.
    async fn executions_changed(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = ExecutionsChange> + use<>> {
        Ok(feed::lists(&feed_of(ctx)?).map(|(cursor, parents)| ExecutionsChange {
            cursor: whole(cursor),
            parents: parents.iter().map(ToString::to_string).collect(),
        }))
    }

    /// Legs of a stage (of all, without one) that changed, coalesced. The first item holds all of them, whatever `after` says; the stream ends
    /// with the execution.
    async fn fleet_changed(
        &self,
        ctx: &Context<'_>,
        execution_id: String,
        stage_element_id: Option<String>,
        after: Option<i64>,
    ) -> Result<impl Stream<Item = Result<FleetChange>> + use<>> {
        let base = page_offset(after).map_err(error::graphql)?;
        let feed = feed_of(ctx)?;
        let snapshot = feed.control.snapshot().await.map_err(error::graphql)?;
        let element = stage_element_id.map(ElementId::from);
        Ok(feed::fleet(feed, ExecutionId::from(execution_id), element).map(move |delta| {
            let delta = delta.map_err(error::graphql)?;
            Ok(FleetChange {
                cursor: whole(base.saturating_add(delta.cursor)),
                counts: StatusCount::all(&delta.counts),
                legs: delta
                    .legs
                    .into_iter()
                    .map(|row| WorkflowExecution { snapshot: snapshot.clone(), row })
                    .collect(),
            })
        }))
    }

    /// Lines of a log from a number on, as they come.
    async fn log_appended(
        &self,
        ctx: &Context<'_>,
        log_id: String,
        from: Option<i64>,
    ) -> Result<impl Stream<Item = Result<LogLines>> + use<>> {
        let from = page_offset(from).map_err(error::graphql)?;
        let pages = feed::log(feed_of(ctx)?, key_of(&log_id).map_err(error::graphql)?, from, true);
        Ok(pages.map(|page| page.map(LogLines::from).map_err(error::graphql)))
    }
}
