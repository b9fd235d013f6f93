//! Starting, reading and stopping executions (`wire.md` 3).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use manifold_store::Store;
use serde_json::{Value, json};

use super::{Server, with_key};

const START: &str =
    "mutation($i: StartExecutionInput!) { startExecution(input: $i) { clientMutationId warningMessage
    workflowExecution: execution{... on WorkflowExecution{id infrastructure{name}}}
    pipelineExecution: execution{... on PipelineExecution{id status}}
    execution{id status notes startedAt application{id}} } }";

async fn input(server: &Server, kind: &str, value: Value) -> Value {
    let (application, pipeline, workflow) = server.ids().await;
    let entity = if kind == "PIPELINE" { pipeline } else { workflow };
    json!({"i": {"applicationId": application, "entityId": entity, "executionType": kind, "notes": "by test",
        "clientMutationId": "m1", "variableInputs": [{"name": "infrastructure", "variableValue": value}]}})
}

#[tokio::test]
async fn a_pipeline_starts_once_and_is_read_as_clients_read_it() {
    let server = Server::shop().await;
    let input = input(&server, "PIPELINE", json!({"type": "NAME", "value": "eu, us"})).await;
    let data = server.data(START, input.clone()).await;
    let started = &data["startExecution"];
    assert_eq!(started["workflowExecution"], json!({}));
    assert_eq!(started["pipelineExecution"]["status"], "QUEUED");
    assert_eq!(started["execution"]["notes"], "by test");
    let id = started["execution"]["id"].as_str().unwrap();
    let again = server.data(START, input).await;
    assert_eq!(again["startExecution"]["execution"]["id"], id);

    let query = "query($e: String!) { execution(executionId: $e) { id status createdAt startedAt endedAt failureDetails tags{name value}
        cause{... on ExecutedByAPIKey{apiKey{name} using} ... on ExecutedByUser{user{name}}}
        ... on PipelineExecution { pipeline{id name} memberExecutions{nodes{id} pageInfo{total}}
          pipelineStageExecutions{pipelineStepName pipelineStageName pipelineStageElementId
            ... on ApprovalStageExecution{approvalStepType status}
            ... on WorkflowStageExecution{runtimeInputVariables{name} inputVariables{name value} workflowExecutionId status}} } } }";
    let execution = server.data(query, json!({"e": id})).await["execution"].clone();
    assert_eq!(execution["cause"], json!({"apiKey": {"name": "tests"}, "using": "GRAPHQL_API"}));
    let stage = &execution["pipelineStageExecutions"][0];
    assert_eq!(
        (&stage["pipelineStageName"], &stage["pipelineStepName"]),
        (&json!("STAGE 1"), &json!("regions"))
    );
    assert_eq!(stage["workflowExecutionId"], json!(null));
    let list = "query($e: String!) { executions(filters: [{execution: {operator: EQUALS, values: [$e]}}], limit: 5) {nodes{id status} pageInfo{total}} }";
    assert_eq!(server.data(list, json!({"e": id})).await["executions"]["nodes"][0]["id"], id);
    let (_, status) =
        server.get(&format!("/api/external/v1/executions/{id}/status?accountId=x&appId=y")).await;
    assert_eq!(status, json!({"status": "QUEUED"}));

    let (status, body) = server
        .send(
            with_key(Request::get(format!("/api/executions/{id}/events?after=0")))
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&event["seq"], &event["event"]), (&json!(1), &json!("PIPELINE_STARTED")));
}

#[tokio::test]
async fn ids_select_like_names() {
    let server = Server::shop().await;
    let data = server
        .data("{infrastructureDefinitions(limit: 10) {nodes{id name environment{name}}}}", json!({}))
        .await;
    let id = |name: &str| {
        let nodes = data["infrastructureDefinitions"]["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let both = format!("{},{}", id("us"), id("eu"));
    server.data(START, input(&server, "PIPELINE", json!({"type": "ID", "value": both})).await).await;
    let mixed = input(&server, "PIPELINE", json!({"type": "ID", "value": format!("{},us", id("eu"))})).await;
    server.error(START, mixed).await;
    let elsewhere =
        input(&server, "PIPELINE", json!({"type": "ID", "value": format!("{},{}", id("eu"), id("lab"))}))
            .await;
    server.error(START, elsewhere).await;
}

#[tokio::test]
async fn refusals_name_the_item_and_create_nothing() {
    let server = Server::shop().await;
    for (kind, value, item) in [
        ("PIPELINE", "eu,nowhere,us", "nowhere"),
        ("PIPELINE", "eu,eu", "eu"),
        ("PIPELINE", "eu,,us", ""),
        ("PIPELINE", "lab", "lab"),
        ("WORKFLOW", "eu,us", ""),
    ] {
        let input = input(&server, kind, json!({"type": "NAME", "value": value})).await;
        let error = server.error(START, input).await;
        assert!(error["message"].as_str().unwrap().contains(item), "{value}: {error}");
        assert!(error["extensions"]["code"].is_string());
    }
    let mut without = input(&server, "PIPELINE", json!({"type": "NAME", "value": "eu"})).await;
    without["i"]["variableInputs"] = json!([]);
    server.error(START, without).await;
    let data = server
        .data("{executions(limit: 10, includeIndirectExecutions: true) {pageInfo{total}}}", json!({}))
        .await;
    assert_eq!(data["executions"]["pageInfo"]["total"], 0);
}

#[tokio::test]
async fn a_workflow_alone_has_one_infrastructure() {
    let server = Server::shop().await;
    let input = input(&server, "WORKFLOW", json!({"type": "NAME", "value": "us"})).await;
    let data = server.data(START, input).await;
    let execution = &data["startExecution"]["workflowExecution"];
    assert_eq!(execution["infrastructure"]["name"], "us");
    assert_eq!(data["startExecution"]["pipelineExecution"], json!({}));
    let query = "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { workflow{id name} inputVariables{name value}
        artifacts{id} rollbackArtifacts{id} outcomes{nodes{... on DeploymentOutcome{service{name} environment{name} infrastructureDefinition{name}}}}
        steps{step name type phase section status attempt tasks{logId}} } } }";
    let execution = server.data(query, json!({"e": execution["id"]})).await["execution"].clone();
    assert_eq!(
        execution["inputVariables"],
        json!([{"name": "infrastructure", "value": "us"}]),
        "{execution:#}"
    );
    assert_eq!(execution["outcomes"]["nodes"][0]["infrastructureDefinition"]["name"], "us");
    assert_eq!(execution["steps"][0]["name"], "say hello");
}

#[tokio::test]
async fn requests_reach_the_inbox_and_wrong_ones_are_refused() {
    let server = Server::shop().await;
    let data =
        server.data(START, input(&server, "PIPELINE", json!({"type": "NAME", "value": "eu"})).await).await;
    let id = data["startExecution"]["execution"]["id"].as_str().unwrap();
    let abort = |body: &str| {
        let path = format!("/gateway/api/executions/{id}?appId=a&routingId=b");
        with_key(Request::put(path)).body(Body::from(body.to_owned())).unwrap()
    };
    let (status, answer) = server.json(abort("{\"executionInterruptType\":\"ABORT_ALL\"}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["resource"]["executionUuid"], id);
    assert_eq!(answer["resource"]["executionInterruptType"], "ABORT_ALL");
    assert_eq!(answer["responseMessages"], json!([]));
    assert_eq!(server.store.inbox(&id.into(), 10).await.unwrap().len(), 1);
    assert_eq!(server.json(abort("{}")).await.0, StatusCode::BAD_REQUEST);
    for empty in [Request::put("/gateway/api/executions?appId=a"), Request::get("/api/executions")] {
        let (status, answer) = server.json(with_key(empty).body(Body::empty()).unwrap()).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({"metaData": {}})));
    }
    for (mutation, code) in [
        ("rollbackExecution(input: {executionId: $e}) {clientMutationId}", "ROLLBACK_OF_PIPELINE"),
        (
            "answerIntervention(input: {executionId: $e, step: 1, answer: RETRY}) {clientMutationId}",
            "NOTHING_TO_ANSWER",
        ),
        (
            "answerUnknownOutcome(input: {executionId: $e, step: 1, ran: true}) {clientMutationId}",
            "NOTHING_TO_ANSWER",
        ),
        (
            "resumeExecution(input: {applicationId: \"a\", pipelineExecutionId: $e, pipelineStageName: \"STAGE 1\"}) {clientMutationId}",
            "NOT_RESUMABLE",
        ),
    ] {
        let error = server.error(&format!("mutation($e: String!) {{ {mutation} }}"), json!({"e": id})).await;
        assert_eq!(error["extensions"]["code"], code, "{error}");
    }
    let paused = "mutation($e: String!) { pauseExecution(input: {executionId: $e, reason: \"wait\", clientMutationId: \"p\"}) {clientMutationId execution{id}} }";
    assert_eq!(server.data(paused, json!({"e": id})).await["pauseExecution"]["clientMutationId"], "p");
}
