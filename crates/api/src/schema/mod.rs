//! The GraphQL schema: names and shapes of `wire.md`, extended by ours. Resolvers are thin over `control`.

pub mod application;
pub mod artifact;
pub mod cloud_provider;
pub mod constraint;
pub mod delegate;
pub mod delegates;
pub mod environment;
pub mod execution;
pub mod filter;
pub mod infrastructure;
pub mod leg;
pub mod list;
pub mod log;
pub mod mutation;
pub mod option;
pub mod page;
pub mod pipeline;
pub mod query;
pub mod scalar;
pub mod secret;
pub mod service;
pub mod stage;
pub mod start;
pub mod subscription;
pub mod variable;
pub mod workflow;

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::{Context, MergedObject, Schema};
use manifold_control::model::EntityId;
use manifold_control::{Actor, Control, Snapshot};

use crate::error;

/// Total cost of a query: fields, times the length of the lists they lie in.
pub const COMPLEXITY: usize = 500_000;
/// Directives on one field.
pub const DIRECTIVES: usize = 8;

/// The schema with its roots.
pub type ApiSchema = Schema<QueryRoot, MutationRoot, subscription::Subscription>;

/// What can be asked.
#[derive(MergedObject, Debug)]
#[graphql(name = "Query")]
pub struct QueryRoot(query::Query, delegates::DelegateQuery);

/// What can be changed.
#[derive(MergedObject, Debug)]
#[graphql(name = "Mutation")]
pub struct MutationRoot(mutation::Mutation, delegates::DelegateMutation);

/// The schema over these use cases.
#[must_use]
pub fn build(control: Option<Arc<Control>>, version: &'static str) -> ApiSchema {
    let queries = QueryRoot(query::Query, delegates::DelegateQuery);
    let mutations = MutationRoot(mutation::Mutation, delegates::DelegateMutation);
    let mut schema = Schema::build(queries, mutations, subscription::Subscription)
        .register_output_type::<execution::Execution>()
        .limit_complexity(COMPLEXITY)
        .limit_directives(DIRECTIVES)
        .data(Version(version));
    if let Some(control) = control {
        schema = schema.data(control);
    }
    schema.finish()
}

/// Version of the server.
#[derive(Clone, Copy, Debug)]
pub struct Version(pub &'static str);

/// The use cases.
pub(crate) fn control_of<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Arc<Control>> {
    ctx.data::<Arc<Control>>()
}

/// Who asks.
pub(crate) fn actor_of<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Actor> {
    ctx.data_opt::<Actor>().ok_or_else(|| error::graphql(manifold_control::Error::InvalidToken))
}

/// The catalog at its head.
pub(crate) async fn snapshot_of(ctx: &Context<'_>) -> async_graphql::Result<Arc<Snapshot>> {
    control_of(ctx)?.snapshot().await.map_err(error::graphql)
}

/// An application as it is now.
pub(crate) async fn application_of(
    ctx: &Context<'_>,
    id: &EntityId,
) -> async_graphql::Result<Option<application::Application>> {
    let snapshot = snapshot_of(ctx).await?;
    let entity = snapshot.catalog.applications.get(id).cloned();
    Ok(entity.map(|entity| application::Application { snapshot, entity }))
}

/// Entities that pass, by name.
pub(crate) fn named_in<T>(
    all: &HashMap<EntityId, Arc<T>>,
    passes: impl Fn(&T) -> bool,
    name: impl Fn(&T) -> &String,
) -> Vec<Arc<T>> {
    let mut found: Vec<Arc<T>> = all.values().filter(|entity| passes(entity)).cloned().collect();
    found.sort_by(|a, b| name(a).cmp(name(b)));
    found
}
