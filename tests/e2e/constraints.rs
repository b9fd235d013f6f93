//! Resource constraints (`behaviour.md` 8.2): who gets in, in which order, for how long, and that nothing is lost whatever happens.

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::{Server, string, until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::crash::{Moments, crash, legs_of, waiting};
use crate::scene::{Flow, Scene, deploy, script as scene_script};
use crate::shared::run;
use crate::story::{DEADLINE, Refusal, Story};
use crate::tree::{Application, Workflow, fan_out, guard, phase, rolling, script, stage, step, workflow};

fn shop(story: &Story) -> Application {
    story
        .application()
        .environment("prod", &["eu", "us", "ap", "sa", "af"])
        .pipeline("ship", &[fan_out("all")])
}

/// Makes a constraint with the client; its id.
async fn constraint(server: &Server, name: &str, capacity: &str) -> Result<String> {
    let (code, out, err) = server.cli(&["constraint", "create", name, "--capacity", capacity]).await?;
    ensure!(code == 0, "{out}{err}");
    Ok(out.trim().to_owned())
}

/// The consumers of a constraint: state, step, unit, permits, execution.
async fn consumers(server: &Server, name: &str) -> Result<Vec<Value>> {
    let found = server
        .data_of(
            "query($n: String!) { resourceConstraintByName(name: $n) { consumers(limit: 100) { pageInfo { total }
                nodes { executionId heldUntilEndOf execution { id } step stepName unit permits holdingScope state since } } } }",
            json!({ "n": name }),
        )
        .await?;
    let nodes = found.pointer("/resourceConstraintByName/consumers/nodes").and_then(Value::as_array);
    nodes.cloned().context("no consumers")
}

/// Waits until so many hold permits and so many wait.
async fn stand(server: &Server, name: &str, active: usize, blocked: usize) -> Result<Vec<Value>> {
    let found = until(&format!("{active} hold and {blocked} wait"), DEADLINE, async || {
        let found = consumers(server, name).await?;
        let count = |state: &str| found.iter().filter(|one| one["state"] == state).count();
        Ok(((count("ACTIVE"), count("BLOCKED")) == (active, blocked)).then_some(found))
    })
    .await;
    match found {
        Ok(found) => Ok(found),
        Err(error) => Err(error.context(format!("{:?}", consumers(server, name).await?))),
    }
}

/// Executions of consumers in this state, in their order.
fn of_state(consumers: &[Value], state: &str) -> Vec<String> {
    let of = consumers.iter().filter(|one| one["state"] == state);
    of.map(|one| one["executionId"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Most that were inside at once, by `in X` and `out X`.
fn most_inside(lines: &[String]) -> usize {
    let mut inside = 0_usize;
    let mut most = 0;
    for line in lines {
        if line.starts_with("in ") {
            inside += 1;
        } else if line.starts_with("out ") {
            inside -= 1;
        }
        most = most.max(inside);
    }
    most
}

/// Inside from `in` to `out`, until told to go.
fn inside(story: &Story) -> [Value; 3] {
    [story.note("in ${infra.name}"), story.waits_for("go"), story.note("out ${infra.name}")]
}

/// Guarded steps on one infrastructure.
fn guarded(story: &Story, more: Value) -> Workflow {
    let [enter, wait, leave] = inside(story);
    rolling(&[guard(&story.name, more), enter, wait, leave], &[story.note("undo ${infra.name}")])
}

/// The wait for permits of an execution.
async fn wait_of(story: &Story, execution: &str) -> Result<Value> {
    let found = story.execution(execution, "innerStatus waits { step reason detail }").await?;
    ensure!(found["innerStatus"] == "WAITING" && found["waits"][0]["reason"] == "CONSTRAINT", "{found}");
    Ok(found["waits"][0]["detail"].clone())
}

#[test]
fn five_legs_with_two_permits_are_never_more_than_two_inside() {
    run(async {
        let story = Story::new("FiveLegs").await?;
        let id = constraint(&story.server, "FiveLegs", "2").await?;
        story.tell(shop(&story).workflow("roll", guarded(&story, json!({})))).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us,ap,sa,af")]).await?;
        let found = stand(&story.server, "FiveLegs", 2, 3).await?;
        let holders = of_state(&found, "ACTIVE");
        for (place, one) in (1..).zip(of_state(&found, "BLOCKED")) {
            let wait = wait_of(&story, &one).await?;
            ensure!(wait["constraint"] == "FiveLegs" && wait["permits"] == 1 && wait["unit"] == "", "{wait}");
            ensure!(wait["free"] == 0 && wait["place"] == place && wait["until"].is_i64(), "{wait}");
            let named: Vec<String> = wait["holders"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|holder| holder["execution"].as_str().unwrap_or_default().to_owned())
                .collect();
            ensure!(named == holders, "{wait}");
        }
        let blocked = of_state(&found, "BLOCKED");
        let (code, shown, _) = story.server.cli(&["execution", "show", &blocked[0]]).await?;
        ensure!(code == 0 && shown.contains("waits for 1 permit of FiveLegs, 0 free, held by"), "{shown}");
        let (_, listed, _) = story.server.cli(&["constraint", "list", "-o", "json"]).await?;
        let listed: Value = serde_json::from_str(&listed)?;
        let listed = listed["constraints"].as_array().context("no list")?;
        let one = listed.iter().find(|one| one["id"] == json!(id)).context("it is not listed")?;
        ensure!(one["capacity"] == 2 && one["strategy"] == "FIFO", "{one}");
        ensure!(one["consumers"].as_array().map(Vec::len) == Some(5), "{one}");
        let (_, table, _) = story.server.cli(&["constraint", "list"]).await?;
        ensure!(
            table.contains("ACTIVE") && table.contains("BLOCKED") && table.contains(&holders[0]),
            "{table}"
        );
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        let lines = story.ledger_in_order();
        assert_eq!((lines.len(), most_inside(&lines)), (10, 2), "{lines:?}");
        assert!(consumers(&story.server, "FiveLegs").await?.is_empty(), "all is given back");
        Ok(())
    });
}

#[test]
fn units_are_guarded_apart() {
    run(async {
        let story = Story::new("Units").await?;
        constraint(&story.server, "Units", "1").await?;
        let [enter, wait, leave] = inside(&story);
        let unit = "${infra.name}-${service.name}";
        let roll = rolling(&[guard("Units", json!({ "resourceUnit": unit })), enter, wait, leave], &[]);
        let shared = rolling(&[guard("Units", json!({ "resourceUnit": "eu-web" })), story.note("late")], &[]);
        let shared_stage = stage("all", "shared", &[("infrastructure", "${infrastructure}")]);
        story
            .tell(
                shop(&story)
                    .workflow("roll", roll)
                    .workflow("shared", shared)
                    .pipeline("share", &[shared_stage]),
            )
            .await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        let found = stand(&story.server, "Units", 2, 0).await?;
        let mut units: Vec<&str> = found.iter().filter_map(|one| one["unit"].as_str()).collect();
        units.sort_unstable();
        assert_eq!(units, ["eu-web", "us-web"]);
        let other = story.start("share", &[("infrastructure", "ap")]).await?;
        stand(&story.server, "Units", 2, 1).await?;
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ended(&other).await?, "SUCCESS");
        Ok(())
    });
}

#[test]
fn fifo_keeps_the_order_and_changes_let_in_who_waits() {
    run(async {
        let story = Story::new("Order").await?;
        constraint(&story.server, "Order", "2").await?;
        let roll = guarded(&story, json!({ "permits": "${workflow.variables.permits}" }))
            .variable("permits", json!({ "mandatory": true }));
        let all = stage("all", "roll", &[("infrastructure", "${infrastructure}"), ("permits", "${permits}")]);
        story.tell(shop(&story).workflow("roll", roll).pipeline("ship", &[all])).await?;
        let server = &story.server;
        let mut runs = Vec::new();
        for (number, (place, permits)) in [("eu", "1"), ("us", "2"), ("ap", "1")].into_iter().enumerate() {
            runs.push(story.start("ship", &[("infrastructure", place), ("permits", permits)]).await?);
            stand(server, "Order", 1, number).await?;
        }
        let third = story.leg(&runs[2], "ap").await?.id;
        let wait = wait_of(&story, &third).await?;
        ensure!(wait["free"] == 1 && wait["place"] == 2, "it fits, and yet waits its turn: {wait}");
        let (code, _, err) = server.cli(&["constraint", "update", "Order", "--capacity", "1"]).await?;
        ensure!(code == 3 && err.contains("waits for more"), "{err}");
        let (code, _, err) = server.cli(&["constraint", "update", "Order", "--strategy", "ASAP"]).await?;
        ensure!(code == 0, "{err}");
        story.noted("in ap").await?;
        stand(server, "Order", 2, 1).await?;
        let (code, out, err) =
            server.cli(&["constraint", "update", "Order", "--capacity", "4", "-o", "json"]).await?;
        ensure!(code == 0 && out.contains("\"ASAP\""), "{out}{err}");
        story.noted("in us").await?;
        stand(server, "Order", 3, 0).await?;
        story.let_go("go")?;
        for execution in &runs {
            assert_eq!(story.ended(execution).await?, "SUCCESS");
        }
        let too_many = story.run("ship", &[("infrastructure", "eu"), ("permits", "5")]).await?;
        assert_eq!(too_many.1, "FAILED");
        let leg = story.leg(&too_many.0, "eu").await?.id;
        let failure = story.execution(&leg, "failure { code }").await?;
        assert_eq!(failure["failure"]["code"], "CONSTRAINT_PERMITS");
        Ok(())
    });
}

#[test]
fn a_wait_that_is_over_fails_the_step_and_rolls_back() {
    run(async {
        let story = Story::new("Late").await?;
        constraint(&story.server, "Late", "1").await?;
        let late = rolling(
            &[story.note("before"), guard("Late", json!({ "timeoutMillis": 700 })), story.note("inside")],
            &[story.note("undo ${infra.name}")],
        )
        .with(
            json!({ "failureStrategies": [{ "executionScope": "WORKFLOW", "failureTypes": ["TIMEOUT_ERROR"],
            "repairActionCode": "ROLLBACK_WORKFLOW", "retryCount": 0 }] }),
        );
        let late_stage = stage("all", "late", &[("infrastructure", "${infrastructure}")]);
        story
            .tell(
                shop(&story)
                    .workflow("roll", guarded(&story, json!({})))
                    .workflow("late", late)
                    .pipeline("hurry", &[late_stage]),
            )
            .await?;
        let holder = story.start("ship", &[("infrastructure", "eu")]).await?;
        story.noted("in eu").await?;
        let (late, status) = story.run("hurry", &[("infrastructure", "us")]).await?;
        assert_eq!(status, "FAILED");
        let leg = story.leg(&late, "us").await?.id;
        let found = story.execution(&leg, "failure { code class }").await?;
        assert_eq!(found["failure"], json!({ "code": "CONSTRAINT_TIMEOUT", "class": "TIMEOUT_ERROR" }));
        assert_eq!(story.ledger(), ["before", "in eu", "undo us"]);
        stand(&story.server, "Late", 1, 0).await?;
        story.let_go("go")?;
        assert_eq!(story.ended(&holder).await?, "SUCCESS");
        Ok(())
    });
}

#[test]
fn an_abort_frees_what_is_held_and_leaves_the_queue() {
    run(async {
        let story = Story::new("Abort").await?;
        constraint(&story.server, "Abort", "1").await?;
        story.tell(shop(&story).workflow("roll", guarded(&story, json!({})))).await?;
        let mut runs = Vec::new();
        for (number, place) in ["eu", "us", "ap"].into_iter().enumerate() {
            runs.push(story.start("ship", &[("infrastructure", place)]).await?);
            stand(&story.server, "Abort", 1, number).await?;
        }
        story.ask("abortExecution", &runs[1]).await?;
        assert_eq!(story.ended(&runs[1]).await?, "ABORTED");
        stand(&story.server, "Abort", 1, 1).await?;
        story.ask("abortExecution", &runs[0]).await?;
        assert_eq!(story.ended(&runs[0]).await?, "ABORTED");
        story.noted("in ap").await?;
        story.let_go("go")?;
        assert_eq!(story.ended(&runs[2]).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["in ap", "in eu", "out ap"]);
        Ok(())
    });
}

#[test]
fn phase_and_pipeline_scopes_hold_shorter_and_longer() {
    run(async {
        let story = Story::new("Scopes").await?;
        constraint(&story.server, "Short", "1").await?;
        constraint(&story.server, "Long", "1").await?;
        let take = workflow(&[
            phase(
                "First",
                &[
                    guard("Short", json!({ "holdingScope": "PHASE" })),
                    guard("Long", json!({ "holdingScope": "PIPELINE" })),
                ],
            ),
            phase("Second", &[story.note("second"), story.waits_for("second")]),
        ]);
        let after = rolling(&[story.note("stage 2"), story.waits_for("stage 2")], &[]);
        let on = [("infrastructure", "${infrastructure}")];
        let stages = [stage("take", "take", &on), stage("after", "after", &on)];
        let other = rolling(&[guard("Long", json!({})), story.note("other")], &[]);
        story
            .tell(
                shop(&story)
                    .workflow("take", take)
                    .workflow("after", after)
                    .workflow("other", other)
                    .pipeline("both", &stages)
                    .pipeline("ship", &[stage("other", "other", &on)]),
            )
            .await?;
        let first = story.start("both", &[("infrastructure", "eu")]).await?;
        story.noted("second").await?;
        assert!(consumers(&story.server, "Short").await?.is_empty(), "freed with its phase");
        let second = story.start("ship", &[("infrastructure", "us")]).await?;
        stand(&story.server, "Long", 1, 1).await?;
        story.let_go("second")?;
        story.noted("stage 2").await?;
        let found = stand(&story.server, "Long", 1, 1).await?;
        let holder = found.iter().find(|one| one["state"] == "ACTIVE").context("a holder")?;
        assert_eq!(holder["heldUntilEndOf"], json!(first), "the leg has ended, its pipeline has not");
        assert_eq!(holder["executionId"], holder["execution"]["id"]);
        story.let_go("stage 2")?;
        assert_eq!(story.ended(&first).await?, "SUCCESS");
        assert_eq!(story.ended(&second).await?, "SUCCESS");
        assert!(consumers(&story.server, "Long").await?.is_empty());
        Ok(())
    });
}

#[test]
fn what_cannot_be_taken_is_refused_at_the_start() {
    run(async {
        let story = Story::new("Refused").await?;
        constraint(&story.server, "Refused", "2").await?;
        let application = shop(&story)
            .workflow("roll", rolling(&[story.note("never")], &[]))
            .workflow("misplaced", {
                let before = json!({ "preDeploymentSteps": { "steps": [guard("Refused", json!({}))] } });
                rolling(&[story.note("never")], &[]).with(before)
            })
            .workflow("unknown", rolling(&[guard("Nowhere", json!({}))], &[]))
            .workflow("many", rolling(&[guard("Refused", json!({ "permits": 3 }))], &[]))
            .workflow("scope", rolling(&[guard("Refused", json!({ "holdingScope": "EVER" }))], &[]))
            .workflow("none", rolling(&[step("RESOURCE_CONSTRAINT", "bare", json!({}))], &[]));
        story.tell(application).await?;
        for (name, code, item) in [
            ("misplaced", "KIND_MISPLACED", "guard Refused"),
            ("unknown", "CONSTRAINT_UNKNOWN", "guard Nowhere"),
            ("many", "CONSTRAINT_PERMITS", "guard Refused"),
            ("scope", "CONSTRAINT_SCOPE", "guard Refused"),
            ("none", "STEP_PROPERTY_MISSING", "bare"),
        ] {
            story.refusal("workflow", name, &[("infrastructure", "eu")]).await?.is(code, item)?;
        }
        assert!(story.ledger().is_empty());
        Ok(())
    });
}

#[test]
fn constraints_are_made_changed_and_deleted_only_when_nothing_uses_them() {
    run(async {
        let story = Story::new("Manage").await?;
        let server = &story.server;
        let create =
            "mutation($i: CreateResourceConstraintInput!) { it: createResourceConstraint(input: $i) {
            clientMutationId resourceConstraint { id name capacity strategy createdAt } } }";
        let input = json!({ "name": "Manage", "capacity": 1, "strategy": "ASAP", "clientMutationId": "m-1" });
        let made = server.data_of(create, json!({ "i": input })).await?;
        ensure!(made["it"]["clientMutationId"] == "m-1", "{made}");
        ensure!(made["it"]["resourceConstraint"]["strategy"] == "ASAP", "{made}");
        let id = string(&made, "/it/resourceConstraint/id")?;
        for (input, code) in [
            (json!({ "name": "Manage", "capacity": 1 }), "NAME_TAKEN"),
            (json!({ "name": "", "capacity": 1 }), "NAME_INVALID"),
            (json!({ "name": "M2", "capacity": 0 }), "CONSTRAINT_CAPACITY"),
            (json!({ "name": "M2", "capacity": 1001 }), "CONSTRAINT_CAPACITY"),
        ] {
            let refusal = Refusal::of(&server.graphql(create, json!({ "i": input })).await?)?;
            ensure!(refusal.codes == [code], "{:?}: {}", refusal.codes, refusal.message);
        }
        story.tell(shop(&story).workflow("roll", guarded(&story, json!({})))).await?;
        let execution = story.start("ship", &[("infrastructure", "eu")]).await?;
        story.noted("in eu").await?;
        let (code, _, err) = server.cli(&["constraint", "delete", "Manage"]).await?;
        ensure!(code == 3 && err.contains("Manage / roll"), "a workflow names it: {err}");
        let (code, _, err) = server.cli(&["constraint", "update", "Manage", "--name", "Other"]).await?;
        ensure!(code == 3 && err.contains("cannot be renamed"), "{err}");
        let unguarded = rolling(&[story.note("free")], &[]);
        story.tell(shop(&story).workflow("roll", unguarded)).await?;
        let (code, _, err) = server.cli(&["constraint", "update", "Manage", "--name", "Other"]).await?;
        ensure!(code == 0, "what runs has its id: {err}");
        let delete =
            "mutation($i: DeleteResourceConstraintInput!) { it: deleteResourceConstraint(input: $i) {
            clientMutationId } }";
        let variables = json!({ "i": { "resourceConstraintId": id, "clientMutationId": "m-2" } });
        let refusal = Refusal::of(&server.graphql(delete, variables.clone()).await?)?;
        ensure!(refusal.codes == ["CONSTRAINT_USED"], "somebody holds it: {}", refusal.message);
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        let done = server.data_of(delete, variables.clone()).await?;
        ensure!(done["it"]["clientMutationId"] == "m-2", "{done}");
        let gone = Refusal::of(&server.graphql(delete, variables).await?)?;
        ensure!(gone.message.contains("No resource constraint exists"), "{}", gone.message);
        let (code, _, err) = server.cli(&["constraint", "delete", "Other"]).await?;
        ensure!(code == 3 && err.contains("constraint list"), "{err}");
        Ok(())
    });
}

#[test]
fn a_workflow_alone_holds_through_its_rollback() {
    run(async {
        let story = Story::new("Alone").await?;
        constraint(&story.server, "Alone", "1").await?;
        let text = format!("{}; exit 1", story.noting("broke"));
        let steps = [guard("Alone", json!({ "holdingScope": "PIPELINE" })), script("broke", &text)];
        let roll = rolling(&steps, &[story.note("undo"), story.waits_for("undone")]);
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start_alone("roll", &[("infrastructure", "eu")]).await?;
        story.noted("undo").await?;
        stand(&story.server, "Alone", 1, 0).await?;
        story.let_go("undone")?;
        assert_eq!(story.ended(&execution).await?, "FAILED");
        assert!(consumers(&story.server, "Alone").await?.is_empty());
        Ok(())
    });
}

/// A server with a constraint and an application of so many legs that are inside from `in` to `out`.
async fn crash_scene(capacity: &str, text: &str) -> Result<Server> {
    let server = Server::start(BINARY, &[]).await?;
    constraint(&server, "licences", capacity).await?;
    let flow = Flow::default().steps(&[guard("licences", json!({})), scene_script("inside", text)]);
    Scene::new("App").nowhere(5).workflow("wf", &flow).pipeline("pipe", "wf").import(&server).await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_and_queue_outlast_a_kill() -> Result<()> {
    let order = tempfile::NamedTempFile::new()?;
    let gate = order.path().with_extension("gate");
    let text = format!(
        "echo \"in ${{infra.name}}\" >>{0}; until [ -e {1} ]; do sleep 0.05; done; echo \"out ${{infra.name}}\" >>{0}",
        order.path().display(),
        gate.display()
    );
    let mut server = crash_scene("1", &text).await?;
    let mut runs = Vec::new();
    for (number, place) in ["i0", "i1", "i2"].into_iter().enumerate() {
        let execution = deploy(&server, "App", "pipe", place).await?;
        let leg = legs_of(&server, &execution, 1).await[place].clone();
        waiting(&server, &leg, if number == 0 { "TASK" } else { "CONSTRAINT" }).await;
        runs.push((execution, leg));
    }
    let before = stand(&server, "licences", 1, 2).await?;
    crash(&mut server).await;
    assert_eq!(consumers(&server, "licences").await?, before, "neither lost nor doubled");
    for (_, leg) in &runs[1..] {
        waiting(&server, leg, "CONSTRAINT").await;
    }
    std::fs::write(&gate, "")?;
    let mut expected = String::new();
    for ((execution, _), place) in runs.iter().zip(["i0", "i1", "i2"]) {
        assert_eq!(server.ended(execution, DEADLINE).await?, "SUCCESS");
        expected += &format!("in {place}\nout {place}\n");
    }
    std::fs::remove_file(&gate)?;
    assert_eq!(std::fs::read_to_string(order.path())?, expected);
    assert!(consumers(&server, "licences").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_never_let_a_third_one_in() -> Result<()> {
    let order = tempfile::NamedTempFile::new()?;
    let file = order.path().display();
    let text =
        format!("echo \"in ${{infra.name}}\" >>{file}; sleep 0.4; echo \"out ${{infra.name}}\" >>{file}");
    let mut server = crash_scene("2", &text).await?;
    let execution = deploy(&server, "App", "pipe", "i0,i1,i2,i3,i4").await?;
    let mut moments = Moments::new("kills_at_random_moments");
    for _ in 0..4 {
        moments.pass(400).await;
        crash(&mut server).await;
    }
    let status = server.ended(&execution, DEADLINE).await?;
    assert_eq!(status, "SUCCESS", "{}", server.failures(&execution).await?);
    let text = std::fs::read_to_string(order.path())?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 10, "{lines:?}");
    assert!(most_inside(&lines) <= 2, "{lines:?}");
    assert!(consumers(&server, "licences").await?.is_empty());
    Ok(())
}
