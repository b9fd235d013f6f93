//! Lists of executions, their legs and their events.

use std::collections::BTreeMap;

use manifold_model::event::Event;
use manifold_model::execution::ExecutionRow;
use manifold_model::{ElementId, ExecutionId, Problem, Status, code};
pub use manifold_store::{
    Comparison, Condition, ExecutionFilter, IdColumn, Operator, Order, Page, TimeColumn,
};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// Longest page of a list (`behaviour.md` 16.1): above it is an error, never a silent clamp.
pub const LONGEST_PAGE: u32 = 1_000;
/// Longest page of legs (`ui.md` X5).
pub const LONGEST_LEGS: u32 = 200;
/// Stage rows that one pipeline execution shows at most: FirstGen has no paging there.
pub const STAGE_ROWS: u32 = 10_000;

/// Which legs of a stage.
#[derive(Clone, Debug, Default)]
pub struct LegFilter {
    /// Inner statuses; empty: any.
    pub statuses: Vec<Status>,
    /// Part of the infrastructure's name, without regard to case.
    pub infrastructure: Option<String>,
    /// Service ids; empty: any.
    pub services: Vec<String>,
}

/// Refuses pages that are too long.
///
/// # Errors
/// When `limit` is above `most`.
pub fn page_limit(limit: i64, most: u32) -> Result<u32> {
    u32::try_from(limit).ok().filter(|limit| *limit <= most).ok_or_else(|| {
        Error::refused(
            Problem::new(code!("LIMIT_OUT_OF_RANGE"), format!("limit must lie between 0 and {most}"))
                .item(limit.to_string())
                .hint("ask for less and page with offset"),
        )
    })
}

/// Refuses negative offsets.
///
/// # Errors
/// When it is negative.
pub fn page_offset(offset: Option<i64>) -> Result<u64> {
    u64::try_from(offset.unwrap_or(0))
        .map_err(|_| Error::refused(Problem::new(code!("LIMIT_OUT_OF_RANGE"), "offset must not be negative")))
}

impl Control {
    /// One execution.
    ///
    /// # Errors
    /// With the phrase of `wire.md` 1.5 when there is none.
    pub async fn execution(&self, actor: &Actor, id: &ExecutionId) -> Result<ExecutionRow> {
        let row = self.row(id).await?;
        authorise(actor, Action::Read, Resource::Application(&row.application.id))?;
        Ok(row)
    }

    /// Executions, newest first.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn executions(
        &self,
        actor: &Actor,
        filter: &ExecutionFilter,
        offset: u64,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.executions(filter, Order::Newest, offset, limit).await?)
    }

    /// Legs of a pipeline execution: of one stage element, or of all.
    ///
    /// # Errors
    /// When there is no such execution.
    pub async fn legs(
        &self,
        actor: &Actor,
        parent: &ExecutionId,
        element: Option<&ElementId>,
        filter: &LegFilter,
        order: Order,
        (offset, limit): (u64, u32),
    ) -> Result<Page<ExecutionRow>> {
        self.execution(actor, parent).await?;
        let filter = legs_of(parent, element, filter);
        Ok(self.store.executions(&filter, order, offset, limit).await?)
    }

    /// How many legs have which inner status.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn leg_counts(
        &self,
        actor: &Actor,
        parent: &ExecutionId,
        element: Option<&ElementId>,
    ) -> Result<BTreeMap<Status, u64>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.execution_counts(&legs_of(parent, element, &LegFilter::default())).await?)
    }

    /// Events of an execution after a sequence number.
    ///
    /// # Errors
    /// When there is no such execution.
    pub async fn events(
        &self,
        actor: &Actor,
        id: &ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Event>> {
        self.execution(actor, id).await?;
        Ok(self.store.events(id, after, limit).await?)
    }
}

fn legs_of(parent: &ExecutionId, element: Option<&ElementId>, filter: &LegFilter) -> ExecutionFilter {
    let mut conditions =
        vec![Condition::Id(IdColumn::PipelineExecution, Operator::Equals, vec![parent.to_string()])];
    if let Some(element) = element {
        conditions.push(Condition::Id(IdColumn::Element, Operator::Equals, vec![element.to_string()]));
    }
    if !filter.statuses.is_empty() {
        let names = filter.statuses.iter().map(|status| status.name().to_owned()).collect();
        conditions.push(Condition::Id(IdColumn::InnerStatus, Operator::In, names));
    }
    if let Some(text) = filter.infrastructure.as_ref().filter(|text| !text.is_empty()) {
        conditions.push(Condition::Id(IdColumn::InfrastructureName, Operator::Like, vec![text.clone()]));
    }
    if !filter.services.is_empty() {
        conditions.push(Condition::Id(IdColumn::Service, Operator::In, filter.services.clone()));
    }
    ExecutionFilter { conditions, include_indirect: true, include_superseded: true }
}
