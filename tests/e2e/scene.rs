//! An application on the way into a server: services, hosts, workflows and pipelines. Documents are written as JSON, which is YAML too.

use std::net::SocketAddr;

use anyhow::Result;
use manifold_testkit::server::{Server, string};
use manifold_testkit::sshd::Fleet;
use serde_json::{Value, json};

/// Name of the SSH credential of every infrastructure definition with real hosts.
pub const CREDENTIAL: &str = "fleet";

/// An application with the environment `prod` and the service `svc`.
pub struct Scene {
    application: String,
    files: Vec<(String, String)>,
}

impl Scene {
    /// An application of this name.
    pub fn new(application: &str) -> Self {
        let scene = Self { application: application.to_owned(), files: Vec::new() };
        scene
            .account("Cloud Providers/dc.yaml", &json!({ "type": "PHYSICAL_DATA_CENTER" }))
            .file("Index.yaml", &json!({ "type": "APPLICATION" }))
            .file(
                "Environments/prod/Index.yaml",
                &json!({ "type": "ENVIRONMENT", "environmentType": "PROD" }),
            )
            .file(
                "Services/svc/Index.yaml",
                &json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH" }),
            )
    }

    fn account(mut self, path: &str, document: &Value) -> Self {
        self.files.push((format!("Setup/{path}"), text(document)));
        self
    }

    /// A document of the application.
    pub fn file(mut self, path: &str, document: &Value) -> Self {
        self.files.push((format!("Setup/Applications/{}/{path}", self.application), text(document)));
        self
    }

    /// An infrastructure definition with these hosts, signed in to with [`CREDENTIAL`].
    pub fn hosts(self, name: &str, hosts: &[&str]) -> Self {
        self.hosts_with(name, hosts, CREDENTIAL)
    }

    /// An infrastructure definition with these hosts and this credential.
    pub fn hosts_with(self, name: &str, hosts: &[&str], credential: &str) -> Self {
        let path = format!("Environments/prod/Infrastructure Definitions/{name}.yaml");
        self.file(
            &path,
            &json!({ "type": "INFRA_DEFINITION", "cloudProviderType": "PHYSICAL_DATA_CENTER",
                "deploymentType": "SSH", "infrastructure": [{ "type": "PHYSICAL_DATA_CENTER_SSH",
                    "cloudProviderName": "dc", "hostConnectionAttrsName": credential, "hostNames": hosts }] }),
        )
    }

    /// So many infrastructure definitions `i0`, `i1`, … of one host that nothing ever talks to.
    pub fn nowhere(self, count: usize) -> Self {
        (0..count).fold(self, |scene, number| {
            let host = format!("host-{number}");
            scene.hosts(&format!("i{number}"), &[&host])
        })
    }

    /// A service command of one script.
    pub fn command(self, name: &str, script: &str) -> Self {
        let unit = json!({ "name": "Run", "command": script, "commandUnitType": "EXEC",
            "deploymentType": "SSH", "scriptType": "BASH" });
        self.file(
            &format!("Services/svc/Commands/{name}.yaml"),
            &json!({ "type": "OTHER", "commandUnitType": "COMMAND", "commandUnits": [unit], "targetToAllEnv": true }),
        )
    }

    /// A workflow whose infrastructure is its variable `infrastructure`.
    pub fn workflow(self, name: &str, workflow: &Flow) -> Self {
        self.file(&format!("Workflows/{name}.yaml"), &workflow.document())
    }

    /// A pipeline with one stage that runs this workflow on what is chosen as `infrastructure`.
    pub fn pipeline(self, name: &str, workflow: &str) -> Self {
        self.stages(name, &[stage(workflow)])
    }

    /// A pipeline of these stages.
    pub fn stages(self, name: &str, stages: &[Value]) -> Self {
        self.file(&format!("Pipelines/{name}.yaml"), &json!({ "type": "PIPELINE", "pipelineStages": stages }))
    }

    /// Imports it.
    pub async fn import(&self, server: &Server) -> Result<()> {
        server.import(&self.files).await
    }
}

/// A stage that runs a workflow on what is chosen as `infrastructure`.
pub fn stage(workflow: &str) -> Value {
    let variable = json!({ "entityType": "INFRASTRUCTURE_DEFINITION", "name": "infrastructure",
        "value": "${infrastructure}" });
    json!({ "type": "ENV_STATE", "name": workflow, "parallel": false, "stageName": "STAGE 1",
        "workflowName": workflow, "workflowVariables": [variable] })
}

/// A workflow of one phase: `Prepare`, then sections of steps, then their rollback.
#[derive(Default)]
pub struct Flow {
    sections: Vec<Value>,
    rollback: Vec<Value>,
    strategies: Vec<Value>,
    variables: Vec<&'static str>,
}

impl Flow {
    /// A section of steps, one after another.
    pub fn steps(mut self, steps: &[Value]) -> Self {
        let name = format!("Deploy {}", self.sections.len() + 1);
        self.sections.push(
            json!({ "type": "DEPLOY_SERVICE", "name": name, "steps": steps, "stepsInParallel": false }),
        );
        self
    }

    /// Strategies of the last section.
    pub fn on_failure(mut self, strategy: &Value) -> Self {
        if let Some(Value::Object(section)) = self.sections.last_mut() {
            section.insert("failureStrategies".to_owned(), json!([strategy]));
        }
        self
    }

    /// Steps that undo the first section; failures of every sort roll back then.
    pub fn undo(mut self, steps: &[Value]) -> Self {
        self.rollback.push(json!({ "type": "DEPLOY_SERVICE", "name": "Deploy 1", "steps": steps,
            "phaseStepNameForRollback": "Deploy 1", "statusForRollback": "SUCCESS", "stepsInParallel": false }));
        self.strategies.push(json!({ "executionScope": "WORKFLOW", "failureTypes": EVERY_FAILURE,
            "repairActionCode": "ROLLBACK_WORKFLOW", "retryCount": 0 }));
        self
    }

    /// A text variable, required.
    pub fn variable(mut self, name: &'static str) -> Self {
        self.variables.push(name);
        self
    }

    fn document(&self) -> Value {
        let template = json!([{ "expression": "${infrastructure}", "fieldName": "infraDefinitionId",
            "metadata": [{ "name": "entityType", "value": "INFRASTRUCTURE_DEFINITION" }] }]);
        let mut variables =
            vec![json!({ "type": "ENTITY", "name": "infrastructure", "fixed": false, "mandatory": true })];
        for name in &self.variables {
            variables.push(json!({ "type": "TEXT", "name": name, "fixed": false, "mandatory": true }));
        }
        json!({ "type": "BASIC", "concurrencyStrategy": "INFRA", "envName": "prod", "templatized": true,
            "failureStrategies": self.strategies,
            "phases": [{ "type": "SSH", "name": "Phase 1", "serviceName": "svc", "phaseSteps": self.sections,
                "templateExpressions": template }],
            "rollbackPhases": [{ "type": "SSH", "name": "Rollback Phase 1", "phaseNameForRollback": "Phase 1",
                "serviceName": "svc", "phaseSteps": self.rollback }],
            "userVariables": variables })
    }
}

/// All failure types.
pub const EVERY_FAILURE: [&str; 5] =
    ["APPLICATION_ERROR", "CONNECTIVITY", "AUTHENTICATION", "VERIFICATION_FAILURE", "TIMEOUT_ERROR"];

/// A step.
pub fn step(kind: &str, name: &str, properties: &Value) -> Value {
    json!({ "type": kind, "name": name, "properties": properties })
}

/// Chooses all hosts.
pub fn select_all() -> Value {
    let properties =
        json!({ "instanceCount": 100, "instanceUnitType": "PERCENTAGE", "specificHosts": false });
    step("DC_NODE_SELECT", "Select", &properties)
}

/// Runs a service command on the chosen hosts.
pub fn command(name: &str, command: &str) -> Value {
    step("COMMAND", name, &json!({ "commandName": command, "timeoutMillis": 180_000 }))
}

/// A script on the delegate.
pub fn script(name: &str, script: &str) -> Value {
    script_with(name, script, 180_000)
}

/// A script on the delegate with a timeout, milliseconds.
pub fn script_with(name: &str, script: &str, timeout: u64) -> Value {
    let properties = json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": script,
        "timeoutMillis": timeout });
    step("SHELL_SCRIPT", name, &properties)
}

/// Gives the server the key of a fleet under the name [`CREDENTIAL`].
pub async fn let_in(server: &Server, fleet: &Fleet) -> Result<()> {
    let port = fleet.hosts().first().map_or(22, SocketAddr::port).to_string();
    let key = fleet.user_key_file().to_string_lossy().into_owned();
    let (code, out, err) = server
        .cli(&[
            "secret",
            "create",
            CREDENTIAL,
            "--type",
            "ssh-credential",
            "--user",
            fleet.user(),
            "--port",
            &port,
            "--key-file",
            &key,
        ])
        .await?;
    anyhow::ensure!(code == 0, "the credential was refused: {out}{err}");
    Ok(())
}

/// Starts a pipeline on these infrastructures; the execution.
pub async fn deploy(server: &Server, application: &str, pipeline: &str, on: &str) -> Result<String> {
    server.started((application, "pipeline", pipeline), &[("infrastructure", on)], &[]).await
}

/// The messages of a start that was refused; empty when it was not.
pub async fn refusal(server: &Server, application: &str, pipeline: &str, on: &str) -> Result<String> {
    let answer =
        server.start_execution((application, "pipeline", pipeline), &[("infrastructure", on)], &[]).await?;
    Ok(string(&answer, "/errors/0/message").unwrap_or_default())
}

fn text(document: &Value) -> String {
    let mut document = document.clone();
    if let Value::Object(fields) = &mut document {
        fields.insert("harnessApiVersion".to_owned(), json!("1.0"));
    }
    document.to_string()
}
