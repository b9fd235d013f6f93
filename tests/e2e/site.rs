//! A site: a server, a fleet of real SSH hosts, and the application that tests deploy to them. All hosts share one home, so everything that a
//! test leaves on a host lies below `$HOME/<application>/<workflow>/<infrastructure>/<host>`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use manifold_testkit::server::{Server, string, until};
use manifold_testkit::sshd::Fleet;
use reqwest::Method;
use serde_json::{Value, json};

/// How long an execution of a test may take.
pub const ENDS: Duration = Duration::from_secs(60);
/// The application.
pub const APP: &str = "Shop";
/// The environment.
pub const ENVIRONMENT: &str = "prod";
/// The service that most tests deploy.
pub const SERVICE: &str = "cart";
/// The SSH credential of the fleet.
pub const CREDENTIAL: &str = "fleet";

/// A server with a fleet and an application.
pub struct Site {
    /// The server.
    pub server: Server,
    /// The hosts.
    pub fleet: Fleet,
    /// Hosts by infrastructure.
    infrastructures: BTreeMap<String, Vec<IpAddr>>,
}

impl Site {
    /// Infrastructures with so many hosts each; the server knows the hosts' keys.
    pub async fn start(infrastructures: &[(&str, usize)]) -> Result<Self> {
        Self::start_with(infrastructures, true, &[]).await
    }

    /// As [`Site::start`], with more arguments for the server; whether it knows the hosts' keys.
    pub async fn start_with(
        infrastructures: &[(&str, usize)],
        known_hosts: bool,
        arguments: &[&str],
    ) -> Result<Self> {
        let fleet = Fleet::start(infrastructures.iter().map(|(_, hosts)| hosts).sum())?;
        let mut hosts = fleet.hosts().iter().map(std::net::SocketAddr::ip);
        let infrastructures = infrastructures
            .iter()
            .map(|(name, count)| ((*name).to_owned(), hosts.by_ref().take(*count).collect()))
            .collect();
        let known = if known_hosts { fleet.known_hosts() } else { fleet.folder().join("nobody_known") };
        let mut all = vec!["--ssh-known-hosts", known.to_str().context("a path that is no text")?];
        all.extend(arguments);
        let server = Server::start(env!("CARGO_BIN_EXE_manifold"), &all).await?;
        let site = Self { server, fleet, infrastructures };
        let key = site.secret_text("fleet-key", &site.fleet.user_key()?).await?;
        site.credential(
            CREDENTIAL,
            json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": key } }),
        )
        .await?;
        Ok(site)
    }

    /// Port of every host.
    pub fn port(&self) -> u16 {
        self.fleet.hosts()[0].port()
    }

    /// Hosts of an infrastructure.
    pub fn hosts(&self, infrastructure: &str) -> &[IpAddr] {
        &self.infrastructures[infrastructure]
    }

    /// The application with its defaults, environment, cloud provider and infrastructure definitions.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let below = |folder: &str| {
            let path = format!(
                "$HOME/${{app.name}}/${{workflow.name}}/${{infra.name}}/${{instance.hostName}}/{folder}"
            );
            json!({ "name": format!("{}_PATH", folder.to_uppercase()), "value": path })
        };
        tree.put("Cloud Providers/dc.yaml", json!({ "type": "PHYSICAL_DATA_CENTER" }));
        tree.application("Index.yaml", json!({ "type": "APPLICATION" }));
        let defaults = ["runtime", "staging", "backup"].map(below);
        tree.application("Defaults.yaml", json!({ "type": "APPLICATION_DEFAULTS", "defaults": defaults }));
        let environment = json!({ "type": "ENVIRONMENT", "environmentType": "PROD" });
        tree.application(&format!("Environments/{ENVIRONMENT}/Index.yaml"), environment);
        for name in self.infrastructures.keys() {
            tree.infrastructure(name, self.hosts(name), json!({}));
        }
        tree
    }

    /// Imports a tree.
    pub async fn import(&self, tree: Tree) -> Result<()> {
        let files: Vec<(String, String)> = tree.files.into_iter().collect();
        self.server.import(&files).await
    }

    async fn created(&self, secret: Value) -> Result<String> {
        let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
        let made = self.server.data_of(query, json!({ "i": secret })).await?;
        string(&made, "/createSecret/secret/id")
    }

    /// Makes a text secret; its id.
    pub async fn secret_text(&self, name: &str, value: &str) -> Result<String> {
        let text = json!({ "name": name, "value": value });
        self.created(json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": text })).await
    }

    /// Makes a file secret by a multipart request; its id.
    pub async fn secret_file(&self, name: &str, content: &[u8]) -> Result<String> {
        let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
        let input = json!({ "secretType": "ENCRYPTED_FILE", "encryptedFile": { "name": name } });
        let form = reqwest::multipart::Form::new()
            .text("query", json!({ "query": query, "variables": { "i": input } }).to_string())
            .part("file", reqwest::multipart::Part::bytes(content.to_vec()).file_name(name.to_owned()));
        let path = format!("/api/graphql?accountId={}", self.server.account);
        let answer: Value =
            self.server.request(Method::POST, &path).multipart(form).send().await?.json().await?;
        string(&answer, "/data/createSecret/secret/id")
    }

    /// Makes an SSH credential for the fleet's user with this method.
    pub async fn credential(&self, name: &str, method: Value) -> Result<String> {
        let sign_in =
            json!({ "userName": self.fleet.user(), "port": self.port(), "sshAuthenticationMethod": method });
        let credential = json!({ "name": name, "authenticationScheme": "SSH", "sshAuthentication": sign_in });
        self.created(json!({ "secretType": "SSH_CREDENTIAL", "sshCredential": credential })).await
    }

    /// Starts a workflow or pipeline and waits for its end.
    pub async fn run(
        &self,
        kind: &str,
        name: &str,
        infrastructures: &str,
        builds: &[(&str, &str)],
    ) -> Result<Run> {
        let variables =
            if infrastructures.is_empty() { vec![] } else { vec![("infrastructure", infrastructures)] };
        let id = self.server.started((APP, kind, name), &variables, builds).await?;
        let status = self.server.ended(&id, ENDS).await?;
        Ok(Run { id, status })
    }

    /// Runs a workflow without inputs.
    pub async fn workflow(&self, name: &str) -> Result<Run> {
        self.run("workflow", name, "", &[]).await
    }

    /// A folder on a host.
    pub fn folder(&self, workflow: &str, infrastructure: &str, host: usize) -> PathBuf {
        let host = self.hosts(infrastructure)[host].to_string();
        self.fleet.home().join(APP).join(workflow).join(infrastructure).join(host).join("runtime")
    }

    /// A file below a host's runtime folder; empty when there is none.
    pub fn file(&self, workflow: &str, infrastructure: &str, host: usize, name: &str) -> String {
        std::fs::read_to_string(self.folder(workflow, infrastructure, host).join(name)).unwrap_or_default()
    }

    /// What the scripts of [`mark`] left on a host, in order, blanks between.
    pub fn marks(&self, workflow: &str, infrastructure: &str, host: usize) -> String {
        self.file(workflow, infrastructure, host, "marks").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// [`Site::marks`] of all hosts of an infrastructure.
    pub fn all_marks(&self, workflow: &str, infrastructure: &str) -> Vec<String> {
        (0..self.hosts(infrastructure).len()).map(|host| self.marks(workflow, infrastructure, host)).collect()
    }

    /// Steps of a workflow execution as the API gives them.
    pub async fn steps(&self, execution: &str) -> Result<Vec<Value>> {
        const STEPS: &str = "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { steps {
            step name type phase section rollback status attempt skipReason failure { class code message hint }
            tasks { attempt instance logId status failure { class code message } units { name status exitCode } } } } } }";
        let found = self.server.data_of(STEPS, json!({ "e": execution })).await?;
        let steps = found.pointer("/execution/steps").and_then(Value::as_array);
        Ok(steps.context("the execution has no steps")?.clone())
    }

    /// A step by its name; in a rollback phase or not.
    pub async fn step(&self, execution: &str, name: &str, rollback: bool) -> Result<Value> {
        let steps = self.steps(execution).await?;
        let found = steps.iter().find(|step| step["name"] == name && step["rollback"] == rollback);
        found.cloned().with_context(|| format!("no step {name} in {steps:#?}"))
    }

    /// A workflow execution: why it failed, how its rollback went.
    pub async fn outcome(&self, execution: &str) -> Result<Outcome> {
        const OUTCOME: &str =
            "query($e: String!) { execution(executionId: $e) { status ... on WorkflowExecution {
            innerStatus rollback failure { class code message } } } }";
        let found = self.server.data_of(OUTCOME, json!({ "e": execution })).await?;
        let text =
            |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Outcome {
            status: text("/execution/status"),
            rollback: text("/execution/rollback"),
            class: text("/execution/failure/class"),
            code: text("/execution/failure/code"),
            message: text("/execution/failure/message"),
        })
    }

    /// All log lines of an execution's tasks, `unit: text` each.
    pub async fn log(&self, execution: &str) -> Result<String> {
        let mut text = String::new();
        for step in self.steps(execution).await? {
            for task in step["tasks"].as_array().into_iter().flatten() {
                let log = task["logId"].as_str().context("a task without a log")?;
                let path = format!("/api/executions/{execution}/logs/{log}");
                let answer = self.server.request(Method::GET, &path).send().await?.error_for_status()?;
                for line in answer.text().await?.lines() {
                    let line: Value = serde_json::from_str(line)?;
                    let (unit, said) = (line["unit"].as_str(), line["text"].as_str());
                    text.push_str(&format!("{}: {}\n", unit.unwrap_or_default(), said.unwrap_or_default()));
                }
            }
        }
        Ok(text)
    }

    /// Fails when a value can be read in the journal, the logs or any file of the data folder.
    pub async fn ensure_hidden(&self, execution: &str, value: &str) -> Result<()> {
        ensure_hidden(&self.server, execution, &self.log(execution).await?, value).await
    }

    /// Waits for a manual intervention and answers it.
    pub async fn answer(&self, execution: &str, answer: &str) -> Result<()> {
        const ANSWER: &str =
            "mutation($i: AnswerInterventionInput!) { answerIntervention(input: $i) { clientMutationId } }";
        let step = self.asked(execution).await?;
        let input =
            json!({ "executionId": execution, "step": step, "answer": answer, "reason": "the test says so" });
        self.server.data_of(ANSWER, json!({ "i": input })).await?;
        Ok(())
    }

    /// Waits for a manual intervention; the step's number.
    pub async fn asked(&self, execution: &str) -> Result<u64> {
        let mut answered = 0;
        until("a manual intervention is asked for", ENDS, async || {
            let events = self.server.events(execution).await?;
            let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
            answered = of("INTERVENTION_ANSWERED").len();
            let asked = of("INTERVENTION_ASKED");
            Ok(asked.get(answered).map(|event| event["step"].as_u64().unwrap_or_default()))
        })
        .await
    }
}

/// Fails when a value can be read in the journal of an execution, in its log or in any file of the server's data folder.
pub async fn ensure_hidden(server: &Server, execution: &str, log: &str, value: &str) -> Result<()> {
    let journal = serde_json::to_string(&server.events(execution).await?)?;
    ensure!(!journal.contains(value), "{value} is in the journal: {journal}");
    ensure!(!log.contains(value), "{value} is in the log: {log}");
    let mut folders = vec![server.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(value.len()).any(|part| part == value.as_bytes())
            {
                bail!("{value} is in {}", path.display());
            }
        }
    }
    Ok(())
}

/// An execution that has ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// Execution.
    pub id: String,
    /// Public status.
    pub status: String,
}

/// How a workflow execution ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Public status.
    pub status: String,
    /// Mark of the rollback.
    pub rollback: String,
    /// Failure class.
    pub class: String,
    /// Stable code.
    pub code: String,
    /// What a person reads.
    pub message: String,
}

/// Documents of a configuration tree. They are written as JSON, which is YAML too.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// A document below `Setup/`.
    pub fn put(&mut self, path: &str, mut document: Value) {
        document["harnessApiVersion"] = json!("1.0");
        self.files.insert(format!("Setup/{path}"), document.to_string());
    }

    /// A file below the application that is no document.
    pub fn text(&mut self, path: &str, text: &str) {
        self.files.insert(format!("Setup/Applications/{APP}/{path}"), text.to_owned());
    }

    /// A document below the application.
    pub fn application(&mut self, path: &str, document: Value) {
        self.put(&format!("Applications/{APP}/{path}"), document);
    }

    /// An infrastructure definition of hosts, with more keys of its item.
    pub fn infrastructure(&mut self, name: &str, hosts: &[IpAddr], more: Value) {
        let mut item = json!({ "type": "PHYSICAL_DATA_CENTER_SSH", "cloudProviderName": "dc",
            "hostConnectionAttrsName": CREDENTIAL, "hostNames": hosts });
        for (key, value) in more.as_object().into_iter().flatten() {
            item[key] = value.clone();
        }
        let definition = json!({ "type": "INFRA_DEFINITION", "cloudProviderType": "PHYSICAL_DATA_CENTER",
            "deploymentType": "SSH", "infrastructure": [item] });
        self.application(
            &format!("Environments/{ENVIRONMENT}/Infrastructure Definitions/{name}.yaml"),
            definition,
        );
    }

    /// A service with configuration variables: name, value, type each.
    pub fn service(&mut self, name: &str, variables: &[(&str, &str, &str)]) {
        let variables: Vec<Value> = variables
            .iter()
            .map(|(name, value, kind)| json!({ "name": name, "value": value, "valueType": kind }))
            .collect();
        let service = json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH",
            "configVariables": variables });
        self.application(&format!("Services/{name}/Index.yaml"), service);
    }

    /// A command of a service.
    pub fn command(&mut self, service: &str, name: &str, kind: &str, units: &[Value]) {
        let command = json!({ "type": kind, "commandUnitType": "COMMAND", "commandUnits": units, "targetToAllEnv": true });
        self.application(&format!("Services/{service}/Commands/{name}.yaml"), command);
    }

    /// A workflow of phases, each with its rollback phase.
    pub fn workflow(&mut self, name: &str, kind: &str, strategies: Value, phases: Vec<Phase>, more: Value) {
        let mut workflow = json!({ "type": kind, "envName": ENVIRONMENT, "failureStrategies": strategies,
            "phases": phases.iter().map(Phase::forward).collect::<Vec<_>>(),
            "rollbackPhases": phases.iter().filter(|phase| !phase.rollback.is_empty()).map(Phase::back).collect::<Vec<_>>(),
            "templatized": false });
        for (key, value) in more.as_object().into_iter().flatten() {
            workflow[key] = value.clone();
        }
        let mut variables: Vec<&str> = phases.iter().filter_map(|phase| phase.variable).collect();
        variables.dedup();
        if !variables.is_empty() {
            let variable =
                |name: &&str| json!({ "type": "ENTITY", "name": name, "fixed": false, "mandatory": true });
            workflow["userVariables"] = variables.iter().map(variable).collect();
            workflow["templatized"] = json!(true);
        }
        self.application(&format!("Workflows/{name}.yaml"), workflow);
    }

    /// A pipeline of one stage that runs a workflow with variables, each an expression of the same name.
    pub fn pipeline(&mut self, name: &str, workflow: &str, variables: &[&str]) {
        let values: Vec<Value> = variables
            .iter()
            .map(|name| json!({ "entityType": "INFRASTRUCTURE_DEFINITION", "name": name, "value": format!("${{{name}}}") }))
            .collect();
        let stage = json!({ "type": "ENV_STATE", "name": "regions", "parallel": false, "stageName": "STAGE 1",
            "workflowName": workflow, "workflowVariables": values });
        self.application(
            &format!("Pipelines/{name}.yaml"),
            json!({ "type": "PIPELINE", "pipelineStages": [stage] }),
        );
    }
}

/// A phase with its rollback.
#[derive(Clone)]
pub struct Phase {
    /// Name.
    pub name: &'static str,
    /// Service.
    pub service: &'static str,
    /// Infrastructure definition, when no variable gives it.
    pub infrastructure: &'static str,
    /// The variable that gives it.
    pub variable: Option<&'static str>,
    /// Sections.
    pub sections: Vec<Value>,
    /// Sections of the rollback phase.
    pub rollback: Vec<Value>,
}

impl Phase {
    /// On an infrastructure.
    pub fn on(
        name: &'static str,
        infrastructure: &'static str,
        sections: Vec<Value>,
        rollback: Vec<Value>,
    ) -> Self {
        Self { name, service: SERVICE, infrastructure, variable: None, sections, rollback }
    }

    /// On what a variable says.
    pub fn by(
        name: &'static str,
        variable: &'static str,
        sections: Vec<Value>,
        rollback: Vec<Value>,
    ) -> Self {
        Self { name, service: SERVICE, infrastructure: "", variable: Some(variable), sections, rollback }
    }

    /// Of another service.
    pub fn of(self, service: &'static str) -> Self {
        Self { service, ..self }
    }

    fn document(&self, sections: &[Value]) -> Value {
        let mut phase = json!({ "type": "SSH", "serviceName": self.service, "phaseSteps": sections });
        match self.variable {
            None => phase["infraDefinitionName"] = json!(self.infrastructure),
            Some(variable) => {
                phase["templateExpressions"] = json!([{ "expression": format!("${{{variable}}}"),
                    "fieldName": "infraDefinitionId",
                    "metadata": [{ "name": "entityType", "value": "INFRASTRUCTURE_DEFINITION" }] }]);
            }
        }
        phase
    }

    fn forward(&self) -> Value {
        let mut phase = self.document(&self.sections);
        phase["name"] = json!(self.name);
        phase
    }

    fn back(&self) -> Value {
        let mut phase = self.document(&self.rollback);
        phase["name"] = json!(format!("Rollback {}", self.name));
        phase["phaseNameForRollback"] = json!(self.name);
        phase
    }
}

/// A section of steps in order.
pub fn section(name: &str, steps: &[Value]) -> Value {
    json!({ "type": "DEPLOY_SERVICE", "name": name, "steps": steps, "stepsInParallel": false })
}

/// A section of a rollback phase that undoes a section.
pub fn undoing(name: &str, steps: &[Value]) -> Value {
    let mut section = section(name, steps);
    section["phaseStepNameForRollback"] = json!(name);
    section["statusForRollback"] = json!("SUCCESS");
    section
}

/// A section with more keys.
pub fn with(mut section: Value, key: &str, value: Value) -> Value {
    section[key] = value;
    section
}

/// A step.
pub fn step(kind: &str, name: &str, properties: Value) -> Value {
    json!({ "type": kind, "name": name, "properties": properties })
}

/// Runs a service command.
pub fn command(name: &str) -> Value {
    step("COMMAND", name, json!({ "commandName": name, "timeoutMillis": 60000 }))
}

/// A script on every host of the phase.
pub fn script(name: &str, text: &str) -> Value {
    step(
        "SHELL_SCRIPT",
        name,
        json!({ "executeOnDelegate": false, "connectionType": "SSH", "host": "${instance.hostName}",
            "scriptType": "BASH", "scriptString": text, "timeoutMillis": 60000 }),
    )
}

/// A script on every host that leaves a word there, and then does what is said.
pub fn mark(name: &str, word: &str, then: &str) -> Value {
    let leave = "mkdir -p \"$WINGS_RUNTIME_PATH\" && cd \"$WINGS_RUNTIME_PATH\" && echo";
    script(name, &format!("{leave} {word} >>marks\n{then}"))
}

/// Selects hosts.
pub fn select(count: u32, unit: &str) -> Value {
    step(
        "DC_NODE_SELECT",
        "Select Nodes",
        json!({ "instanceCount": count, "instanceUnitType": unit, "specificHosts": false }),
    )
}

/// A workflow-level failure strategy.
pub fn strategy(classes: &[&str], action: &str) -> Value {
    json!({ "executionScope": "WORKFLOW", "failureTypes": classes, "repairActionCode": action, "retryCount": 0 })
}

/// A unit of a command.
pub fn unit(kind: &str, name: &str, command: &str) -> Value {
    json!({ "commandUnitType": kind, "name": name, "command": command, "deploymentType": "SSH", "scriptType": "BASH" })
}
