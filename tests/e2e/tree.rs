//! Configuration trees for tests. Documents are JSON, which is YAML too; tests about the text itself write YAML.

use serde_json::{Map, Value, json};

/// The service of an application, unless a test says otherwise.
pub const SERVICE: &str = "web";

/// An application with what lies in it.
pub struct Application {
    name: String,
    files: Vec<(String, String)>,
}

impl Application {
    /// An application with one SSH service and a cloud provider for its hosts.
    pub fn new(name: &str) -> Self {
        let application = Self { name: name.to_owned(), files: Vec::new() };
        application
            .account_file("Cloud Providers/dc.yaml", json!({ "type": "PHYSICAL_DATA_CENTER" }))
            .file("Index.yaml", json!({ "type": "APPLICATION", "description": "" }))
            .service(SERVICE, json!({}))
    }

    /// A document below `Setup`.
    pub fn account_file(mut self, path: &str, document: Value) -> Self {
        self.files.push((format!("Setup/{path}"), text(document)));
        self
    }

    /// A file of the application that is no document.
    pub fn text(mut self, path: &str, text: &str) -> Self {
        self.files.push((format!("Setup/Applications/{}/{path}", self.name), text.to_owned()));
        self
    }

    /// A document of the application.
    pub fn file(self, path: &str, document: Value) -> Self {
        let path = format!("Applications/{}/{path}", self.name);
        self.account_file(&path, document)
    }

    /// A service that is deployed over SSH, with more keys.
    pub fn service(self, name: &str, more: Value) -> Self {
        let service = json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH" });
        self.file(&format!("Services/{name}/Index.yaml"), with(service, more))
    }

    /// An environment with infrastructure definitions of these names, one host each.
    pub fn environment(self, name: &str, infrastructures: &[&str]) -> Self {
        let application = self.file(
            &format!("Environments/{name}/Index.yaml"),
            json!({ "type": "ENVIRONMENT", "environmentType": "PROD" }),
        );
        infrastructures
            .iter()
            .fold(application, |application, one| application.infrastructure(name, one, json!({})))
    }

    /// An infrastructure definition of one host, with more keys.
    pub fn infrastructure(self, environment: &str, name: &str, more: Value) -> Self {
        let host = format!("{environment}-{name}.test");
        let definition = json!({
            "type": "INFRA_DEFINITION", "cloudProviderType": "PHYSICAL_DATA_CENTER", "deploymentType": "SSH",
            "infrastructure": [hosts(&[&host])],
        });
        let path = format!("Environments/{environment}/Infrastructure Definitions/{name}.yaml");
        self.file(&path, with(definition, more))
    }

    /// A workflow.
    pub fn workflow(self, name: &str, workflow: Workflow) -> Self {
        self.file(&format!("Workflows/{name}.yaml"), workflow.document())
    }

    /// A pipeline. Stages get the names `STAGE 1`, `STAGE 2`, …; a parallel one has the name of the one before.
    pub fn pipeline(self, name: &str, stages: &[Value]) -> Self {
        let mut number = 0;
        let named: Vec<Value> = stages
            .iter()
            .map(|stage| {
                number += usize::from(stage["parallel"] != json!(true));
                with(stage.clone(), json!({ "stageName": format!("STAGE {number}") }))
            })
            .collect();
        let document = json!({ "type": "PIPELINE", "pipelineStages": named });
        self.file(&format!("Pipelines/{name}.yaml"), document)
    }

    /// Paths and texts.
    pub fn files(self) -> Vec<(String, String)> {
        self.files
    }
}

fn text(document: Value) -> String {
    format!("{:#}\n", with(json!({ "harnessApiVersion": "1.0" }), document))
}

/// An object with more keys.
pub fn with(object: Value, more: Value) -> Value {
    match (object, more) {
        (Value::Object(mut object), Value::Object(more)) => {
            object.extend(more);
            Value::Object(object)
        }
        (object, _) => object,
    }
}

/// The settings of an infrastructure definition with these hosts.
pub fn hosts(names: &[&str]) -> Value {
    json!({ "type": "PHYSICAL_DATA_CENTER_SSH", "cloudProviderName": "dc", "hostConnectionAttrsName": "key",
        "hostNames": names })
}

/// A stage of a pipeline that runs a workflow with these variables.
pub fn stage(name: &str, workflow: &str, variables: &[(&str, &str)]) -> Value {
    let variables: Vec<Value> = variables
        .iter()
        .map(|(name, value)| {
            let kind = match *name {
                "Environment" => json!({ "entityType": "ENVIRONMENT" }),
                "Service" => json!({ "entityType": "SERVICE" }),
                _ if name.to_lowercase().contains("infra") => {
                    json!({ "entityType": "INFRASTRUCTURE_DEFINITION" })
                }
                _ => json!({}),
            };
            with(kind, json!({ "name": name, "value": value }))
        })
        .collect();
    json!({ "type": "ENV_STATE", "name": name, "parallel": false, "workflowName": workflow,
        "workflowVariables": variables })
}

/// A stage that runs the workflow `roll` on `${infrastructure}`.
pub fn fan_out(name: &str) -> Value {
    stage(name, "roll", &[("infrastructure", "${infrastructure}")])
}

/// A step.
pub fn step(kind: &str, name: &str, properties: Value) -> Value {
    json!({ "type": kind, "name": name, "properties": properties })
}

/// A shell script on the delegate.
pub fn script(name: &str, text: &str) -> Value {
    script_with(name, text, json!({}))
}

/// A shell script on the delegate, with more properties.
pub fn script_with(name: &str, text: &str, more: Value) -> Value {
    let properties = json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": text,
        "timeoutMillis": 60_000 });
    step("SHELL_SCRIPT", name, with(properties, more))
}

/// A barrier.
pub fn barrier(identifier: &str) -> Value {
    step(
        "BARRIER",
        &format!("barrier {identifier}"),
        json!({ "identifier": identifier, "timeoutMillis": 60_000 }),
    )
}

/// A step that takes permits of a resource constraint, with more properties.
pub fn guard(constraint: &str, more: Value) -> Value {
    let properties = json!({ "resourceConstraintName": constraint, "permits": 1, "holdingScope": "WORKFLOW",
        "acquireMode": "ACCUMULATE", "timeoutMillis": 60_000 });
    step("RESOURCE_CONSTRAINT", &format!("guard {constraint}"), with(properties, more))
}

/// A phase with one section, and its rollback phase.
#[derive(Clone)]
pub struct Phase {
    name: String,
    kind: &'static str,
    sections: &'static str,
    service: String,
    infrastructure: String,
    steps: Vec<Value>,
    undo: Vec<Value>,
    section: Value,
}

/// A phase on `${infrastructure}` with these steps.
pub fn phase(name: &str, steps: &[Value]) -> Phase {
    Phase {
        name: name.to_owned(),
        kind: "SSH",
        sections: "DEPLOY_SERVICE",
        service: SERVICE.to_owned(),
        infrastructure: "${infrastructure}".to_owned(),
        steps: steps.to_vec(),
        undo: Vec::new(),
        section: json!({}),
    }
}

impl Phase {
    /// On an infrastructure by name, or by an expression.
    pub fn on(mut self, infrastructure: &str) -> Self {
        infrastructure.clone_into(&mut self.infrastructure);
        self
    }

    /// Of this type, with sections of this one.
    pub fn kind(mut self, kind: &'static str, sections: &'static str) -> Self {
        (self.kind, self.sections) = (kind, sections);
        self
    }

    /// For another service, by name or by an expression.
    pub fn of(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// With these rollback steps.
    pub fn undo(mut self, steps: &[Value]) -> Self {
        self.undo = steps.to_vec();
        self
    }

    /// With more keys in its section.
    pub fn section(mut self, more: Value) -> Self {
        self.section = with(self.section, more);
        self
    }

    fn templates(&self) -> Vec<Value> {
        let infrastructure = template(&self.infrastructure, "infraDefinitionId", "INFRASTRUCTURE_DEFINITION");
        let service = template(&self.service, "serviceId", "SERVICE");
        infrastructure.into_iter().chain(service).collect()
    }

    fn entity(&self) -> Value {
        let mut entity = json!({ "type": self.kind, "templateExpressions": self.templates() });
        if !self.infrastructure.starts_with("${") {
            entity["infraDefinitionName"] = json!(self.infrastructure);
        }
        if !self.service.starts_with("${") {
            entity["serviceName"] = json!(self.service);
        }
        entity
    }

    fn document(&self) -> Value {
        let section = json!({ "type": self.sections, "name": "Deploy", "stepsInParallel": false,
            "steps": self.steps });
        with(self.entity(), json!({ "name": self.name, "phaseSteps": [with(section, self.section.clone())] }))
    }

    fn rollback(&self) -> Value {
        let section = json!({ "type": self.sections, "name": "Deploy", "phaseStepNameForRollback": "Deploy",
            "statusForRollback": "SUCCESS", "stepsInParallel": false, "steps": self.undo });
        with(
            self.entity(),
            json!({ "name": format!("Rollback {}", self.name), "phaseNameForRollback": self.name,
                "phaseSteps": [section] }),
        )
    }
}

fn template(value: &str, field: &str, entity_type: &str) -> Option<Value> {
    value.starts_with("${").then(|| {
        json!({ "expression": value, "fieldName": field,
            "metadata": [{ "name": "entityType", "value": entity_type }] })
    })
}

/// A workflow.
#[derive(Clone)]
pub struct Workflow {
    phases: Vec<Phase>,
    environment: String,
    variables: Vec<Value>,
    more: Map<String, Value>,
}

/// A workflow in the environment `prod` that rolls back when a step fails: basic with one phase, canary with several.
pub fn workflow(phases: &[Phase]) -> Workflow {
    let kind = if phases.len() == 1 { "BASIC" } else { "CANARY" };
    Workflow {
        phases: phases.to_vec(),
        environment: "prod".to_owned(),
        variables: Vec::new(),
        more: Map::new(),
    }
    .with(json!({ "type": kind, "concurrencyStrategy": "INFRA" }))
    .on_failure("ROLLBACK_WORKFLOW")
}

/// A workflow of one phase on `${infrastructure}`.
pub fn rolling(steps: &[Value], undo: &[Value]) -> Workflow {
    workflow(&[phase("Phase 1", steps).undo(undo)])
}

impl Workflow {
    /// In another environment, by name or by an expression.
    pub fn environment(mut self, environment: &str) -> Self {
        environment.clone_into(&mut self.environment);
        self
    }

    /// With a text variable, with more keys.
    pub fn variable(mut self, name: &str, more: Value) -> Self {
        let variable = json!({ "type": "TEXT", "name": name, "fixed": false, "mandatory": false });
        self.variables.push(with(variable, more));
        self
    }

    /// With this failure strategy.
    pub fn on_failure(self, action: &str) -> Self {
        self.with(json!({ "failureStrategies": [{ "executionScope": "WORKFLOW",
            "failureTypes": ["APPLICATION_ERROR"], "repairActionCode": action, "retryCount": 0 }] }))
    }

    /// With more keys.
    pub fn with(mut self, more: Value) -> Self {
        if let Value::Object(more) = more {
            self.more.extend(more);
        }
        self
    }

    fn document(self) -> Value {
        let environment = template(&self.environment, "envId", "ENVIRONMENT");
        let phases: Vec<Value> = self.phases.iter().flat_map(Phase::templates).collect();
        let mut variables: Vec<Value> = Vec::new();
        for one in environment.iter().chain(&phases) {
            let name = one["expression"].as_str().unwrap_or_default().trim_matches(['$', '{', '}']);
            let variable = json!({ "type": "ENTITY", "name": name, "fixed": false, "mandatory": true });
            if !variables.contains(&variable) {
                variables.push(variable);
            }
        }
        variables.extend(self.variables);
        let mut document = json!({
            "phases": self.phases.iter().map(Phase::document).collect::<Vec<_>>(),
            "rollbackPhases": self.phases.iter().map(Phase::rollback).collect::<Vec<_>>(),
            "templateExpressions": environment.iter().collect::<Vec<_>>(),
            "templatized": !variables.is_empty(), "userVariables": variables,
        });
        if environment.is_none() {
            document["envName"] = json!(self.environment);
        }
        with(document, Value::Object(self.more))
    }
}
