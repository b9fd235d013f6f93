//! deploy and watch.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::ask;
use crate::server::Server;

/// A leg as the API gives it.
fn leg(id: &str, name: &str, status: &str, failure: Value, rollback: Value) -> Value {
    json!({ "id": id, "workflowName": "roll", "innerStatus": status, "createdAt": 0, "startedAt": 1_000,
        "endedAt": if status == "RUNNING" { Value::Null } else { json!(43_000) }, "stepsDone": 2, "stepsTotal": 5,
        "doing": if status == "RUNNING" { json!("Start carts") } else { Value::Null },
        "rollback": rollback, "leg": 0, "infrastructure": { "name": name }, "environment": { "name": "production" },
        "services": [{ "name": "cart" }], "failure": failure, "waits": [] })
}

/// An execution of three legs: they run, or `ap` has failed and gone back.
fn execution(ended: bool) -> Value {
    let (status, other) = if ended { ("FAILED", "SUCCESS") } else { ("RUNNING", "RUNNING") };
    let broken = json!({ "class": "APPLICATION_ERROR", "code": "EXIT_CODE", "message": "Check health: exit code 1", "hint": null });
    let (failure, mark) = if ended { (broken, json!("ROLLED_BACK")) } else { (Value::Null, Value::Null) };
    let row = |id: &str, name: &str, status: &str| {
        json!({ "pipelineStepName": "regions", "pipelineStageName": "STAGE 1", "pipelineStageElementId": "e", "status": status,
            "workflowExecutionId": id, "infrastructureName": name, "skipReason": null, "failure": null })
    };
    json!({ "data": { "execution": { "__typename": "PipelineExecution", "id": "-run", "seq": 3, "innerStatus": status, "createdAt": 0,
        "startedAt": 0, "endedAt": if ended { json!(61_000) } else { Value::Null }, "notes": "", "doing": null,
        "application": { "id": "app", "name": "Shop" }, "failure": null, "waits": [], "pipelineName": "ship", "resumedFrom": null, "resumedBy": null,
        "pipelineStageExecutions": [row("1", "eu", other), row("2", "us", other), row("3", "ap", status)],
        "memberExecutions": { "pageInfo": { "hasMore": false }, "nodes": [
            leg("1", "eu", other, Value::Null, Value::Null), leg("2", "us", other, Value::Null, Value::Null),
            leg("3", "ap", status, failure, mark) ] } } } })
}

/// A server on which a deployment can be started; it ends at the third look.
fn shop() -> Server {
    let looks = AtomicUsize::new(0);
    Server::start(move |query, _| {
        if query.contains("applicationByName") {
            json!({ "data": { "found": { "id": "app" } } })
        } else if query.contains("pipelineByName") {
            json!({ "data": { "found": { "id": "pipe" } } })
        } else if query.contains("startExecution") {
            json!({ "data": { "startExecution": { "warningMessage": "eu and us are the same target", "execution": { "id": "-run", "innerStatus": "QUEUED" } } } })
        } else if query.contains("executionId: $id") {
            execution(looks.fetch_add(1, Ordering::SeqCst) >= 2)
        } else {
            assert!(query.starts_with("GET /api/executions/-run/events?"), "{query}");
            json!("{\"seq\":4,\"event\":\"LEGS_ENDED\"}\n")
        }
    })
}

#[test]
fn a_deployment_is_started() {
    let server = shop();
    let arguments = [
        "deploy",
        "Shop",
        "ship",
        "--var",
        "infrastructure=eu,us,ap",
        "--var-id",
        "service=-x",
        "--artifact",
        "cart=releases:1.0",
        "--notes",
        "n",
    ];
    let done = ask(&server, &arguments);
    assert_eq!((done.code, done.out.as_str()), (0, "-run\n"), "{}", done.err);
    assert!(done.err.contains("warning: eu and us are the same target"), "{}", done.err);
    assert!(done.err.contains("manifold execution watch -- -run"), "{}", done.err);
    let input = server.variables("startExecution")["input"].clone();
    assert_eq!((input["applicationId"].as_str(), input["entityId"].as_str()), (Some("app"), Some("pipe")));
    assert_eq!(
        input["variableInputs"],
        json!([
        { "name": "infrastructure", "variableValue": { "type": "NAME", "value": "eu,us,ap" } },
        { "name": "service", "variableValue": { "type": "ID", "value": "-x" } } ])
    );
    assert_eq!(
        input["serviceInputs"][0]["artifactValueInput"]["buildNumber"],
        json!({ "buildNumber": "1.0", "artifactSourceName": "releases" })
    );
    let done = ask(&server, &["deploy", "Shop", "ship", "-o", "json"]);
    assert_eq!(
        done.json(),
        json!({ "id": "-run", "status": "QUEUED", "warning": "eu and us are the same target" })
    );
}

#[test]
fn s25_watching_groups_the_legs_and_ends_with_a_table() {
    let server = shop();
    let done = ask(&server, &["deploy", "Shop", "ship", "--watch"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("STAGE 1  regions ( eu, us, ap )"), "{}", done.err);
    assert!(done.err.contains("  ap  ● RUNNING  2/5"), "{}", done.err);
    let rows: Vec<Vec<&str>> = done.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["STAGE", "INFRASTRUCTURE", "STATUS", "DURATION", "CAUSE"]);
    assert_eq!(rows[1], ["STAGE", "1", "eu", "✓", "SUCCESS", "0:42"]);
    assert_eq!(rows[3].join(" "), "STAGE 1 ap ✗ FAILED 0:42 Check health: exit code 1 (rolled back)");
    assert_eq!(rows[4].join(" "), "Shop / ship ✗ FAILED after 1:01");
    assert!(!done.out.contains('\x1b'), "no colour where no terminal is");
}

#[test]
fn watching_as_json_prints_one_document() {
    let server = shop();
    let done = ask(&server, &["execution", "watch", "-o", "json", "--", "-run"]);
    assert_eq!(done.code, 1);
    let run = done.json();
    assert_eq!(
        (run["id"].as_str(), run["status"].as_str(), run["kind"].as_str()),
        (Some("-run"), Some("FAILED"), Some("PIPELINE"))
    );
    let legs = run["stages"][0]["elements"][0]["legs"].as_array().unwrap().clone();
    assert_eq!(legs.len(), 3);
    assert_eq!(legs[2]["infrastructure"], "ap");
    assert_eq!(legs[2]["rollback"], "ROLLED_BACK");
    assert_eq!(legs[2]["failure"]["code"], "EXIT_CODE");
}

#[test]
fn a_refused_start_tells_every_reason() {
    let server = Server::start(|query, _| {
        if query.contains("startExecution") {
            json!({ "data": null, "errors": [{ "message": "two things", "extensions": { "code": "A", "problems": [
                { "code": "A", "message": "there is no infrastructure mars", "item": "mars", "hint": "name one of eu, us, ap" },
                { "code": "B", "message": "a build is missing", "detail": "service cart" } ] } }] })
        } else {
            json!({ "data": { "found": { "id": "x" } } })
        }
    });
    let done = ask(&server, &["deploy", "Shop", "ship", "--watch", "-o", "json"]);
    assert_eq!(done.code, 3);
    assert!(
        done.err.contains("error: there is no infrastructure mars [A]\n  hint: name one of eu, us, ap"),
        "{}",
        done.err
    );
    assert!(done.err.contains("error: a build is missing [B]\n  detail: service cart"), "{}", done.err);
    assert_eq!(done.json()["error"]["kind"], "REFUSED");
    assert_eq!(done.json()["error"]["problems"][1]["detail"], "service cart");
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start(|query, _| {
        let missing = json!({ "data": null, "errors": [{ "message": "Pipeline does not exist", "extensions": { "code": "NOT_FOUND" } }] });
        if query.contains("applicationByName") {
            json!({ "data": { "found": { "id": "app" } } })
        } else {
            missing
        }
    });
    let done = ask(&server, &["deploy", "Shop", "sink"]);
    assert_eq!(done.code, 3);
    assert!(
        done.err.contains("application Shop has no pipeline \"sink\" [DEPLOYABLE_UNKNOWN]"),
        "{}",
        done.err
    );
    let done = ask(&server, &["execution", "show", "gone"]);
    assert_eq!(done.code, 3);
    assert!(done.err.contains("[EXECUTION_UNKNOWN]"), "{}", done.err);
}

#[test]
fn a_server_that_is_away_for_a_while_is_waited_for() {
    let looks = AtomicUsize::new(0);
    let server = Server::start(move |query, _| {
        if !query.contains("executionId: $id") {
            return json!("");
        }
        match looks.fetch_add(1, Ordering::SeqCst) {
            0 => execution(false),
            1 | 2 => json!(503),
            _ => execution(true),
        }
    });
    let done = ask(&server, &["execution", "watch", "-run"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert_eq!(done.err.matches("503 Service Unavailable").count(), 1, "said once: {}", done.err);
    assert!(done.out.contains("rolled back"), "{}", done.out);
}

#[test]
fn ctrl_c_ends_the_watching_only() {
    let server = Server::start(
        |query, _| if query.contains("executionId: $id") { execution(false) } else { json!("") },
    );
    let mut child = crate::command(
        &[("MANIFOLD_URL", &server.url), ("MANIFOLD_API_KEY", "key")],
        &["execution", "watch", "-run"],
    );
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("RUNNING") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut err, &mut line).unwrap() > 0, "it ended early");
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        rest.contains("the deployment goes on") && rest.contains("manifold execution watch -- -run"),
        "{rest}"
    );
    assert!(
        server.requests().iter().all(|request| !String::from_utf8_lossy(&request.body).contains("abort"))
    );
}
