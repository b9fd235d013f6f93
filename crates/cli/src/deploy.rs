//! Starts deployments and watches them.

use manifold_model::{EntityId, Problem, code};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::error::Error;
use crate::print::{Paint, columns, out};
pub use crate::run::Run as End;
use crate::{show, watch};

const PIPELINE: &str = "query($app: String!, $name: String!) { \
    found: pipelineByName(applicationId: $app, pipelineName: $name) { id } }";
const WORKFLOW: &str = "query($app: String!, $name: String!) { \
    found: workflowByName(applicationId: $app, workflowName: $name) { id } }";
const START: &str = "mutation($input: StartExecutionInput!) { startExecution(input: $input) { warningMessage execution { id innerStatus } } }";

/// What is to be deployed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deployment {
    /// Application, by name.
    pub application: String,
    /// Pipeline or workflow, by name.
    pub name: String,
    /// Whether `name` is a workflow's.
    pub workflow: bool,
    /// Variables by name; values are names of entities or text, comma-separated where several are allowed.
    pub variables: Vec<(String, String)>,
    /// Variables whose values are ids.
    pub variable_ids: Vec<(String, String)>,
    /// Service → `BUILD`, or `SOURCE:BUILD` when the service has several artifact sources.
    pub artifacts: Vec<(String, String)>,
    /// Notes.
    pub notes: String,
    /// Only these hosts; empty: all.
    pub specific_hosts: Vec<String>,
    /// Leave out hosts that have this artifact already.
    pub exclude_hosts_with_same_artifact: bool,
    /// Take defaults for runtime inputs.
    pub continue_with_default_values: bool,
}

/// What was started.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Started {
    /// Execution.
    pub id: String,
    /// Inner status at the start.
    pub status: String,
    /// What the starter should know.
    pub warning: Option<String>,
}

/// Starts a deployment. Nothing starts twice: a start whose answer is lost is asked for again under the same mark.
///
/// # Errors
/// When an entity is unknown, the start is refused (every reason at once), or the server cannot be reached.
pub async fn start(client: &Client, deployment: &Deployment) -> Result<Started, ClientError> {
    let application = application_id(client, &deployment.application).await?;
    let entity = entity_id(client, &application, deployment).await?;
    let input = input(&application, &entity, deployment);
    let answer = match client.graphql(START, json!({ "input": input })).await {
        Err(ClientError::Unreachable { sent: true, .. }) => {
            client.graphql(START, json!({ "input": input })).await?
        }
        other => other?,
    };
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let strange = || ClientError::Misunderstood {
        url: client.url().to_owned(),
        detail: "the start names no execution".to_owned(),
    };
    Ok(Started {
        id: text("/startExecution/execution/id").ok_or_else(strange)?,
        status: text("/startExecution/execution/innerStatus").unwrap_or_default(),
        warning: text("/startExecution/warningMessage").filter(|warning| !warning.is_empty()),
    })
}

/// Watches an execution to its end: progress on standard error, the final table on standard output.
///
/// # Errors
/// When there is no such execution, or the server stays away.
pub async fn watch(client: &Client, id: &str) -> Result<End, Error> {
    let mut progress = watch::progress();
    let run = watch::follow(client, id, progress.as_mut()).await?;
    out(&show::table(&run, Paint::of_stdout(), columns()))?;
    Ok(run)
}

/// Id of an application.
///
/// # Errors
/// When there is none of this name.
pub async fn application_id(client: &Client, name: &str) -> Result<String, ClientError> {
    const QUERY: &str = "query($name: String!) { found: applicationByName(name: $name) { id } }";
    look_up(client, QUERY, json!({ "name": name })).await?.ok_or_else(|| {
        ClientError::refused(
            Problem::new(code!("APPLICATION_UNKNOWN"), format!("there is no application {name:?}"))
                .item(name)
                .hint("`manifold export DIR` shows what the server has, `manifold import DIR` adds to it"),
        )
    })
}

async fn entity_id(
    client: &Client,
    application: &str,
    deployment: &Deployment,
) -> Result<String, ClientError> {
    let (query, noun, other) = if deployment.workflow {
        (WORKFLOW, "workflow", "leave out --workflow for a pipeline")
    } else {
        (PIPELINE, "pipeline", "add --workflow for a workflow")
    };
    let variables = json!({ "app": application, "name": deployment.name });
    look_up(client, query, variables).await?.ok_or_else(|| {
        let message = format!("application {} has no {noun} {:?}", deployment.application, deployment.name);
        ClientError::refused(
            Problem::new(code!("DEPLOYABLE_UNKNOWN"), message).item(&deployment.name).hint(other),
        )
    })
}

/// Id of what a query calls `found`; `None` when the server has nothing of the kind.
pub(crate) async fn look_up(
    client: &Client,
    query: &str,
    variables: Value,
) -> Result<Option<String>, ClientError> {
    match client.graphql(query, variables).await {
        Ok(data) => Ok(data.pointer("/found/id").and_then(Value::as_str).map(str::to_owned)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn input(application: &str, entity: &str, deployment: &Deployment) -> Value {
    let variable = |kind: &str, (name, value): &(String, String)| json!({ "name": name, "variableValue": { "type": kind, "value": value } });
    let variables: Vec<Value> = deployment
        .variables
        .iter()
        .map(|one| variable("NAME", one))
        .chain(deployment.variable_ids.iter().map(|one| variable("ID", one)))
        .collect();
    let services: Vec<Value> = deployment.artifacts.iter().map(service).collect();
    json!({
        "applicationId": application,
        "entityId": entity,
        "executionType": if deployment.workflow { "WORKFLOW" } else { "PIPELINE" },
        "variableInputs": variables,
        "serviceInputs": services,
        "notes": deployment.notes,
        "excludeHostsWithSameArtifact": deployment.exclude_hosts_with_same_artifact,
        "targetToSpecificHosts": !deployment.specific_hosts.is_empty(),
        "specificHosts": deployment.specific_hosts,
        "continueWithDefaultValues": deployment.continue_with_default_values,
        "clientMutationId": EntityId::random().as_str(),
    })
}

/// `SOURCE:BUILD` names a source; the first colon divides, so a build with colons is written `:BUILD`.
fn service((service, build): &(String, String)) -> Value {
    let (source, build) = build.split_once(':').unwrap_or(("", build));
    let mut value = json!({ "buildNumber": build });
    if !source.is_empty() {
        value = json!({ "buildNumber": build, "artifactSourceName": source });
    }
    json!({ "name": service, "artifactValueInput": { "valueType": "BUILD_NUMBER", "buildNumber": value } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn an_artifact_may_name_its_source() {
        let build = |text: &str| {
            service(&("cart".to_owned(), text.to_owned()))["artifactValueInput"]["buildNumber"].clone()
        };
        assert_eq!(build("1.0"), json!({ "buildNumber": "1.0" }));
        assert_eq!(build("releases:1.0"), json!({ "buildNumber": "1.0", "artifactSourceName": "releases" }));
        assert_eq!(build(":sha256:ab"), json!({ "buildNumber": "sha256:ab" }));
    }

    #[test]
    fn names_and_ids_are_told_apart() {
        let deployment = Deployment {
            variables: vec![("infrastructure".to_owned(), "eu,us".to_owned())],
            variable_ids: vec![("service".to_owned(), "-x".to_owned())],
            ..Deployment::default()
        };
        let input = input("a", "e", &deployment);
        assert_eq!(input["variableInputs"][0]["variableValue"], json!({ "type": "NAME", "value": "eu,us" }));
        assert_eq!(input["variableInputs"][1]["variableValue"]["type"], "ID");
        assert_eq!(input["executionType"], "PIPELINE");
        assert_eq!(input["clientMutationId"].as_str().map(str::len), Some(22));
    }
}
