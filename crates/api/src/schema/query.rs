//! Queries.

use async_graphql::{Context, Object, Result};
use manifold_control::cloud_providers::no_cloud_provider;
use manifold_control::executions::{LONGEST_LEGS, page_limit, page_offset};
use manifold_control::logs::{LONGEST_LINES, key_of};
use manifold_control::model::{ArtifactId, ConstraintId, ElementId, EntityId, ExecutionId, SecretId};
use manifold_control::secrets::BUILT_IN_MANAGER;
use manifold_control::{Error, applications};

use super::application::Application;
use super::artifact::{Artifact, ArtifactFilter};
use super::cloud_provider::{CloudProvider, CloudProviderFilter};
use super::constraint::ResourceConstraint;
use super::environment::{Environment, EnvironmentFilter};
use super::execution::{Execution, WorkflowExecution};
use super::filter::IdFilter;
use super::infrastructure::{InfrastructureDefinition, InfrastructureDefinitionFilter};
use super::leg::{ExecutionEvent, ExecutionEventPage, LegFilter, LegPage, LegSort, StatusCount};
use super::list::{ExecutionFilter, conditions};
use super::log::{Log, LogLines};
use super::option::{
    ExecutionInputs, LimitInfo, OptionFilter, OptionSort, ServerInfo, VariableOption, VariableOptionPage,
    Viewer,
};
use super::page::{Connection, Window, cost};
use super::pipeline::{Pipeline, PipelineFilter};
use super::secret::{Secret, SecretManager, SecretType};
use super::service::{Service, ServiceFilter};
use super::start::{ExecutionType, VariableInput, variables};
use super::workflow::{Workflow, WorkflowFilter};
use super::{Version, actor_of, application_of, control_of, named_in, snapshot_of};
use crate::error;

/// Longest page of events (`ui.md` X7).
const LONGEST_EVENTS: u32 = 1_000;

/// The query root.
#[derive(Debug)]
pub struct Query;

fn missing(what: &str) -> async_graphql::Error {
    error::graphql(Error::not_found(format!("{what} does not exist")))
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What can be asked.
#[Object(name = "CoreQuery")]
impl Query {
    async fn application(&self, ctx: &Context<'_>, application_id: String) -> Result<Option<Application>> {
        let found = application_of(ctx, &EntityId::from(application_id)).await?;
        found.map(Some).ok_or_else(|| error::graphql(applications::no_application()))
    }

    async fn application_by_name(&self, ctx: &Context<'_>, name: String) -> Result<Option<Application>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.application_named(&name).cloned();
        entity
            .map(|entity| Some(Application { snapshot, entity }))
            .ok_or_else(|| error::graphql(applications::no_application()))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn applications(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<super::application::ApplicationFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Application>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.applications,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.into_iter().map(|entity| Application { snapshot: snapshot.clone(), entity })))
    }

    async fn service(&self, ctx: &Context<'_>, service_id: String) -> Result<Option<Service>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.services.get(&EntityId::from(service_id)).cloned();
        entity.map(|entity| Some(Service { snapshot, entity })).ok_or_else(|| missing("Service"))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn services(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<ServiceFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Service>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.services,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(&snapshot, one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.into_iter().map(|entity| Service { snapshot: snapshot.clone(), entity })))
    }

    async fn environment(&self, ctx: &Context<'_>, environment_id: String) -> Result<Option<Environment>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.environments.get(&EntityId::from(environment_id)).cloned();
        entity.map(|entity| Some(Environment { snapshot, entity })).ok_or_else(|| missing("Environment"))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn environments(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<EnvironmentFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Environment>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.environments,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.into_iter().map(|entity| Environment { snapshot: snapshot.clone(), entity })))
    }

    async fn infrastructure_definition(
        &self,
        ctx: &Context<'_>,
        infrastructure_id: String,
    ) -> Result<Option<InfrastructureDefinition>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.infrastructures.get(&EntityId::from(infrastructure_id)).cloned();
        entity
            .map(|entity| Some(InfrastructureDefinition { snapshot, entity }))
            .ok_or_else(|| missing("Infrastructure definition"))
    }

    async fn infrastructure_definition_by_name(
        &self,
        ctx: &Context<'_>,
        infrastructure_name: String,
        environment_id: String,
    ) -> Result<Option<InfrastructureDefinition>> {
        let snapshot = snapshot_of(ctx).await?;
        let environment = EntityId::from(environment_id);
        let entity = snapshot.catalog.infrastructure_named(&environment, &infrastructure_name).cloned();
        entity
            .map(|entity| Some(InfrastructureDefinition { snapshot, entity }))
            .ok_or_else(|| missing("Infrastructure definition"))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn infrastructure_definitions(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<InfrastructureDefinitionFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<InfrastructureDefinition>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.infrastructures,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(&snapshot, one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(
            found.into_iter().map(|entity| InfrastructureDefinition { snapshot: snapshot.clone(), entity }),
        ))
    }

    async fn workflow(&self, ctx: &Context<'_>, workflow_id: String) -> Result<Option<Workflow>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.workflows.get(&EntityId::from(workflow_id)).cloned();
        entity.map(|entity| Some(Workflow { snapshot, entity })).ok_or_else(|| missing("Workflow"))
    }

    async fn workflow_by_name(
        &self,
        ctx: &Context<'_>,
        workflow_name: String,
        application_id: String,
    ) -> Result<Option<Workflow>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity =
            snapshot.catalog.workflow_named(&EntityId::from(application_id), &workflow_name).cloned();
        entity.map(|entity| Some(Workflow { snapshot, entity })).ok_or_else(|| missing("Workflow"))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn workflows(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<WorkflowFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Workflow>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.workflows,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.into_iter().map(|entity| Workflow { snapshot: snapshot.clone(), entity })))
    }

    async fn pipeline(&self, ctx: &Context<'_>, pipeline_id: String) -> Result<Option<Pipeline>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity = snapshot.catalog.pipelines.get(&EntityId::from(pipeline_id)).cloned();
        entity.map(|entity| Some(Pipeline { snapshot, entity })).ok_or_else(|| missing("Pipeline"))
    }

    async fn pipeline_by_name(
        &self,
        ctx: &Context<'_>,
        pipeline_name: String,
        application_id: String,
    ) -> Result<Option<Pipeline>> {
        let snapshot = snapshot_of(ctx).await?;
        let entity =
            snapshot.catalog.pipeline_named(&EntityId::from(application_id), &pipeline_name).cloned();
        entity.map(|entity| Some(Pipeline { snapshot, entity })).ok_or_else(|| missing("Pipeline"))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn pipelines(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<PipelineFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Pipeline>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.pipelines,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.into_iter().map(|entity| Pipeline { snapshot: snapshot.clone(), entity })))
    }

    async fn artifact(&self, ctx: &Context<'_>, artifact_id: String) -> Result<Option<Artifact>> {
        let id = ArtifactId::from(artifact_id);
        let artifact = control_of(ctx)?.artifact(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(Artifact { snapshot: snapshot_of(ctx).await?, artifact }))
    }

    /// Collected artifacts; the filters must name sources or artifacts.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn artifacts(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<ArtifactFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Artifact>> {
        let window = Window::of(limit, offset)?;
        let snapshot = snapshot_of(ctx).await?;
        let filters: Vec<ArtifactFilter> = filters.into_iter().flatten().flatten().collect();
        let passes = |filter: Option<&IdFilter>, value: &str| super::filter::admits(filter, value);
        let sources: Vec<EntityId> = snapshot
            .catalog
            .services
            .values()
            .flat_map(|service| &service.sources)
            .filter(|source| {
                filters.iter().all(|filter| {
                    passes(filter.artifact_source.as_ref(), source.id.as_str())
                        && passes(filter.artifact_stream_type.as_ref(), &source.kind)
                })
            })
            .map(|source| source.id.clone())
            .collect();
        let mut found = Vec::new();
        for source in &sources {
            let page = control_of(ctx)?
                .artifacts(actor_of(ctx)?, source, 0, ARTIFACTS_PER_SOURCE)
                .await
                .map_err(error::graphql)?;
            found.extend(page.items.into_iter().filter(|artifact| {
                filters.iter().all(|filter| passes(filter.artifact.as_ref(), artifact.id.as_str()))
            }));
        }
        found.sort_by(|a, b| b.collected_at.cmp(&a.collected_at).then_with(|| a.id.cmp(&b.id)));
        Ok(window.cut(found.into_iter().map(|artifact| Artifact { snapshot: snapshot.clone(), artifact })))
    }

    /// Which services need an artifact, given the values so far.
    async fn execution_inputs(
        &self,
        ctx: &Context<'_>,
        entity_id: String,
        application_id: String,
        execution_type: ExecutionType,
        variable_inputs: Option<Vec<Option<VariableInput>>>,
    ) -> Result<Option<ExecutionInputs>> {
        let snapshot = snapshot_of(ctx).await?;
        if !snapshot.catalog.applications.contains_key(&EntityId::from(application_id)) {
            return Err(error::graphql(applications::no_application()));
        }
        let services = control_of(ctx)?
            .artifact_needs(
                actor_of(ctx)?,
                &EntityId::from(entity_id),
                execution_type.into(),
                &variables(variable_inputs),
            )
            .await
            .map_err(error::graphql)?;
        let service_inputs =
            services.into_iter().map(|entity| Service { snapshot: snapshot.clone(), entity }).collect();
        Ok(Some(ExecutionInputs { service_inputs, service_manifest_inputs: Vec::new() }))
    }

    /// The values that may be chosen for a variable, with the reasons why not.
    #[graphql(complexity = "cost(limit.unwrap_or(100), child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "arguments of the wire")]
    async fn variable_options(
        &self,
        ctx: &Context<'_>,
        application_id: Option<String>,
        entity_id: String,
        execution_type: ExecutionType,
        variable: String,
        variable_inputs: Option<Vec<Option<VariableInput>>>,
        filter: Option<OptionFilter>,
        sort: Option<OptionSort>,
        offset: Option<i64>,
        limit: Option<i64>,
    ) -> Result<VariableOptionPage> {
        let _ = application_id;
        let limit = page_limit(limit.unwrap_or(100), LONGEST_LEGS).map_err(error::graphql)?;
        let offset = page_offset(offset).map_err(error::graphql)?;
        let options = control_of(ctx)?
            .options(
                actor_of(ctx)?,
                &EntityId::from(entity_id),
                execution_type.into(),
                &variable,
                &variables(variable_inputs),
            )
            .await
            .map_err(error::graphql)?;
        let filter = filter.unwrap_or_default();
        let part = filter.name.unwrap_or_default().to_lowercase();
        let total = options.candidates.len();
        let selectable = options.candidates.iter().filter(|one| one.selectable()).count();
        let mut matching: Vec<VariableOption> = options
            .candidates
            .into_iter()
            .filter(|one| one.name.to_lowercase().contains(&part))
            .filter(|one| filter.selectable.is_none_or(|wanted| wanted == one.selectable()))
            .map(|one| VariableOption {
                selectable: one.selectable(),
                id: one.id,
                name: one.name,
                blocked: one.blocked,
                marks: one.marks,
            })
            .collect();
        if sort == Some(OptionSort::NameDescending) {
            matching.reverse();
        }
        Ok(VariableOptionPage {
            kind: options.kind,
            multiple: options.multiple,
            why_single: options.why_single,
            environment_id: options.environment.map(|id| id.to_string()),
            total: whole(total as u64),
            matching: whole(matching.len() as u64),
            selectable: whole(selectable as u64),
            nodes: matching
                .into_iter()
                .skip(usize::try_from(offset).unwrap_or(usize::MAX))
                .take(limit as usize)
                .collect(),
        })
    }

    async fn execution(&self, ctx: &Context<'_>, execution_id: String) -> Result<Option<Execution>> {
        let id = ExecutionId::from(execution_id);
        let row = control_of(ctx)?.execution(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(Execution::of(&snapshot_of(ctx).await?, row)))
    }

    /// Executions, newest first. Legs of pipelines only when asked for.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn executions(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<ExecutionFilter>>>,
        include_indirect_executions: Option<bool>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Execution>> {
        let window = Window::of(limit, offset)?;
        let snapshot = snapshot_of(ctx).await?;
        let filter = conditions(filters, include_indirect_executions.unwrap_or(false), &snapshot)
            .map_err(error::graphql)?;
        let page = control_of(ctx)?
            .executions(actor_of(ctx)?, &filter, window.offset, window.limit)
            .await
            .map_err(error::graphql)?;
        let nodes: Vec<Execution> = page.items.into_iter().map(|row| Execution::of(&snapshot, row)).collect();
        Ok(Connection { page_info: window.info(page.total, nodes.len()), nodes })
    }

    /// Legs of a pipeline execution, filtered, sorted and counted here.
    #[graphql(complexity = "cost(limit.unwrap_or(100), child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "arguments of the wire")]
    async fn legs(
        &self,
        ctx: &Context<'_>,
        execution_id: String,
        stage_element_id: Option<String>,
        filter: Option<LegFilter>,
        sort: Option<LegSort>,
        offset: Option<i64>,
        limit: Option<i64>,
    ) -> Result<LegPage> {
        let limit = page_limit(limit.unwrap_or(100), LONGEST_LEGS).map_err(error::graphql)?;
        let offset = page_offset(offset).map_err(error::graphql)?;
        let filter =
            filter.unwrap_or_default().read().map_err(|problem| error::graphql(Error::refused(problem)))?;
        let id = ExecutionId::from(execution_id);
        let element = stage_element_id.map(ElementId::from);
        let (control, actor) = (control_of(ctx)?, actor_of(ctx)?);
        let page = control
            .legs(actor, &id, element.as_ref(), &filter, sort.unwrap_or_default().into(), (offset, limit))
            .await
            .map_err(error::graphql)?;
        let counts = control.leg_counts(actor, &id, element.as_ref()).await.map_err(error::graphql)?;
        let snapshot = snapshot_of(ctx).await?;
        Ok(LegPage {
            nodes: page
                .items
                .into_iter()
                .map(|row| WorkflowExecution { snapshot: snapshot.clone(), row })
                .collect(),
            matching: whole(page.total),
            total: whole(counts.values().sum()),
            counts: StatusCount::all(&counts),
        })
    }

    /// The journal of one execution after a sequence number.
    #[graphql(complexity = "cost(limit.unwrap_or(100), child_complexity)")]
    async fn execution_events(
        &self,
        ctx: &Context<'_>,
        execution_id: String,
        after_seq: Option<i64>,
        limit: Option<i64>,
    ) -> Result<ExecutionEventPage> {
        let limit = page_limit(limit.unwrap_or(100), LONGEST_EVENTS).map_err(error::graphql)?;
        let after = page_offset(after_seq).map_err(error::graphql)?;
        let id = ExecutionId::from(execution_id);
        let (control, actor) = (control_of(ctx)?, actor_of(ctx)?);
        let events = control.events(actor, &id, after, limit).await.map_err(error::graphql)?;
        let last = control.execution(actor, &id).await.map_err(error::graphql)?.state.seq;
        let shown = events.last().map_or(after, |event| event.seq);
        Ok(ExecutionEventPage {
            nodes: events.iter().map(ExecutionEvent::from).collect(),
            last_seq: whole(last),
            has_more: shown < last,
        })
    }

    /// How much there is of a log.
    async fn log(&self, ctx: &Context<'_>, log_id: String) -> Result<Log> {
        let page = control_of(ctx)?
            .log_lines(actor_of(ctx)?, &key_of(&log_id).map_err(error::graphql)?, 1, 0)
            .await
            .map_err(error::graphql)?;
        let size = page.size;
        Ok(Log {
            id: log_id,
            lines: whole(size.lines),
            bytes: whole(size.bytes),
            dropped: whole(size.dropped_lines),
            closed: size.closed,
        })
    }

    /// Lines of a log from a number on.
    #[graphql(complexity = "cost(limit.unwrap_or(100), child_complexity)")]
    async fn log_lines(
        &self,
        ctx: &Context<'_>,
        log_id: String,
        from: Option<i64>,
        limit: Option<i64>,
    ) -> Result<LogLines> {
        let limit = page_limit(limit.unwrap_or(100), LONGEST_LINES).map_err(error::graphql)?;
        let from = page_offset(from).map_err(error::graphql)?;
        let page = control_of(ctx)?
            .log_lines(actor_of(ctx)?, &key_of(&log_id).map_err(error::graphql)?, from, limit)
            .await
            .map_err(error::graphql)?;
        Ok(page.into())
    }

    async fn secret(
        &self,
        ctx: &Context<'_>,
        secret_id: String,
        secret_type: SecretType,
    ) -> Result<Option<Secret>> {
        let id = SecretId::from(secret_id);
        let record =
            control_of(ctx)?.secret(actor_of(ctx)?, &id, secret_type.into()).await.map_err(error::graphql)?;
        Ok(Some(record.into()))
    }

    async fn secret_by_name(
        &self,
        ctx: &Context<'_>,
        name: String,
        secret_type: SecretType,
    ) -> Result<Option<Secret>> {
        let record = control_of(ctx)?
            .secret_named(actor_of(ctx)?, &name, secret_type.into())
            .await
            .map_err(error::graphql)?;
        Ok(Some(record.into()))
    }

    /// All secrets by name, without their values.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn secrets(
        &self,
        ctx: &Context<'_>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<Secret>> {
        let window = Window::of(limit, offset)?;
        let records = control_of(ctx)?.secrets(actor_of(ctx)?).await.map_err(error::graphql)?;
        Ok(window.cut(records.into_iter().map(Secret::from).collect::<Vec<_>>()))
    }

    /// A resource constraint.
    async fn resource_constraint(
        &self,
        ctx: &Context<'_>,
        resource_constraint_id: String,
    ) -> Result<Option<ResourceConstraint>> {
        let id = ConstraintId::from(resource_constraint_id);
        let record = control_of(ctx)?.constraint(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(record.into()))
    }

    /// A resource constraint by name.
    async fn resource_constraint_by_name(
        &self,
        ctx: &Context<'_>,
        name: String,
    ) -> Result<Option<ResourceConstraint>> {
        let record =
            control_of(ctx)?.constraint_named(actor_of(ctx)?, &name).await.map_err(error::graphql)?;
        Ok(Some(record.into()))
    }

    /// All resource constraints by name.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn resource_constraints(
        &self,
        ctx: &Context<'_>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<ResourceConstraint>> {
        let window = Window::of(limit, offset)?;
        let records = control_of(ctx)?.constraints(actor_of(ctx)?).await.map_err(error::graphql)?;
        Ok(window.cut(records.into_iter().map(ResourceConstraint::from).collect::<Vec<_>>()))
    }

    async fn secret_manager(
        &self,
        ctx: &Context<'_>,
        secret_manager_id: String,
    ) -> Result<Option<SecretManager>> {
        let manager = built_in(ctx)?;
        if manager.id != secret_manager_id {
            return Err(missing("Secret Manager"));
        }
        Ok(Some(manager))
    }

    async fn secret_manager_by_name(&self, ctx: &Context<'_>, name: String) -> Result<Option<SecretManager>> {
        let manager = built_in(ctx)?;
        if manager.name != name {
            return Err(missing("Secret Manager"));
        }
        Ok(Some(manager))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn secret_managers(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<super::secret::SecretManagerFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<SecretManager>> {
        let manager = built_in(ctx)?;
        let shown = filters
            .iter()
            .flatten()
            .flatten()
            .all(|filter| super::filter::admits(filter.secret_manager.as_ref(), &manager.id));
        Ok(Window::of(limit, offset)?.cut(if shown { vec![manager] } else { Vec::new() }))
    }

    async fn cloud_provider(
        &self,
        ctx: &Context<'_>,
        cloud_provider_id: String,
    ) -> Result<Option<CloudProvider>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = snapshot.catalog.cloud_providers.get(&EntityId::from(cloud_provider_id));
        let entity = found.ok_or_else(|| error::graphql(no_cloud_provider()))?;
        Ok(Some(CloudProvider::of(&snapshot, entity)))
    }

    async fn cloud_provider_by_name(&self, ctx: &Context<'_>, name: String) -> Result<Option<CloudProvider>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = snapshot.catalog.cloud_provider_named(&name);
        let entity = found.ok_or_else(|| error::graphql(no_cloud_provider()))?;
        Ok(Some(CloudProvider::of(&snapshot, entity)))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn cloud_providers(
        &self,
        ctx: &Context<'_>,
        filters: Option<Vec<Option<CloudProviderFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<CloudProvider>> {
        let snapshot = snapshot_of(ctx).await?;
        let found = named_in(
            &snapshot.catalog.cloud_providers,
            |one| filters.iter().flatten().flatten().all(|filter| filter.admits(&snapshot, one)),
            |one| &one.name,
        );
        let window = Window::of(limit, offset)?;
        Ok(window.cut(found.iter().map(|entity| CloudProvider::of(&snapshot, entity))))
    }

    /// The server: version, kinds on offer, limits.
    async fn server_info(&self, ctx: &Context<'_>) -> Result<ServerInfo> {
        let control = control_of(ctx)?;
        let mut kinds: Vec<String> = control.kinds().into_iter().map(|kind| kind.name.to_string()).collect();
        kinds.sort();
        let limits = control.limits();
        let limit =
            |name: &str, value: usize| LimitInfo { name: name.to_owned(), value: whole(value as u64) };
        Ok(ServerInfo {
            version: ctx.data::<Version>()?.0.to_owned(),
            account_id: control.account().to_owned(),
            catalog_revision: whole(snapshot_of(ctx).await?.revision()),
            kinds,
            limits: vec![
                limit("infrastructuresPerStage", limits.infrastructures_per_stage as usize),
                limit("notesCharacters", limits.notes_chars),
                limit("secretBytes", limits.secret_bytes),
                limit("queryDepth", usize::try_from(crate::guard::DEPTH).unwrap_or_default()),
                limit("queryFields", usize::try_from(crate::guard::EXPANDED_SIZE).unwrap_or_default()),
                limit("bodyBytes", crate::BODY_BYTES),
            ],
        })
    }

    /// Who asks.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        let actor = actor_of(ctx)?;
        Ok(Viewer {
            id: actor.id().to_owned(),
            name: actor.name().to_owned(),
            account_id: control_of(ctx)?.account().to_owned(),
        })
    }
}

/// Artifacts of each source that a list over sources looks at, newest first.
const ARTIFACTS_PER_SOURCE: u32 = 1_000;

fn built_in(ctx: &Context<'_>) -> Result<SecretManager> {
    Ok(SecretManager { id: control_of(ctx)?.account().to_owned(), name: BUILT_IN_MANAGER.to_owned() })
}
