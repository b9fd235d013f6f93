//! What runs while a process dies: deployments, and people who look at levels and do what is theirs to do. Nothing here remembers more than what
//! was confirmed to it, so it goes on over any crash.

use std::collections::{BTreeMap, BTreeSet};

use manifold_cli::client::{Client, ClientError};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::tree::FLEET;

/// Deployments that run together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scene {
    /// A pipeline over three infrastructures of two hosts, one of which goes back.
    Fleet,
    /// Deployments that are asked about, aborted and paused.
    People,
    /// Deployments that wait for each other, and some that are refused.
    Turns,
}

/// A deployment.
struct Run {
    name: &'static str,
    /// `pipeline` or `workflow`, and its name.
    entity: (&'static str, &'static str),
    infrastructures: &'static [&'static str],
    /// The variable `permits`.
    permits: &'static str,
    /// It begins when this one waits for its lock.
    after: Option<&'static str>,
}

const fn alone(name: &'static str, infrastructures: &'static [&'static str]) -> Run {
    Run { name, entity: ("workflow", name), infrastructures, permits: "1", after: None }
}

const FLEET_RUNS: [Run; 1] =
    [Run { name: "ship", entity: ("pipeline", "ship"), infrastructures: &FLEET, permits: "1", after: None }];

const PEOPLE_RUNS: [Run; 3] =
    [alone("ask", &["ask"]), alone("abort", &["abort"]), alone("pause", &["pause"])];

const TURNS_RUNS: [Run; 6] = [
    Run {
        name: "first",
        entity: ("workflow", "lock"),
        infrastructures: &["lock"],
        permits: "first",
        after: None,
    },
    Run {
        name: "second",
        entity: ("workflow", "lock"),
        infrastructures: &["lock"],
        permits: "second",
        after: Some("first"),
    },
    Run {
        name: "third",
        entity: ("workflow", "lock"),
        infrastructures: &["lock"],
        permits: "third",
        after: Some("second"),
    },
    Run {
        name: "broken",
        entity: ("pipeline", "broken"),
        infrastructures: &["left", "right"],
        permits: "1",
        after: None,
    },
    Run {
        name: "greedy",
        entity: ("workflow", "greedy"),
        infrastructures: &["ask"],
        permits: "5",
        after: None,
    },
    Run {
        name: "undecided",
        entity: ("pipeline", "undecided"),
        infrastructures: &["abort"],
        permits: "1",
        after: None,
    },
];

impl Scene {
    /// All scenes.
    pub const ALL: [Scene; 3] = [Scene::Fleet, Scene::People, Scene::Turns];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::People => "people",
            Self::Turns => "turns",
        }
    }

    fn runs(self) -> &'static [Run] {
        match self {
            Self::Fleet => &FLEET_RUNS,
            Self::People => &PEOPLE_RUNS,
            Self::Turns => &TURNS_RUNS,
        }
    }

    /// Pipelines and workflows that are started, each once.
    pub fn entities() -> BTreeSet<(&'static str, &'static str)> {
        Self::ALL.iter().flat_map(|scene| scene.runs()).map(|run| run.entity).collect()
    }
}

/// Ids by what they are of.
#[derive(Clone, Default)]
pub struct Ids {
    /// Application.
    pub application: String,
    /// Pipelines and workflows.
    pub entities: BTreeMap<(&'static str, &'static str), String>,
}

/// A scene that is being played.
pub struct Play {
    scene: Scene,
    /// Name of the trial: what is started twice with it starts once.
    name: String,
    ids: Ids,
    ledger: Ledger,
    pages: String,
    /// Executions by run.
    executions: BTreeMap<&'static str, String>,
    /// Final statuses by run.
    ends: BTreeMap<&'static str, String>,
    /// Runs seen to wait for their lock, or to hold it.
    in_line: BTreeSet<&'static str>,
    /// What people have done, confirmed.
    done: BTreeSet<String>,
    /// Questions about unknown outcomes.
    asked: BTreeSet<String>,
    /// What was seen last of runs that have not ended, for messages.
    seen: BTreeMap<&'static str, String>,
}

/// An execution as it is looked at.
const LOOK: &str = "query($e: String!) { execution(executionId: $e) { id status
    ... on WorkflowExecution { waits { step reason } }
    ... on PipelineExecution { memberExecutions(limit: 50) { nodes { id status ... on WorkflowExecution { waits { step reason } } } } } } }";

impl Play {
    /// A scene that begins.
    pub fn new(scene: Scene, name: &str, ids: Ids, ledger: Ledger, pages: String) -> Self {
        Self {
            scene,
            name: name.to_owned(),
            ids,
            ledger,
            pages,
            executions: BTreeMap::new(),
            ends: BTreeMap::new(),
            in_line: BTreeSet::new(),
            done: BTreeSet::new(),
            asked: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Whether everything has ended.
    pub fn ended(&self) -> bool {
        self.ends.len() == self.scene.runs().len()
    }

    /// Final statuses by run.
    pub fn ends(&self) -> &BTreeMap<&'static str, String> {
        &self.ends
    }

    /// Executions that were started.
    pub fn executions(&self) -> impl Iterator<Item = &String> {
        self.executions.values()
    }

    /// How many questions about unknown outcomes were asked.
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// What has not ended, for messages.
    pub fn open(&self) -> String {
        let open = self.scene.runs().iter().filter(|run| !self.ends.contains_key(run.name));
        let told = open.map(|run| {
            let seen = self.seen.get(run.name).map_or("it has not begun", String::as_str);
            format!("{}: {seen}", run.name)
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Looks once at everything and does what is to be done.
    ///
    /// # Errors
    /// The server is gone, or refuses.
    pub async fn tick(&mut self, client: &Client) -> Result<(), ClientError> {
        for run in self.scene.runs() {
            if self.ends.contains_key(run.name) {
                continue;
            }
            match self.executions.get(run.name).cloned() {
                None if run.after.is_none_or(|first| self.in_line.contains(first)) => {
                    self.start(client, run).await?
                }
                None => {}
                Some(execution) => self.look(client, run, &execution).await?,
            }
        }
        if self.scene == Scene::Turns && self.ends.contains_key("third") {
            self.open_gate("hold");
        }
        Ok(())
    }

    async fn start(&mut self, client: &Client, run: &'static Run) -> Result<(), ClientError> {
        const START: &str =
            "mutation($i: StartExecutionInput!) { startExecution(input: $i) { execution { id } } }";
        let ledger = self.ledger.folder().to_string_lossy();
        let infrastructures = run.infrastructures.join(",");
        let variables = [
            ("infrastructure", infrastructures.as_str()),
            ("ledger", &ledger),
            ("pages", &self.pages),
            ("permits", run.permits),
        ];
        let variables = variables.map(
            |(name, value)| json!({ "name": name, "variableValue": { "type": "NAME", "value": value } }),
        );
        let (kind, _) = run.entity;
        let input = json!({ "applicationId": self.ids.application, "entityId": self.ids.entities.get(&run.entity),
            "executionType": kind.to_uppercase(), "variableInputs": variables,
            "clientMutationId": format!("{}-{}", self.name, run.name) });
        let started = client.graphql(START, json!({ "i": input })).await?;
        let id = started.pointer("/startExecution/execution/id").and_then(Value::as_str).unwrap_or_default();
        self.executions.insert(run.name, id.to_owned());
        Ok(())
    }

    async fn look(&mut self, client: &Client, run: &'static Run, execution: &str) -> Result<(), ClientError> {
        let found = client.graphql(LOOK, json!({ "e": execution })).await?;
        let found = found.get("execution").cloned().unwrap_or_default();
        let status = found.get("status").and_then(Value::as_str).unwrap_or_default();
        if !matches!(status, "QUEUED" | "RUNNING" | "PAUSED" | "") {
            self.ends.insert(run.name, status.to_owned());
            return Ok(());
        }
        self.seen.insert(run.name, found.to_string());
        let waits = found.get("waits").and_then(Value::as_array).cloned().unwrap_or_default();
        for wait in waits {
            let reason = wait.get("reason").and_then(Value::as_str).unwrap_or_default();
            let step = wait.get("step").and_then(Value::as_u64).unwrap_or_default();
            self.answer(client, run, execution, reason, step).await?;
        }
        self.act(client, run, execution).await
    }

    /// Does what a wait asks of people.
    async fn answer(
        &mut self,
        client: &Client,
        run: &'static Run,
        execution: &str,
        reason: &str,
        step: u64,
    ) -> Result<(), ClientError> {
        match reason {
            "LOCK" => {
                self.in_line.insert(run.name);
            }
            "INTERVENTION" => {
                let input = json!({ "executionId": execution, "step": step, "answer": "RETRY" });
                self.ask(client, "answerIntervention", "AnswerInterventionInput", run.name, input).await?;
            }
            "UNKNOWN_OUTCOME" => {
                self.asked.insert(format!("{execution} {step}"));
                let ran = self.ledger.has("post");
                let input = json!({ "executionId": execution, "step": step, "ran": ran, "reason": "the ledger says so" });
                self.ask(client, "answerUnknownOutcome", "AnswerUnknownOutcomeInput", run.name, input)
                    .await?;
            }
            "PAUSED" if run.name == "pause" => {
                // Also when nobody confirmed it: asked for once more it would pause what has just gone on.
                self.done.insert("pauseExecution pause".to_owned());
                self.open_gate("work");
                let input = json!({ "executionId": execution });
                self.ask(client, "continueExecution", "ExecutionRequestInput", run.name, input).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Does what people want of their own.
    async fn act(&mut self, client: &Client, run: &'static Run, execution: &str) -> Result<(), ClientError> {
        let input = json!({ "executionId": execution });
        match run.name {
            "first" if self.ledger.has("hold-first") => {
                self.in_line.insert("first");
            }
            "abort" if self.ledger.has("long") => {
                self.ask(client, "abortExecution", "ExecutionRequestInput", run.name, input).await?;
            }
            "pause" if self.ledger.has("work") => {
                self.ask(client, "pauseExecution", "ExecutionRequestInput", run.name, input).await?;
                self.open_gate("work");
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks for something once: what was confirmed is durable.
    async fn ask(
        &mut self,
        client: &Client,
        mutation: &str,
        kind: &str,
        run: &str,
        input: Value,
    ) -> Result<(), ClientError> {
        let what = format!("{mutation} {run}");
        if self.done.contains(&what) {
            return Ok(());
        }
        let query = format!("mutation($i: {kind}!) {{ {mutation}(input: $i) {{ execution {{ id }} }} }}");
        client.graphql(&query, json!({ "i": input })).await?;
        self.done.insert(what);
        Ok(())
    }

    fn open_gate(&self, gate: &str) {
        if let Err(error) = self.ledger.open_gate(gate) {
            tracing::warn!(%error, gate, "a gate stays closed");
        }
    }
}
