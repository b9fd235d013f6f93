//! What a deployment asks for: variables, values that may be chosen, artifacts (`behaviour.md` 4, 16.2, 16.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use manifold_model::entity::Service;
use manifold_model::request::{ExecutionType, VariableInput};
use manifold_model::{EntityId, Problem, code};
use manifold_plan::Facts;
pub use manifold_plan::{Candidate, InputVariable, Options};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

impl Control {
    /// The inputs of a pipeline or workflow.
    ///
    /// # Errors
    /// When there is none.
    pub async fn inputs(
        &self,
        actor: &Actor,
        application: &EntityId,
        entity: &EntityId,
        kind: ExecutionType,
    ) -> Result<Vec<InputVariable>> {
        authorise(actor, Action::Read, Resource::Application(application))?;
        let snapshot = self.snapshot().await?;
        manifold_plan::inputs(&snapshot.catalog, entity, kind, &[])
            .map_err(|problems| Error::Refused { problems })
    }

    /// The values that may be chosen for a variable, given the values so far.
    ///
    /// # Errors
    /// When there is no such pipeline, workflow or variable.
    pub async fn options(
        &self,
        actor: &Actor,
        entity: &EntityId,
        kind: ExecutionType,
        variable: &str,
        given: &[VariableInput],
    ) -> Result<Options> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        let kinds = self.kinds.kinds();
        let secrets = self.secret_names().await?;
        let constraints = self.store.constraints().await?;
        let facts = Facts {
            secrets: Some(&secrets),
            constraints: Some(&constraints),
            max_legs: self.limits.infrastructures_per_stage as usize,
            lock_queue_limit: self.limits.lock_queue as usize,
            now: self.now(),
            ..Facts::new(&kinds)
        };
        manifold_plan::options(&snapshot.catalog, &facts, entity, kind, variable, given)
            .map_err(|problems| Error::Refused { problems })
    }

    /// The services that need an artifact, given the values so far.
    ///
    /// # Errors
    /// When there is no such pipeline or workflow.
    pub async fn artifact_needs(
        &self,
        actor: &Actor,
        entity: &EntityId,
        kind: ExecutionType,
        given: &[VariableInput],
    ) -> Result<Vec<Arc<Service>>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        let kinds = self.kinds.kinds();
        let (entity, given) = (entity.clone(), given.to_vec());
        // Manifests are looked through, which takes a while when they are large.
        let needs = tokio::task::spawn_blocking(move || {
            let facts = Facts { files: &*snapshot, ..Facts::new(&kinds) };
            manifold_plan::artifact_needs(&snapshot.catalog, &facts, &entity, kind, &given)
        })
        .await;
        match needs {
            Ok(needs) => needs.map_err(|problems| Error::Refused { problems }),
            Err(error) => {
                tracing::error!(%error, "looking for artifact needs broke off");
                let message = "the look for what needs an artifact broke off";
                Err(Error::unavailable(Problem::new(code!("PLANNING_BROKE_OFF"), message)))
            }
        }
    }

    /// Names of all secrets, credentials among them.
    pub(crate) async fn secret_names(&self) -> Result<BTreeSet<String>> {
        Ok(self.store.secrets().await?.into_iter().map(|secret| secret.name).collect())
    }
}
