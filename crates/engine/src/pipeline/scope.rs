//! Values for expressions of a pipeline.

use manifold_expression::{Lookup, Scope, Value};
use manifold_model::ExecutionId;
use manifold_model::plan::Plan;

use super::state::State;
use crate::scope;

/// Values for skip conditions of stages (`behaviour.md` 9.6): nothing that is known only when a workflow runs.
pub(super) struct PipelineScope<'a> {
    pub plan: &'a Plan,
    pub id: &'a ExecutionId,
    pub state: &'a State,
}

impl PipelineScope<'_> {
    fn input(&self, name: &str) -> Option<Value> {
        let input = self.plan.inputs.iter().find(|input| input.name == name)?;
        Some(Value::from(input.value.as_str()))
    }

    fn context(&self) -> Value {
        Value::map(self.state.outputs.iter().map(|(name, value)| (name.as_str(), scope::published(value))))
    }

    fn workflow(&self) -> Value {
        let inputs = self.plan.inputs.iter().map(|input| (input.name.as_str(), input.value.as_str()));
        Value::map([
            ("variables", Value::map(inputs)),
            ("pipelineDeploymentUuid", Value::from(self.id.as_str())),
        ])
    }
}

impl Scope for PipelineScope<'_> {
    fn lookup(&self, root: &str) -> Lookup {
        let found = match root {
            "account" => Some(scope::account(self.plan)),
            "app" => Some(scope::application(self.plan)),
            "pipeline" => scope::pipeline(self.plan),
            "workflow" => Some(self.workflow()),
            "context" => Some(self.context()),
            "deploymentTriggeredBy" => {
                self.state.started.as_ref().map(|(_, cause)| Value::from(cause.name()))
            }
            "timestampId" => self.state.started.as_ref().map(|(at, _)| Value::from(at.to_string())),
            name => self.state.outputs.get(name).map(scope::published).or_else(|| self.input(name)),
        };
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    fn expands(&self, root: &str) -> bool {
        matches!(root, "account" | "app" | "pipeline")
    }
}
