//! Filters of `executions` (`wire.md` 3.4).

use async_graphql::{Enum, InputObject};
use manifold_control::Error;
use manifold_control::Snapshot;
use manifold_control::executions::{Condition, ExecutionFilter as Filter, IdColumn, Operator, TimeColumn};

use super::filter::{EnvironmentTypeFilter, IdFilter, NumberFilter, TagInput, TimeFilter, unanswerable};

/// On what the tag of an execution stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "names of entities")]
pub enum DeploymentTagType {
    Application,
    Service,
    Environment,
    Deployment,
}

/// A condition on tags of executions.
#[derive(InputObject, Clone, Debug)]
pub struct DeploymentTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<DeploymentTagType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which executions; all conditions must hold.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Execution.
    pub execution: Option<IdFilter>,
    /// Application.
    pub application: Option<IdFilter>,
    /// Application, by its id alone.
    pub application_id: Option<String>,
    /// Service.
    pub service: Option<IdFilter>,
    /// Cloud provider of the infrastructure.
    pub cloud_provider: Option<IdFilter>,
    /// Environment.
    pub environment: Option<IdFilter>,
    /// Status.
    pub status: Option<IdFilter>,
    /// Who started it.
    pub triggered_by: Option<IdFilter>,
    /// Trigger.
    pub trigger: Option<IdFilter>,
    /// Workflow.
    pub workflow: Option<IdFilter>,
    /// Pipeline.
    pub pipeline: Option<IdFilter>,
    /// Pipeline execution of which it is a leg.
    pub pipeline_execution_id: Option<IdFilter>,
    /// Build number.
    pub artifact_build_no: Option<IdFilter>,
    /// Chart version.
    pub helm_chart_version: Option<IdFilter>,
    /// Infrastructure definition.
    pub infrastructure_definition: Option<IdFilter>,
    /// Type of the environment.
    pub environment_type: Option<EnvironmentTypeFilter>,
    /// When it began.
    pub start_time: Option<TimeFilter>,
    /// When it ended.
    pub end_time: Option<TimeFilter>,
    /// When it was queued.
    pub creation_time: Option<TimeFilter>,
    /// How long it took.
    pub duration: Option<NumberFilter>,
    /// Tags.
    pub tag: Option<DeploymentTagFilter>,
}

/// Filters as the store takes them.
///
/// # Errors
/// When one cannot be answered.
pub fn conditions(
    filters: Option<Vec<Option<ExecutionFilter>>>,
    include_indirect: bool,
    snapshot: &Snapshot,
) -> Result<Filter, Error> {
    let mut out = Filter { include_indirect, ..Filter::default() };
    for filter in filters.into_iter().flatten().flatten() {
        one(&filter, snapshot, &mut out)?;
    }
    Ok(out)
}

fn one(filter: &ExecutionFilter, snapshot: &Snapshot, out: &mut Filter) -> Result<(), Error> {
    let ids = [
        (IdColumn::Execution, &filter.execution),
        (IdColumn::Application, &filter.application),
        (IdColumn::Service, &filter.service),
        (IdColumn::Environment, &filter.environment),
        (IdColumn::Status, &filter.status),
        (IdColumn::TriggeredBy, &filter.triggered_by),
        (IdColumn::Workflow, &filter.workflow),
        (IdColumn::Pipeline, &filter.pipeline),
        (IdColumn::PipelineExecution, &filter.pipeline_execution_id),
        (IdColumn::Infrastructure, &filter.infrastructure_definition),
    ];
    for (column, filter) in ids {
        if let Some(filter) = filter {
            let values = filter.values();
            out.conditions.push(Condition::Id(column, filter.operator.operator(values.len()), values));
        }
    }
    if let Some(id) = &filter.application_id {
        out.conditions.push(Condition::Id(IdColumn::Application, Operator::Equals, vec![id.clone()]));
    }
    let times = [
        (TimeColumn::Started, filter.start_time),
        (TimeColumn::Ended, filter.end_time),
        (TimeColumn::Created, filter.creation_time),
    ];
    for (column, filter) in times {
        if let Some(filter) = filter {
            out.conditions.push(Condition::Time(column, filter.comparison(), filter.value.0));
        }
    }
    // Asked for one execution or for the members of one, a client means it, whatever it belongs to.
    out.include_indirect |= filter.execution.is_some() || filter.pipeline_execution_id.is_some();
    out.include_superseded |= filter.execution.is_some();
    from_catalog(filter, snapshot, out);
    for (name, given) in [
        ("artifactBuildNo", filter.artifact_build_no.is_some()),
        ("helmChartVersion", filter.helm_chart_version.is_some()),
        ("duration", filter.duration.is_some()),
    ] {
        if given {
            return Err(unanswerable(name));
        }
    }
    Ok(())
}

/// Conditions on what the catalog knows of environments, infrastructures and tags.
fn from_catalog(filter: &ExecutionFilter, snapshot: &Snapshot, out: &mut Filter) {
    let catalog = &snapshot.catalog;
    if let Some(kind) = &filter.environment_type {
        let ids = catalog
            .environments
            .values()
            .filter(|environment| kind.admits(environment.environment_type.into()))
            .map(|environment| environment.id.to_string())
            .collect();
        out.conditions.push(Condition::Id(IdColumn::Environment, Operator::In, ids));
    }
    if let Some(provider) = &filter.cloud_provider {
        let ids = catalog
            .infrastructures
            .values()
            .filter(|infrastructure| {
                infrastructure
                    .cloud_provider_name
                    .as_deref()
                    .and_then(|name| catalog.cloud_provider_named(name))
                    .is_some_and(|found| provider.admits(found.id.as_str()))
            })
            .map(|infrastructure| infrastructure.id.to_string())
            .collect();
        out.conditions.push(Condition::Id(IdColumn::Infrastructure, Operator::In, ids));
    }
    if let Some(tag) = &filter.tag {
        let wanted = tag.tags.as_deref().unwrap_or_default();
        let tagged = |tags: &[manifold_control::model::entity::Tag]| super::filter::tagged(wanted, tags);
        let (column, ids): (IdColumn, Vec<String>) = match tag.entity_type {
            Some(DeploymentTagType::Service) => (
                IdColumn::Service,
                catalog.services.values().filter(|it| tagged(&it.tags)).map(|it| it.id.to_string()).collect(),
            ),
            Some(DeploymentTagType::Environment) => (
                IdColumn::Environment,
                catalog
                    .environments
                    .values()
                    .filter(|it| tagged(&it.tags))
                    .map(|it| it.id.to_string())
                    .collect(),
            ),
            // Executions carry no tags of their own.
            Some(DeploymentTagType::Deployment) => (IdColumn::Execution, Vec::new()),
            Some(DeploymentTagType::Application) | None => (
                IdColumn::Application,
                catalog
                    .applications
                    .values()
                    .filter(|it| tagged(&it.tags))
                    .map(|it| it.id.to_string())
                    .collect(),
            ),
        };
        out.conditions.push(Condition::Id(column, Operator::In, ids));
    }
    // Nothing is started by triggers yet, so only their absence can match.
    if let Some(trigger) = &filter.trigger
        && trigger.operator != super::filter::IdOperator::NotIn
    {
        out.conditions.push(Condition::Id(IdColumn::Execution, Operator::In, Vec::new()));
    }
}
