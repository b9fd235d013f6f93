//! Statuses as existing clients know them (`wire.md` 3.3, 1.8): what waits for a lock or a barrier is RUNNING, never WAITING.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use manifold_testkit::server::until;
use serde_json::{Value, json};

use crate::shared::run;
use crate::story::{DEADLINE, Story};
use crate::tree::{barrier, fan_out, phase, rolling, script, stage, workflow};

/// Statuses that clients know as printed.
const PRINTED: [&str; 10] = [
    "ABORTED", "ERROR", "EXPIRED", "FAILED", "PAUSED", "QUEUED", "REJECTED", "RUNNING", "SKIPPED", "SUCCESS",
];

/// All statuses that the API shows of an execution and what lies in it: by GraphQL and by REST.
async fn shown(story: &Story, execution: &str) -> Result<(Value, BTreeSet<String>)> {
    let fields = "status innerStatus ... on PipelineExecution { pipelineStageExecutions { status }
        memberExecutions { nodes { id status innerStatus } } }";
    let found = story.execution(execution, fields).await?;
    let mut statuses = BTreeSet::new();
    let lists = [found.get("pipelineStageExecutions"), found.pointer("/memberExecutions/nodes")];
    let inner = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
    statuses.extend(inner.chain([&found]).filter_map(|one| one["status"].as_str().map(str::to_owned)));
    let path = format!(
        "/api/external/v1/executions/{execution}/status?accountId={}&appId=any",
        story.server.account
    );
    let rest: Value = story.server.request(reqwest::Method::GET, &path).send().await?.json().await?;
    statuses.insert(rest["status"].as_str().context("no status")?.to_owned());
    Ok((found, statuses))
}

#[test]
fn no_client_ever_sees_waiting() {
    run(async {
        let story = Story::new("Waiting").await?;
        let gate = format!(
            "[ ${{infra.name}} = eu ] || exit 0; for i in $(seq 600); do [ -e '{}' ] && exit 0; sleep 0.1; done",
            story.file("go").display()
        );
        let roll = rolling(&[script("gate", &gate), barrier("all"), story.note("done ${infra.name}")], &[]);
        let tree = story
            .application()
            .environment("prod", &["eu", "us"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        let mut seen = BTreeSet::new();
        until("a leg waits at the barrier", DEADLINE, async || {
            let (found, statuses) = shown(&story, &execution).await?;
            seen.extend(statuses);
            let legs =
                found.pointer("/memberExecutions/nodes").and_then(Value::as_array).context("no legs")?;
            Ok(legs.iter().any(|leg| leg["innerStatus"] == "WAITING").then_some(()))
        })
        .await?;
        assert!(seen.iter().all(|status| status == "RUNNING" || status == "QUEUED"), "{seen:?}");
        story.let_go("go")?;
        until("it ends", DEADLINE, async || {
            let (found, statuses) = shown(&story, &execution).await?;
            seen.extend(statuses);
            Ok((found["status"] == "SUCCESS").then_some(()))
        })
        .await?;
        assert!(seen.iter().all(|status| PRINTED.contains(&status.as_str())), "{seen:?}");
        Ok(())
    });
}

#[test]
fn a_question_to_a_person_is_a_pause() {
    run(async {
        let story = Story::new("Asked").await?;
        let roll =
            rolling(&[Story::fails_if("[ ${infra.name} = eu ]"), story.note("done ${infra.name}")], &[])
                .on_failure("MANUAL_INTERVENTION");
        let tree = story
            .application()
            .environment("prod", &["eu", "us"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        story.noted("done us").await?;
        let leg = until("the leg asks", DEADLINE, async || {
            let leg = story.leg(&execution, "eu").await?;
            Ok((leg.status == "PAUSED").then_some(leg))
        })
        .await?;
        until("the pipeline shows it", DEADLINE, async || {
            Ok((story.server.status(&execution).await? == "PAUSED").then_some(()))
        })
        .await?;
        let (_, statuses) = shown(&story, &execution).await?;
        assert!(
            statuses.contains("PAUSED") && statuses.iter().all(|one| PRINTED.contains(&one.as_str())),
            "{statuses:?}"
        );
        let waits = story.execution(&leg.id, "waits { step reason detail }").await?;
        assert_eq!(waits["waits"][0]["reason"], "INTERVENTION", "{waits}");
        let input = json!({ "executionId": leg.id, "step": waits["waits"][0]["step"], "answer": "IGNORE" });
        let answer =
            "mutation($i: AnswerInterventionInput!) { answerIntervention(input: $i) { execution { id } } }";
        story.server.data_of(answer, json!({ "i": input })).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["done eu", "done us"]);
        Ok(())
    });
}

#[test]
fn the_worst_leg_names_the_stage() {
    run(async {
        // FAILED outweighs ABORTED, and ABORTED outweighs SUCCESS (`behaviour.md` 13.1).
        let story = Story::new("Worst").await?;
        let fails = workflow(&[phase("Phase 1", &[Story::fails_if("true")]).on("eu")]);
        let aborts = workflow(&[phase("Phase 1", &[Story::fails_if("true")]).on("us")])
            .on_failure("ABORT_WORKFLOW_EXECUTION");
        let works = workflow(&[phase("Phase 1", &[story.note("works")]).on("ap")]);
        let beside = |name: &str| crate::tree::with(stage(name, name, &[]), json!({ "parallel": true }));
        let tree = story
            .application()
            .environment("prod", &["eu", "us", "ap"])
            .workflow("fails", fails)
            .workflow("aborts", aborts)
            .workflow("works", works)
            .pipeline("all", &[stage("works", "works", &[]), beside("aborts"), beside("fails")])
            .pipeline("two", &[stage("works", "works", &[]), beside("aborts")]);
        story.tell(tree).await?;
        assert_eq!(story.run("all", &[]).await?.1, "FAILED");
        assert_eq!(story.run("two", &[]).await?.1, "ABORTED");
        Ok(())
    });
}

#[test]
fn statuses_filter_lists_and_old_names_are_taken() {
    run(async {
        let story = Story::new("Filter").await?;
        let roll = rolling(&[Story::fails_if("[ ${infra.name} = eu ]")], &[]);
        let tree = story
            .application()
            .environment("prod", &["eu", "us"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let (bad, _) = story.run("ship", &[("infrastructure", "eu")]).await?;
        let (good, _) = story.run("ship", &[("infrastructure", "us")]).await?;
        let (application, _) = story.server.ids("Filter", "pipeline", "ship").await?;
        let list = async |operator: &str, values: &[&str]| -> Result<Vec<String>> {
            let filters = json!([{ "application": { "operator": "EQUALS", "values": [application] } },
                { "status": { "operator": operator, "values": values } }]);
            let query =
                "query($f: [ExecutionFilter]) { executions(filters: $f, limit: 10) { nodes { id } } }";
            let found = story.server.data_of(query, json!({ "f": filters })).await?;
            let nodes =
                found.pointer("/executions/nodes").and_then(Value::as_array).context("no nodes")?.clone();
            Ok(nodes.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect())
        };
        assert_eq!(list("IN", &["FAILED", "ABORTED"]).await?, std::slice::from_ref(&bad));
        assert_eq!(list("NOT_IN", &["FAILED"]).await?, std::slice::from_ref(&good));
        assert_eq!(list("IN", &["SUCCESS", "FAILED"]).await?, [good, bad], "newest first");
        assert!(list("IN", &["WAITING", "RESUMED"]).await?.is_empty());
        Ok(())
    });
}

#[test]
fn an_execution_that_does_not_exist_is_told_as_clients_match_it() {
    run(async {
        let story = Story::new("Missing").await?;
        let query = "query { execution(executionId: \"AAAAAAAAAAAAAAAAAAAAAA\") { id } }";
        let answer = story.server.graphql(query, Value::Null).await?;
        let message = answer.pointer("/errors/0/message").and_then(Value::as_str).context("no error")?;
        assert!(message.contains("execution does not exist"), "{message}");
        assert!(message.contains("Execution does not exist"), "{message}");
        Ok(())
    });
}

#[test]
fn a_fragment_that_does_not_match_is_an_empty_object() {
    run(async {
        let story = Story::new("Aliases").await?;
        let roll = rolling(&[story.note("deploy")], &[]);
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let (application, pipeline) = story.server.ids("Aliases", "pipeline", "ship").await?;
        let given = json!({ "name": "infrastructure", "variableValue": { "type": "NAME", "value": "eu" } });
        let input = json!({ "applicationId": application, "entityId": pipeline, "executionType": "PIPELINE",
            "notes": "as clients do it", "variableInputs": [given] });
        let query =
            "mutation($input: StartExecutionInput!) { startExecution(input: $input) { clientMutationId
            workflowExecution: execution { ... on WorkflowExecution { id status } }
            pipelineExecution: execution { ... on PipelineExecution { id status notes } } } }";
        let started = story.server.data_of(query, json!({ "input": input })).await?;
        assert_eq!(started["startExecution"]["workflowExecution"], json!({}));
        assert_eq!(started["startExecution"]["clientMutationId"], Value::Null);
        let pipeline = &started["startExecution"]["pipelineExecution"];
        assert_eq!(pipeline["notes"], "as clients do it");
        story.ended(pipeline["id"].as_str().context("no id")?).await?;
        Ok(())
    });
}
