//! Everything between pre-deployment and the first phase: what the leg deploys to, the lock on it, and what was deployed there last.

use std::collections::BTreeSet;

use manifold_expression::{Mode, Scope, render};
use manifold_model::cluster;
use manifold_model::entity::WorkflowType;
use manifold_model::event::{EventKind, ResolvedPhase};
use manifold_model::plan::InfrastructurePlan;
use manifold_model::target::{LockKey, MappingKey, Target};
use manifold_model::{Failure, FailureClass, Status, code};
use serde_json::{Map as Json, Value as JsonValue};

use crate::advance::Command;
use crate::decide::{Decider, Pass};
use crate::kubernetes;
use crate::place::Part;
use crate::render::{text, unresolved};
use crate::scope::LegScope;
use crate::state::Lock;

/// Key of an infrastructure item: the name of the release (`behaviour.md` 5.4).
pub(crate) const RELEASE_NAME: &str = "releaseName";
/// Key of an infrastructure item: the namespace.
pub(crate) const NAMESPACE: &str = "namespace";
/// The name of a release that the item does not name.
const DEFAULT_RELEASE_NAME: &str = "release-${infra.kubernetes.infraId}";

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
        let what = |key: &str| format!("`{key}` of infrastructure definition `{}`", infrastructure.name);
        let mut properties = Json::new();
        for (key, value) in infrastructure.properties.iter().filter(|(key, _)| *key != RELEASE_NAME) {
            properties.insert(key.clone(), resolved(&what(key), value, &scope)?);
        }
        let target =
            Target::of(&infrastructure.item_type, infrastructure.cloud_provider.as_deref(), &properties);
        let service = self.map.service(Some(phase));
        let mapping = service.map(|service| target.mapping(&service.id, &infrastructure.id));
        let mut phase = ResolvedPhase { target, mapping, properties };
        // The name of a release may hold the id of the mapping, which is known only now.
        if let Some(text) = release_name(infrastructure, phase.mapping.is_some()) {
            let scope = scope.resolving(&phase);
            let release = resolved(&what(RELEASE_NAME), &text, &scope)?;
            phase.properties.insert(RELEASE_NAME.to_owned(), release);
        }
        if infrastructure.item_type == cluster::ITEM {
            // One without a namespace may still run scripts.
            for key in [NAMESPACE, RELEASE_NAME] {
                if let Some(name) = text(&phase.properties, key).filter(|name| !name.trim().is_empty()) {
                    kubernetes::check_name(&what(key), name)?;
                }
            }
        }
        Ok(Some(phase))
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

/// The name of the release, not resolved; a service on a cluster always has one.
fn release_name(infrastructure: &InfrastructurePlan, has_service: bool) -> Option<JsonValue> {
    let written = infrastructure.properties.get(RELEASE_NAME);
    let is_empty = written.is_none_or(|value| match value {
        JsonValue::String(text) => text.trim().is_empty(),
        other => other.is_null(),
    });
    if is_empty && infrastructure.item_type == cluster::ITEM {
        return has_service.then(|| DEFAULT_RELEASE_NAME.into());
    }
    written.cloned()
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
