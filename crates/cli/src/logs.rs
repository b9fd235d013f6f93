//! `manifold execution logs`: the output of steps, of one leg or of all.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use clap::Args;
use manifold_model::{Problem, code};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::error::Error;
use crate::print::{Output, out, out_line, say};
use crate::run::{Depth, fetch, is_final, read};

/// Between two looks for more.
const POLL: Duration = Duration::from_secs(1);

/// Flags of `logs`.
#[derive(Args, Clone, Debug)]
pub struct LogFlags {
    /// Execution: of a pipeline (all its legs), a workflow or a leg
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// Only of this step: its number, or its name
    #[arg(long, value_name = "S")]
    step: Option<String>,
    /// Go on until the execution has ended
    #[arg(long, short)]
    follow: bool,
}

/// A step as the API gives it.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Step {
    step: i64,
    name: String,
    #[serde(default)]
    tasks: Vec<Task>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Task {
    attempt: i64,
    instance: Option<String>,
    log_id: String,
    ended_at: Option<i64>,
}

/// How far a log has been read.
#[derive(Default)]
struct Cursor {
    /// Number of the next line.
    next: u64,
    /// Nothing more comes.
    done: bool,
}

/// Prints the logs.
///
/// # Errors
/// When there is no such execution or step.
pub async fn run(client: &Client, flags: &LogFlags, output: Output) -> Result<u8, Error> {
    let mut cursors: HashMap<String, Cursor> = HashMap::new();
    let mut known = false;
    // Legs that have ended and were read to their end.
    let mut read_out: HashSet<String> = HashSet::new();
    loop {
        let run = fetch(client, &flags.id, Depth::All).await?;
        let ended = run.is_final();
        let several = run.kind == "PIPELINE";
        for leg in run.legs() {
            if read_out.contains(&leg.id) {
                continue;
            }
            for step in steps(client, &leg.id).await? {
                if flags.step.as_ref().is_some_and(|wanted| !is_step(&step, wanted)) {
                    continue;
                }
                known = true;
                let label = if several { format!("{} ", leg.label()) } else { String::new() };
                for task in &step.tasks {
                    let cursor = cursors.entry(task.log_id.clone()).or_default();
                    if !cursor.done {
                        print_log(client, &leg.id, &label, &step, task, cursor, output).await?;
                        cursor.done = task.ended_at.is_some() || is_final(&leg.status);
                    }
                }
            }
        }
        read_out.extend(run.legs().filter(|leg| leg.is_final()).map(|leg| leg.id.clone()));
        if ended || !flags.follow {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    match (&flags.step, known) {
        (Some(step), false) => Err(unknown(&flags.id, step).into()),
        _ => {
            if cursors.is_empty() {
                say("no step has run yet");
            }
            Ok(0)
        }
    }
}

async fn print_log(
    client: &Client,
    execution: &str,
    label: &str,
    step: &Step,
    task: &Task,
    cursor: &mut Cursor,
    output: Output,
) -> Result<(), Error> {
    let path = format!("/api/executions/{execution}/logs/{}", task.log_id);
    let host = task.instance.as_ref().map(|instance| format!("{instance} ")).unwrap_or_default();
    let attempt = if task.attempt > 1 { format!(" #{}", task.attempt) } else { String::new() };
    let mut lines = client.tail(&path, &[("from", &cursor.next.to_string())]).await?;
    while let Some(mut line) = lines.next().await? {
        cursor.next = line.get("n").and_then(Value::as_u64).map_or(cursor.next + 1, |number| number + 1);
        if output == Output::Json {
            if let Some(line) = line.as_object_mut() {
                line.insert("execution".to_owned(), json!(execution));
                line.insert("step".to_owned(), json!(step.name));
                line.insert("instance".to_owned(), json!(task.instance));
                line.insert("attempt".to_owned(), json!(task.attempt));
            }
            out_line(&line)?;
        } else {
            let text = line.get("text").and_then(Value::as_str).unwrap_or_default();
            out(&format!("[{label}{host}{}{attempt}] {text}", step.name))?;
        }
    }
    Ok(())
}

async fn steps(client: &Client, id: &str) -> Result<Vec<Step>, ClientError> {
    const QUERY: &str = "query($id: String!) { execution(executionId: $id) { ... on WorkflowExecution { \
        steps { step name tasks { attempt instance logId endedAt } } } } }";
    let data = client.graphql(QUERY, json!({ "id": id })).await?;
    match data.pointer("/execution/steps") {
        Some(steps) => read(client, steps.clone()),
        None => Ok(Vec::new()),
    }
}

fn is_step(step: &Step, wanted: &str) -> bool {
    step.name == wanted || wanted.parse() == Ok(step.step)
}

/// Number of a step that is given by its number, or by its name.
///
/// # Errors
/// When the execution has none of this name.
pub async fn step_number(client: &Client, id: &str, given: &str) -> Result<i64, ClientError> {
    if let Ok(number) = given.parse() {
        return Ok(number);
    }
    let steps = steps(client, id).await?;
    steps.iter().find(|step| step.name == given).map(|step| step.step).ok_or_else(|| unknown(id, given))
}

fn unknown(id: &str, step: &str) -> ClientError {
    let problem = Problem::new(code!("STEP_UNKNOWN"), format!("execution {id} has no step {step:?}"));
    ClientError::refused(problem.item(step).hint("steps belong to workflow executions; `manifold execution show ID -o json` shows what a leg waits for"))
}
