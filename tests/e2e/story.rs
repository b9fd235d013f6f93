//! What the tests tell: an application of their own on the shared server, a ledger that its scripts write to, deployments and refusals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::{Leg, Server, string, until};
use serde_json::{Value, json};

use crate::shared;
use crate::tree::{Application, script};

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An application on the shared server.
pub struct Story {
    pub server: Arc<Server>,
    /// Name of the application.
    pub name: String,
    ledger: PathBuf,
}

impl Story {
    /// A story with an application of this name, which is imported by [`Story::tell`].
    pub async fn new(name: &str) -> Result<Self> {
        Ok(Self::on(shared::server().await?, name))
    }

    /// As [`Story::new`], on a server that the test has.
    pub fn on(server: Arc<Server>, name: &str) -> Self {
        let ledger = server.folder().join(format!("{name}.ledger"));
        Self { server, name: name.to_owned(), ledger }
    }

    /// The application, to be filled.
    pub fn application(&self) -> Application {
        Application::new(&self.name)
    }

    /// Imports the application.
    pub async fn tell(&self, application: Application) -> Result<()> {
        self.server.import(&application.files()).await
    }

    /// A step that writes a line to the ledger.
    pub fn note(&self, line: &str) -> Value {
        script(line.split(' ').next().unwrap_or("note"), &self.noting(line))
    }

    /// The command that writes a line to the ledger.
    pub fn noting(&self, line: &str) -> String {
        format!("echo \"{line}\" >> '{}'", self.ledger.display())
    }

    /// A step that fails where a shell condition holds.
    pub fn fails_if(condition: &str) -> Value {
        script("check", &format!("if {condition}; then echo unhealthy; exit 3; fi"))
    }

    /// A file of the test's own, by name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.server.folder().join(format!("{}-{name}", self.name))
    }

    /// A step that waits until a file of the test's own exists.
    pub fn waits_for(&self, name: &str) -> Value {
        let file = self.file(name);
        let text = format!(
            "for i in $(seq 600); do [ -e '{0}' ] && exit 0; sleep 0.1; done; exit 9",
            file.display()
        );
        script("wait", &text)
    }

    /// Lets those go on who wait for a file.
    pub fn let_go(&self, name: &str) -> Result<()> {
        Ok(std::fs::write(self.file(name), "")?)
    }

    /// Lines of the ledger, sorted.
    pub fn ledger(&self) -> Vec<String> {
        let mut lines = self.ledger_in_order();
        lines.sort();
        lines
    }

    /// Lines of the ledger in the order in which they were written.
    pub fn ledger_in_order(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the ledger has a line.
    pub async fn noted(&self, line: &str) -> Result<()> {
        until(line, DEADLINE, async || Ok(self.ledger().iter().any(|one| one == line).then_some(()))).await
    }

    /// Starts a pipeline; the whole answer.
    pub async fn answer(&self, pipeline: &str, variables: &[(&str, &str)]) -> Result<Value> {
        self.server.start_execution((&self.name, "pipeline", pipeline), variables, &[]).await
    }

    /// Starts a pipeline.
    pub async fn start(&self, pipeline: &str, variables: &[(&str, &str)]) -> Result<String> {
        self.server.started((&self.name, "pipeline", pipeline), variables, &[]).await
    }

    /// Starts a workflow alone.
    pub async fn start_alone(&self, workflow: &str, variables: &[(&str, &str)]) -> Result<String> {
        self.server.started((&self.name, "workflow", workflow), variables, &[]).await
    }

    /// Starts a pipeline and waits for its end: the execution and its status.
    pub async fn run(&self, pipeline: &str, variables: &[(&str, &str)]) -> Result<(String, String)> {
        let execution = self.start(pipeline, variables).await?;
        let status = self.ended(&execution).await?;
        Ok((execution, status))
    }

    /// Waits for the end of an execution; its status.
    pub async fn ended(&self, execution: &str) -> Result<String> {
        self.server.ended(execution, DEADLINE).await
    }

    /// Fields of an execution.
    pub async fn execution(&self, execution: &str, fields: &str) -> Result<Value> {
        let query = format!("query($e: String!) {{ execution(executionId: $e) {{ {fields} }} }}");
        Ok(self.server.data_of(&query, json!({ "e": execution })).await?["execution"].clone())
    }

    /// Infrastructures of an execution's legs with their statuses, sorted.
    pub async fn outcomes(&self, execution: &str) -> Result<Vec<(String, String)>> {
        let legs = self.server.legs(execution).await?;
        let mut outcomes: Vec<_> = legs.into_iter().map(|leg| (leg.infrastructure, leg.status)).collect();
        outcomes.sort();
        Ok(outcomes)
    }

    /// The leg on an infrastructure.
    pub async fn leg(&self, execution: &str, infrastructure: &str) -> Result<Leg> {
        let legs = self.server.legs(execution).await?;
        let found = legs.into_iter().find(|leg| leg.infrastructure == infrastructure);
        found.with_context(|| format!("no leg on {infrastructure}"))
    }

    /// A start that must be refused, with nothing started; the first error.
    pub async fn refusal(&self, kind: &str, entity: &str, variables: &[(&str, &str)]) -> Result<Refusal> {
        let before = self.executions(true).await?.len();
        let answer = self.server.start_execution((&self.name, kind, entity), variables, &[]).await?;
        let refusal = Refusal::of(&answer)?;
        let after = self.executions(true).await?.len();
        ensure!(before == after, "something was started in spite of the refusal {answer}");
        Ok(refusal)
    }

    /// A start of a pipeline that must be refused.
    pub async fn refused(&self, pipeline: &str, variables: &[(&str, &str)]) -> Result<Refusal> {
        self.refusal("pipeline", pipeline, variables).await
    }

    /// Ids of the application's executions, newest first, with or without legs.
    pub async fn executions(&self, legs: bool) -> Result<Vec<String>> {
        let found = self
            .server
            .data_of("query($n: String!) { applicationByName(name: $n) { id } }", json!({ "n": self.name }))
            .await?;
        let application = string(&found, "/applicationByName/id")?;
        let found = self
            .server
            .data_of(
                "query($f: [ExecutionFilter], $l: Boolean) { executions(filters: $f, includeIndirectExecutions: $l,
                    limit: 100) { nodes { id } } }",
                json!({ "f": [{ "application": { "operator": "EQUALS", "values": [application] } }], "l": legs }),
            )
            .await?;
        let nodes = found.pointer("/executions/nodes").and_then(Value::as_array).context("no nodes")?;
        nodes.iter().map(|node| string(node, "/id")).collect()
    }

    /// Inputs of a pipeline or workflow, by name.
    pub async fn inputs(&self, kind: &str, entity: &str) -> Result<Vec<Value>> {
        let (_, id) = self.server.ids(&self.name, kind, entity).await?;
        let query = format!(
            "query($i: String!) {{ it: {kind}({kind}Id: $i) {{ list: {kind}Variables {{
                name type required allowMultipleValues defaultValue allowedValues fixed }} }} }}"
        );
        let found = self.server.data_of(&query, json!({ "i": id })).await?;
        found.pointer("/it/list").and_then(Value::as_array).cloned().context("no variables")
    }

    /// Id of an infrastructure definition.
    pub async fn infrastructure(&self, environment: &str, name: &str) -> Result<String> {
        let found = self.server.data_of(DEFINITIONS, json!({ "n": self.name })).await?;
        let environments = found
            .pointer("/applicationByName/environments/nodes")
            .and_then(Value::as_array)
            .context("no nodes")?;
        let definitions = environments
            .iter()
            .find(|one| one["name"] == environment)
            .and_then(|one| one.pointer("/infrastructureDefinitions/nodes"))
            .and_then(Value::as_array)
            .with_context(|| format!("no environment {environment}"))?;
        let found = definitions.iter().find(|one| one["name"] == name);
        string(found.with_context(|| format!("no infrastructure definition {name}"))?, "/id")
    }

    /// A mutation on an execution, which must succeed.
    pub async fn ask(&self, mutation: &str, execution: &str) -> Result<Value> {
        let query = format!(
            "mutation($i: ExecutionRequestInput!) {{ it: {mutation}(input: $i) {{ execution {{ id status }} }} }}"
        );
        self.server
            .data_of(&query, json!({ "i": { "executionId": execution, "reason": "the test asks" } }))
            .await
    }

    /// Resumes a pipeline execution from a stage; the whole answer.
    pub async fn resume(&self, execution: &str, stage: &str) -> Result<Value> {
        let found = self.execution(execution, "application { id }").await?;
        let input = json!({ "applicationId": found["application"]["id"], "pipelineExecutionId": execution,
            "pipelineStageName": stage });
        self.server
            .graphql(
                "mutation($i: ResumeExecutionInput!) { resumeExecution(input: $i) { execution { id status } } }",
                json!({ "i": input }),
            )
            .await
    }
}

const DEFINITIONS: &str =
    "query($n: String!) { applicationByName(name: $n) { environments(limit: 100) { nodes { name
    infrastructureDefinitions(limit: 100) { nodes { id name } } } } } }";

/// A refusal as a client hears it.
pub struct Refusal {
    /// Message of the first error.
    pub message: String,
    /// Codes of all problems.
    pub codes: Vec<String>,
    /// Items of all problems.
    pub items: Vec<String>,
}

impl Refusal {
    /// Reads the errors of an answer.
    pub fn of(answer: &Value) -> Result<Self> {
        let message =
            string(answer, "/errors/0/message").with_context(|| format!("not refused: {answer}"))?;
        let problems = answer.pointer("/errors/0/extensions/problems").and_then(Value::as_array);
        let texts = |key: &str| -> Vec<String> {
            let all = problems.into_iter().flatten();
            all.filter_map(|one| one.get(key)?.as_str().map(str::to_owned)).collect()
        };
        Ok(Self { message, codes: texts("code"), items: texts("item") })
    }

    /// Asserts code and item of the only problem.
    pub fn is(&self, code: &str, item: &str) -> Result<()> {
        ensure!(self.codes == [code], "expected {code}, heard {:?}: {}", self.codes, self.message);
        ensure!(self.items == [item], "expected the item {item}, heard {:?}: {}", self.items, self.message);
        ensure!(self.message.contains(item), "the message does not name {item}: {}", self.message);
        Ok(())
    }
}

/// Pairs of texts.
pub fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}
