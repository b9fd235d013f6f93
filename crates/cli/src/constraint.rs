//! `manifold constraint …`: the account's resource constraints, who holds their permits and who waits.

use clap::{Args, Subcommand, ValueEnum};
use manifold_model::{Problem, code};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::connection::Connection;
use crate::deploy::look_up;
use crate::error::Error;
use crate::pages::pages;
use crate::print::{Output, Paint, columns, out, out_json, say};
use crate::show;

/// Flags of `constraint`.
#[derive(Args, Clone, Debug)]
pub struct ConstraintFlags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// Make a resource constraint
    Create(CreateFlags),
    /// List resource constraints, who holds their permits and who waits
    List,
    /// Change a resource constraint; who waits and fits then goes on at once
    Update(UpdateFlags),
    /// Delete a resource constraint that nothing uses
    Delete(DeleteFlags),
}

/// Who gets permits that come free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Strategy {
    /// The first in the queue
    Fifo,
    /// The first in the queue that fits
    Asap,
}

impl Strategy {
    fn name(self) -> &'static str {
        match self {
            Self::Fifo => "FIFO",
            Self::Asap => "ASAP",
        }
    }
}

#[derive(Args, Clone, Debug)]
struct CreateFlags {
    /// Name
    name: String,
    /// Permits at once, per unit
    #[arg(long, value_name = "N")]
    capacity: u32,
    /// Who gets permits that come free
    #[arg(long, value_enum, ignore_case = true, default_value = "fifo")]
    strategy: Strategy,
}

#[derive(Args, Clone, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["new_name", "capacity", "strategy"])]
struct UpdateFlags {
    /// Name
    name: String,
    /// New name; refused while workflows name it
    #[arg(long = "name", value_name = "NAME")]
    new_name: Option<String>,
    /// Permits at once, per unit
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// Who gets permits that come free
    #[arg(long, value_enum, ignore_case = true)]
    strategy: Option<Strategy>,
}

#[derive(Args, Clone, Debug)]
struct DeleteFlags {
    /// Name
    name: String,
}

/// Runs a verb.
///
/// # Errors
/// When it is refused or the server cannot be reached.
pub async fn run(flags: ConstraintFlags) -> Result<u8, Error> {
    let output = flags.connection.output;
    let client = flags.connection.client()?;
    match flags.verb {
        Verb::Create(create) => {
            const QUERY: &str = "mutation($input: CreateResourceConstraintInput!) { \
                done: createResourceConstraint(input: $input) { resourceConstraint { id name capacity strategy } } }";
            let input = json!({ "name": create.name, "capacity": create.capacity,
                "strategy": create.strategy.name() });
            written(&client.graphql(QUERY, json!({ "input": input })).await?, output)
        }
        Verb::Update(update) => {
            const QUERY: &str = "mutation($input: UpdateResourceConstraintInput!) { \
                done: updateResourceConstraint(input: $input) { resourceConstraint { id name capacity strategy } } }";
            let input = json!({ "resourceConstraintId": id_of(&client, &update.name).await?,
                "name": update.new_name, "capacity": update.capacity,
                "strategy": update.strategy.map(Strategy::name) });
            written(&client.graphql(QUERY, json!({ "input": input })).await?, output)
        }
        Verb::Delete(delete) => {
            const QUERY: &str = "mutation($input: DeleteResourceConstraintInput!) { \
                deleteResourceConstraint(input: $input) { clientMutationId } }";
            let id = id_of(&client, &delete.name).await?;
            client.graphql(QUERY, json!({ "input": { "resourceConstraintId": id } })).await?;
            match output {
                Output::Json => out_json(&json!({ "id": id, "name": delete.name }))?,
                Output::Text => say(&format!("the resource constraint {} is deleted", delete.name)),
            }
            Ok(0)
        }
        Verb::List => list(&client, output).await,
    }
}

/// Prints the constraint of an answer: its id for scripts, or all of it.
fn written(data: &Value, output: Output) -> Result<u8, Error> {
    let constraint = data.pointer("/done/resourceConstraint").cloned().unwrap_or_default();
    match output {
        Output::Json => out_json(&constraint)?,
        Output::Text => out(&text(&constraint, "id"))?,
    }
    Ok(0)
}

async fn id_of(client: &Client, name: &str) -> Result<String, ClientError> {
    const QUERY: &str = "query($name: String!) { found: resourceConstraintByName(name: $name) { id } }";
    look_up(client, QUERY, json!({ "name": name })).await?.ok_or_else(|| {
        let problem =
            Problem::new(code!("CONSTRAINT_UNKNOWN"), format!("there is no resource constraint {name:?}"));
        ClientError::refused(problem.item(name).hint("`manifold constraint list` shows what there is"))
    })
}

async fn list(client: &Client, output: Output) -> Result<u8, Error> {
    const CONSTRAINTS: &str = "query($limit: Int!, $offset: Int) { all: resourceConstraints(limit: $limit, \
        offset: $offset) { pageInfo { hasMore } nodes { id name capacity strategy consumers(limit: 0) { \
        pageInfo { total } } } } }";
    const CONSUMERS: &str = "query($id: String!, $limit: Int!, $offset: Int) { one: resourceConstraint( \
        resourceConstraintId: $id) { consumers(limit: $limit, offset: $offset) { pageInfo { hasMore } nodes { \
        executionId heldUntilEndOf step stepName unit permits holdingScope state since } } } }";
    let mut constraints = pages(client, CONSTRAINTS, json!({}), "/all").await?;
    for constraint in &mut constraints {
        let used = constraint.pointer("/consumers/pageInfo/total").and_then(Value::as_u64) > Some(0);
        let consumers = if used {
            pages(client, CONSUMERS, json!({ "id": text(constraint, "id") }), "/one/consumers").await?
        } else {
            Vec::new()
        };
        if let Some(constraint) = constraint.as_object_mut() {
            constraint.insert("consumers".to_owned(), Value::Array(consumers));
        }
    }
    if output == Output::Json {
        out_json(&json!({ "constraints": constraints }))?;
        return Ok(0);
    }
    if constraints.is_empty() {
        say("there are no resource constraints");
        return Ok(0);
    }
    out(&table_of_constraints(&constraints))?;
    if let Some(table) = table_of_consumers(&constraints) {
        out(&format!("\n{table}"))?;
    }
    Ok(0)
}

fn table_of_constraints(constraints: &[Value]) -> String {
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["NAME", "CAPACITY", "STRATEGY", "ID"]);
    for constraint in constraints {
        table.add_row(["name", "capacity", "strategy", "id"].map(|key| text(constraint, key)));
    }
    show::trimmed(&table)
}

/// Holders and queues; `None` when there are none.
fn table_of_consumers(constraints: &[Value]) -> Option<String> {
    let mut table = show::plain_table(columns(), Paint(false));
    table.set_header(vec!["CONSTRAINT", "UNIT", "STATE", "PERMITS", "STEP", "EXECUTION"]);
    let mut any = false;
    for constraint in constraints {
        for one in constraint.get("consumers").and_then(Value::as_array).into_iter().flatten() {
            any = true;
            let cells = ["unit", "state", "permits", "stepName", "executionId"].map(|key| text(one, key));
            table.add_row(std::iter::once(text(constraint, "name")).chain(cells));
        }
    }
    any.then(|| show::trimmed(&table))
}

/// A field as a cell.
fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn holders_and_queue_stand_below_their_constraint() {
        let constraints = [json!({ "name": "licences", "capacity": 2, "strategy": "FIFO", "id": "c1",
            "consumers": [{ "unit": "", "state": "ACTIVE", "permits": 2, "stepName": "guard", "executionId": "e1" }] })];
        let table = table_of_constraints(&constraints);
        assert!(table.contains("licences") && table.contains('2') && table.contains("FIFO"), "{table}");
        let consumers = table_of_consumers(&constraints).unwrap();
        assert!(
            ["licences", "ACTIVE", "guard", "e1"].iter().all(|word| consumers.contains(word)),
            "{consumers}"
        );
        assert!(table_of_consumers(&[json!({ "name": "idle", "consumers": [] })]).is_none());
    }
}
