//! Pages of lists (`wire.md` 1.6).

use async_graphql::{OutputType, SimpleObject};
use manifold_control::executions::{LONGEST_PAGE, page_limit, page_offset};

use super::application::Application;
use super::artifact::Artifact;
use super::cloud_provider::CloudProvider;
use super::constraint::{ResourceConstraint, ResourceConstraintConsumer};
use super::delegate::{Delegate, DelegateScope, DelegateToken};
use super::environment::Environment;
use super::execution::{Execution, Outcome};
use super::infrastructure::InfrastructureDefinition;
use super::pipeline::Pipeline;
use super::secret::{Secret, SecretManager};
use super::service::Service;
use super::workflow::Workflow;
use crate::error;

/// Where a page lies in its list.
#[derive(SimpleObject, Clone, Debug)]
pub struct PageInfo {
    /// As asked for.
    pub limit: i64,
    /// As asked for.
    pub offset: i64,
    /// How many there are in all.
    pub total: i64,
    /// Whether more follow.
    pub has_more: bool,
}

/// A page of a list.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(
    concrete(name = "ApplicationConnection", params(Application)),
    concrete(name = "ServiceConnection", params(Service)),
    concrete(name = "EnvironmentConnection", params(Environment)),
    concrete(name = "InfrastructureDefinitionConnection", params(InfrastructureDefinition)),
    concrete(name = "WorkflowConnection", params(Workflow)),
    concrete(name = "PipelineConnection", params(Pipeline)),
    concrete(name = "ArtifactConnection", params(Artifact)),
    concrete(name = "CloudProviderConnection", params(CloudProvider)),
    concrete(name = "SecretConnection", params(Secret)),
    concrete(name = "SecretManagerConnection", params(SecretManager)),
    concrete(name = "ResourceConstraintConnection", params(ResourceConstraint)),
    concrete(name = "ResourceConstraintConsumerConnection", params(ResourceConstraintConsumer)),
    concrete(name = "DelegateList", params(Delegate)),
    concrete(name = "DelegateScopeList", params(DelegateScope)),
    concrete(name = "DelegateTokenConnection", params(DelegateToken)),
    concrete(name = "ExecutionConnection", params(Execution)),
    concrete(name = "OutcomeConnection", params(Outcome))
)]
pub struct Connection<T: OutputType> {
    /// Where it lies.
    pub page_info: PageInfo,
    /// The items.
    pub nodes: Vec<T>,
}

/// Limit and offset as given, checked.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Items.
    pub limit: u32,
    /// Items before.
    pub offset: u64,
}

impl Window {
    /// Checks what was given.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn of(limit: i64, offset: Option<i64>) -> async_graphql::Result<Self> {
        let limit = page_limit(limit, LONGEST_PAGE).map_err(error::graphql)?;
        let offset = page_offset(offset).map_err(error::graphql)?;
        Ok(Self { limit, offset })
    }

    /// What to say about a page in this window.
    #[must_use]
    pub fn info(self, total: u64, shown: usize) -> PageInfo {
        PageInfo {
            limit: i64::from(self.limit),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            total: i64::try_from(total).unwrap_or(i64::MAX),
            has_more: self.offset.saturating_add(shown as u64) < total,
        }
    }

    /// The part of a whole list that lies in the window.
    pub fn cut<T: OutputType, I>(self, items: I) -> Connection<T>
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator,
    {
        let items = items.into_iter();
        let total = items.len() as u64;
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let nodes: Vec<T> = items.skip(skip).take(self.limit as usize).collect();
        Connection { page_info: self.info(total, nodes.len()), nodes }
    }
}

/// Cost of a list for the complexity limit.
#[must_use]
pub fn cost(limit: i64, child: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(0).min(LONGEST_PAGE as usize);
    limit.saturating_mul(child).saturating_add(1)
}
