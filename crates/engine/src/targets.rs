//! Everything between pre-deployment and the first phase: what the leg deploys to, the lock on it, and what was deployed there last.

use std::collections::BTreeSet;

use manifold_expression::{Mode, Scope, render};
use manifold_model::entity::WorkflowType;
use manifold_model::event::{EventKind, ResolvedPhase};
use manifold_model::target::{LockKey, MappingKey, Target};
use manifold_model::{Failure, FailureClass, Status, code};
use serde_json::{Map as Json, Value as JsonValue};

use crate::advance::Command;
use crate::decide::{Decider, Pass};
use crate::place::Part;
use crate::render::unresolved;
use crate::scope::LegScope;
use crate::state::Lock;

impl Decider<'_> {
    /// Targets, lock and last good: everything between pre-deployment and the first phase.
    pub(crate) fn prepare(&mut self) -> Pass {
        if self.map.workflow.kind == WorkflowType::Build || !self.has_infrastructure() {
            return Pass::Done;
        }
        if self.state.targets.is_none() {
            if self.state.paused.is_some() {
                return Pass::Pending;
            }
            match self.resolve_targets() {
                Ok(phases) => self.emit(EventKind::TargetsResolved { phases }),
                Err(failure) => {
                    self.finish(Status::Failed, Some(failure));
                    return Pass::Failed;
                }
            }
        }
        if self.map.workflow.locks && self.take_lock() != Pass::Done {
            return Pass::Pending;
        }
        if self.state.last_good.is_none() {
            let mappings = self.mappings();
            if mappings.is_empty() {
                self.emit(EventKind::LastGoodRecalled { last_good: Vec::new() });
                return Pass::Done;
            }
            self.commands.push(Command::RecallLastGood(mappings));
            return Pass::Pending;
        }
        Pass::Done
    }

    fn has_infrastructure(&self) -> bool {
        let phases = u32::try_from(self.map.fleet.phases.len()).unwrap_or(u32::MAX);
        (0..phases).any(|phase| self.map.infrastructure(Some(phase)).is_some())
    }

    /// Mappings of all phases, each once.
    fn mappings(&self) -> Vec<MappingKey> {
        let phases = self.state.targets.as_deref().unwrap_or_default();
        let unique: BTreeSet<&MappingKey> =
            phases.iter().flatten().filter_map(|phase| phase.mapping.as_ref()).collect();
        unique.into_iter().cloned().collect()
    }

    fn resolve_targets(&self) -> Result<Vec<Option<ResolvedPhase>>, Failure> {
        let phases = u32::try_from(self.map.fleet.phases.len()).unwrap_or(u32::MAX);
        (0..phases).map(|phase| self.resolve_target(phase)).collect()
    }

    fn resolve_target(&self, phase: u32) -> Result<Option<ResolvedPhase>, Failure> {
        let Some(infrastructure) = self.map.infrastructure(Some(phase)) else { return Ok(None) };
        let scope = self.scope(Part::Phase(phase), None, None);
        let mut properties = Json::new();
        for (key, value) in &infrastructure.properties {
            let what = format!("`{key}` of infrastructure definition `{}`", infrastructure.name);
            properties.insert(key.clone(), resolved(&what, value, &scope)?);
        }
        let target =
            Target::of(&infrastructure.item_type, infrastructure.cloud_provider.as_deref(), &properties);
        let service = self.map.service(Some(phase));
        let mapping = service.map(|service| target.mapping(&service.id, &infrastructure.id));
        Ok(Some(ResolvedPhase { target, mapping, properties }))
    }

    fn take_lock(&mut self) -> Pass {
        match &self.state.lock {
            Lock::Held { .. } => Pass::Done,
            Lock::Asked { .. } => Pass::Pending,
            Lock::Refused { limit, .. } => {
                let message =
                    format!("the queue for the infrastructure lock is full: {limit} executions wait for it");
                let failure = Failure::new(FailureClass::Application, code!("LOCK_QUEUE_FULL"), message)
                    .hint("start it again when some of them have ended");
                self.finish(Status::Failed, Some(failure));
                Pass::Failed
            }
            Lock::NotAsked => {
                let keys = self.lock_keys();
                if keys.is_empty() {
                    return Pass::Done;
                }
                if self.state.paused.is_some() {
                    return Pass::Pending;
                }
                self.emit(EventKind::LockRequested { keys: keys.clone() });
                self.commands.push(Command::Lock { keys });
                Pass::Pending
            }
        }
    }

    /// Service × target of every phase, sorted, each once.
    fn lock_keys(&self) -> Vec<LockKey> {
        let mut keys = BTreeSet::new();
        for (phase, resolved) in (0..).zip(self.state.targets.as_deref().unwrap_or_default()) {
            if let (Some(resolved), Some(service)) = (resolved, self.map.service(Some(phase))) {
                keys.insert(resolved.target.lock(&service.id, &service.name));
            }
        }
        keys.into_iter().collect()
    }
}

/// A value of the infrastructure with all texts in it rendered.
fn resolved(what: &str, value: &JsonValue, scope: &LegScope<'_>) -> Result<JsonValue, Failure> {
    Ok(match value {
        JsonValue::String(text) if text.contains("${") => {
            let rendering = render(text, scope as &dyn Scope, Mode::Strict)
                .map_err(|errors| unresolved(what, text, &errors))?;
            let Some(known) = rendering.rendered.known() else {
                let message = format!(
                    "{what} must be known by the server, but reads `{}`",
                    rendering.rendered.masked()
                );
                return Err(Failure::new(FailureClass::Application, code!("SETTING_NOT_KNOWN"), message)
                    .hint("use neither secrets nor values that only the delegate has in this setting"));
            };
            JsonValue::String(known)
        }
        JsonValue::Array(items) => {
            JsonValue::Array(items.iter().map(|item| resolved(what, item, scope)).collect::<Result<_, _>>()?)
        }
        JsonValue::Object(map) => {
            let mut out = Json::new();
            for (key, item) in map {
                out.insert(key.clone(), resolved(what, item, scope)?);
            }
            JsonValue::Object(out)
        }
        other => other.clone(),
    })
}
