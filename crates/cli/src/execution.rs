//! `manifold execution …`: looks at executions and steers them.

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Cell;
use manifold_model::{Problem, code};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::command::watched;
use crate::connection::Connection;
use crate::deploy::application_id;
use crate::error::Error;
use crate::print::{Output, Paint, columns, out, out_json, say};
use crate::run::{Depth, Run, fetch, read};
use crate::show;

/// Longest page of a list (`wire.md` 1.6).
const LONGEST_PAGE: u32 = 1_000;

/// Flags of `execution`.
#[derive(Args, Clone, Debug)]
pub struct ExecutionFlags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// List executions, newest first
    List(ListFlags),
    /// Show one with its stages and legs
    Show(IdFlags),
    /// Watch one to its end; the exit code tells how it went
    Watch(IdFlags),
    /// Print the logs of its steps
    Logs(crate::logs::LogFlags),
    /// Stop it, without rollback
    Abort(RequestFlags),
    /// Start nothing new in it
    Pause(RequestFlags),
    /// End a pause
    Continue(RequestFlags),
    /// Stop a workflow execution and roll it back
    Rollback(RequestFlags),
    /// Run a pipeline that did not end well again, from a stage on
    Resume(ResumeFlags),
    /// Answer what it asks: a manual intervention, or whether a step ran
    Answer(AnswerFlags),
}

#[derive(Args, Clone, Debug)]
struct ListFlags {
    /// Only of this application
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only with this status; may be given several times
    #[arg(long, value_name = "STATUS", ignore_case = true, value_enum)]
    status: Vec<StatusName>,
    /// Legs of pipelines too
    #[arg(long)]
    all: bool,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_PAGE)))]
    limit: u32,
    /// How many newer ones to leave out
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

/// Statuses that lists can be filtered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum StatusName {
    Queued,
    Running,
    Paused,
    Success,
    Failed,
    Aborted,
    Rejected,
    Expired,
    Skipped,
    Error,
}

#[derive(Args, Clone, Debug)]
struct IdFlags {
    /// Execution
    #[arg(allow_hyphen_values = true)]
    id: String,
}

#[derive(Args, Clone, Debug)]
struct RequestFlags {
    /// Execution: a pipeline's, a workflow's, or a leg's
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// Why; kept with the execution
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct ResumeFlags {
    /// Pipeline execution
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// First stage that runs again: its number from 1, or its name
    #[arg(long, value_name = "N")]
    stage: String,
    /// Wait for the end
    #[arg(long)]
    watch: bool,
}

#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("answer").required(true).args(["action", "ran"])))]
struct AnswerFlags {
    /// Execution of the workflow or leg that asks
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// The step that asks: its number, or its name
    #[arg(long, value_name = "S")]
    step: String,
    /// Answer to a manual intervention
    #[arg(long, value_enum, ignore_case = true)]
    action: Option<Action>,
    /// Whether the step ran; when it did, it counts as succeeded, else it is run
    #[arg(long, value_enum)]
    ran: Option<YesNo>,
    /// The host that is asked about, when the step ran on hosts
    #[arg(long, value_name = "H", requires = "ran")]
    instance: Option<String>,
    /// Why; kept with the execution
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Answers to a manual intervention, as failure strategies name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Action {
    Retry,
    Ignore,
    MarkAsSuccess,
    RollbackWorkflow,
    RollbackPhase,
    RollbackProvisionerAfterPhases,
    EndExecution,
    AbortWorkflowExecution,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

/// Runs a verb.
///
/// # Errors
/// When it is refused or the server cannot be reached.
pub async fn run(flags: ExecutionFlags) -> Result<u8, Error> {
    let client = flags.connection.client()?;
    let output = flags.connection.output;
    match flags.verb {
        Verb::List(flags) => list(&client, &flags, output).await,
        Verb::Show(flags) => show_one(&client, &flags.id, output).await,
        Verb::Watch(flags) => watched(&client, &flags.id, output, None).await,
        Verb::Logs(flags) => crate::logs::run(&client, &flags, output).await,
        Verb::Abort(flags) => request(&client, "abortExecution", &flags, output).await,
        Verb::Pause(flags) => request(&client, "pauseExecution", &flags, output).await,
        Verb::Continue(flags) => request(&client, "continueExecution", &flags, output).await,
        Verb::Rollback(flags) => request(&client, "rollbackExecution", &flags, output).await,
        Verb::Resume(flags) => resume(&client, &flags, output).await,
        Verb::Answer(flags) => answer(&client, &flags, output).await,
    }
}

/// A row of the list.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    #[serde(rename(deserialize = "innerStatus"))]
    status: String,
    #[serde(default)]
    application: Value,
    #[serde(default, rename(serialize = "pipeline"))]
    pipeline_name: Option<String>,
    #[serde(default, rename(serialize = "workflow"))]
    workflow_name: Option<String>,
    #[serde(default)]
    infrastructure: Value,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    notes: Option<String>,
}

async fn list(client: &Client, flags: &ListFlags, output: Output) -> Result<u8, Error> {
    const QUERY: &str = "query($filters: [ExecutionFilter], $all: Boolean, $limit: Int!, $offset: Int) { \
        executions(filters: $filters, includeIndirectExecutions: $all, limit: $limit, offset: $offset) { \
        pageInfo { total hasMore } nodes { id innerStatus createdAt startedAt endedAt notes application { name } \
        ... on PipelineExecution { pipelineName } ... on WorkflowExecution { workflowName infrastructure { name } } } } }";
    let mut filters = Vec::new();
    if let Some(name) = &flags.application {
        let id = application_id(client, name).await?;
        filters.push(json!({ "application": { "operator": "EQUALS", "values": [id] } }));
    }
    if !flags.status.is_empty() {
        let names: Vec<String> = flags.status.iter().filter_map(value_name).collect();
        filters.push(json!({ "status": { "operator": "IN", "values": names } }));
    }
    let variables =
        json!({ "filters": filters, "all": flags.all, "limit": flags.limit, "offset": flags.offset });
    let data = client.graphql(QUERY, variables).await?;
    let at = |path: &str| data.pointer(path).cloned().unwrap_or_default();
    let mut rows: Vec<Row> = read(client, at("/executions/nodes"))?;
    for row in &mut rows {
        row.application = row.application.get("name").cloned().unwrap_or_default();
        row.infrastructure = row.infrastructure.get("name").cloned().unwrap_or_default();
    }
    if output == Output::Json {
        out_json(
            &json!({ "executions": rows, "total": at("/executions/pageInfo/total"), "hasMore": at("/executions/pageInfo/hasMore") }),
        )?;
        return Ok(0);
    }
    if rows.is_empty() {
        say("there are no executions");
        return Ok(0);
    }
    out(&listed(&rows, Paint::of_stdout()))?;
    if at("/executions/pageInfo/hasMore") == json!(true) {
        say(&format!(
            "{} of {}; --offset {} goes on",
            rows.len(),
            at("/executions/pageInfo/total"),
            flags.offset as usize + rows.len()
        ));
    }
    Ok(0)
}

fn listed(rows: &[Row], paint: Paint) -> String {
    let mut table = show::plain_table(columns(), paint);
    table.set_header(vec!["ID", "APPLICATION", "NAME", "INFRASTRUCTURE", "STATUS", "QUEUED", "DURATION"]);
    for row in rows {
        let name = row.pipeline_name.as_ref().or(row.workflow_name.as_ref()).cloned().unwrap_or_default();
        table.add_row([
            Cell::new(&row.id),
            Cell::new(row.application.as_str().unwrap_or_default()),
            Cell::new(name),
            Cell::new(row.infrastructure.as_str().unwrap_or_default()),
            show::status_cell(&row.status, paint),
            Cell::new(show::time(Some(row.created_at))),
            Cell::new(show::duration(row.started_at, row.ended_at)),
        ]);
    }
    show::trimmed(&table)
}

fn value_name(value: &impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}

async fn show_one(client: &Client, id: &str, output: Output) -> Result<u8, Error> {
    let run = fetch(client, id, Depth::All).await?;
    if output == Output::Json {
        out_json(&run)?;
        return Ok(0);
    }
    let mut head = format!("{} / {}  {}\n", run.application, run.name, run.id);
    head.push_str(&format!(
        "queued {}  began {}  ended {}\n",
        show::time(Some(run.created_at)),
        dash(show::time(run.started_at)),
        dash(show::time(run.ended_at))
    ));
    if !run.notes.is_empty() {
        head.push_str(&format!("notes: {}\n", run.notes));
    }
    for (what, other) in [("resumes", &run.resumed_from), ("resumed by", &run.resumed_by)] {
        if let Some(other) = other {
            head.push_str(&format!("{what} {other}\n"));
        }
    }
    run.stages.iter().filter(|stage| !stage.name.is_empty()).for_each(|stage| {
        head.push_str(&show::grouping(stage));
        head.push('\n');
    });
    for wait in &run.waits {
        head.push_str(&show::waiting(wait));
        head.push('\n');
    }
    out(&format!("{head}\n{}", show::table(&run, Paint::of_stdout(), columns())))?;
    Ok(0)
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

async fn request(client: &Client, mutation: &str, flags: &RequestFlags, output: Output) -> Result<u8, Error> {
    let query = format!(
        "mutation($input: ExecutionRequestInput!) {{ done: {mutation}(input: $input) {{ execution {{ id innerStatus }} }} }}"
    );
    let input = json!({ "executionId": flags.id, "reason": flags.reason });
    told(client.graphql(&query, json!({ "input": input })).await?, output)
}

/// Prints the execution that was asked for something.
fn told(data: Value, output: Output) -> Result<u8, Error> {
    let text = |key: &str| {
        data.pointer(&format!("/done/execution/{key}")).and_then(Value::as_str).unwrap_or_default()
    };
    match output {
        Output::Json => out_json(&json!({ "id": text("id"), "status": text("innerStatus") }))?,
        Output::Text => {
            out(&format!("{}  {}", text("id"), show::status(text("innerStatus"), Paint::of_stdout())))?
        }
    }
    Ok(0)
}

async fn resume(client: &Client, flags: &ResumeFlags, output: Output) -> Result<u8, Error> {
    const QUERY: &str = "mutation($input: ResumeExecutionInput!) { done: resumeExecution(input: $input) { execution { id innerStatus } } }";
    let run = fetch(client, &flags.id, Depth::Live).await?;
    let stage = stage_name(&run, &flags.stage)?;
    let input = json!({ "applicationId": run.application_id, "pipelineExecutionId": flags.id, "pipelineStageName": stage });
    let data = client.graphql(QUERY, json!({ "input": input })).await?;
    match data.pointer("/done/execution/id").and_then(Value::as_str) {
        Some(id) if flags.watch => watched(client, id, output, None).await,
        _ => told(data, output),
    }
}

/// The name of a stage that is given by its number, or by its name.
fn stage_name(run: &Run, given: &str) -> Result<String, ClientError> {
    let names: Vec<&str> = run.stages.iter().map(|stage| stage.name.as_str()).collect();
    if names.contains(&given) {
        return Ok(given.to_owned());
    }
    let number = given.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    number.and_then(|index| names.get(index)).map(|name| (*name).to_owned()).ok_or_else(|| {
        let problem = Problem::new(code!("STAGE_UNKNOWN"), format!("the execution has no stage {given:?}"));
        ClientError::refused(problem.item(given).hint(format!("its stages are {}", names.join(", "))))
    })
}

async fn answer(client: &Client, flags: &AnswerFlags, output: Output) -> Result<u8, Error> {
    let step = crate::logs::step_number(client, &flags.id, &flags.step).await?;
    let (mutation, kind, input) = match (flags.action, flags.ran) {
        (Some(action), _) => (
            "answerIntervention",
            "AnswerInterventionInput",
            json!({ "executionId": flags.id, "step": step, "answer": action, "reason": flags.reason }),
        ),
        (None, ran) => (
            "answerUnknownOutcome",
            "AnswerUnknownOutcomeInput",
            json!({ "executionId": flags.id, "step": step, "instance": flags.instance, "ran": ran == Some(YesNo::Yes), "reason": flags.reason }),
        ),
    };
    let query = format!(
        "mutation($input: {kind}!) {{ done: {mutation}(input: $input) {{ execution {{ id innerStatus }} }} }}"
    );
    told(client.graphql(&query, json!({ "input": input })).await?, output)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::run::Stage;

    #[test]
    fn a_stage_is_named_by_number_or_name() {
        let stage = |name: &str| Stage { name: name.to_owned(), elements: Vec::new() };
        let run = Run { stages: vec![stage("STAGE 1"), stage("rest")], ..Run::default() };
        assert_eq!(stage_name(&run, "2").unwrap(), "rest");
        assert_eq!(stage_name(&run, "STAGE 1").unwrap(), "STAGE 1");
        for given in ["0", "3", "other"] {
            assert_eq!(stage_name(&run, given).unwrap_err().exit_code(), 3);
        }
    }
}
