//! How legs, stages and pipelines go together: locks, barriers, failures, skips, requests (`behaviour.md` 4, 8, 9, 13).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use manifold_testkit::server::{string, until};
use serde_json::{Value, json};

use crate::shared::run;
use crate::story::{DEADLINE, Story, pairs};
use crate::tree::{
    Application, Phase, barrier, fan_out, hosts, phase, rolling, script, script_with, stage, step, with,
    workflow,
};

fn shop(story: &Story) -> Application {
    story.application().environment("prod", &["eu", "us", "ap"]).pipeline("ship", &[fan_out("all")])
}

/// Two definitions with the same host.
fn twins(story: &Story) -> Application {
    let same = json!({ "infrastructure": [hosts(&["the-only-one.test"])] });
    story
        .application()
        .environment("prod", &[])
        .infrastructure("prod", "left", same.clone())
        .infrastructure("prod", "right", same)
        .pipeline("ship", &[fan_out("all")])
}

/// `in` and `out` of a critical section, with room for another to come between.
fn section(story: &Story) -> Vec<Value> {
    let text =
        format!("{}; sleep 0.3; {}", story.noting("in ${infra.name}"), story.noting("out ${infra.name}"));
    vec![script("critical", &text)]
}

/// Whether nobody was inside together with somebody else.
fn took_turns(lines: &[String]) -> bool {
    lines.chunks(2).all(|pair| match pair {
        [one, other] => one.strip_prefix("in ").is_some_and(|name| other.strip_prefix("out ") == Some(name)),
        _ => false,
    })
}

#[test]
fn legs_on_one_target_take_turns_and_both_succeed() {
    run(async {
        let story = Story::new("Twins").await?;
        story.tell(twins(&story).workflow("roll", rolling(&section(&story), &[]))).await?;
        let answer = story.answer("ship", &[("infrastructure", "left,right")]).await?;
        let warning = string(&answer, "/data/startExecution/warningMessage")?;
        assert!(warning.contains("left") && warning.contains("right"), "{warning}");
        let execution = string(&answer, "/data/startExecution/execution/id")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("left", "SUCCESS"), ("right", "SUCCESS")]));
        assert!(took_turns(&story.ledger_in_order()), "{:?}", story.ledger_in_order());
        Ok(())
    });
}

#[test]
fn without_the_lock_nobody_waits() {
    run(async {
        let story = Story::new("Unlocked").await?;
        let arrive = format!("touch '{}'${{infra.name}}", story.file("").display());
        let other = format!(
            "for i in $(seq 600); do [ -e '{0}'left ] && [ -e '{0}'right ] && exit 0; sleep 0.1; done; exit 9",
            story.file("").display()
        );
        let roll = rolling(&[script("meet", &format!("{arrive}; {other}"))], &[]);
        let roll = roll.with(json!({ "concurrencyStrategy": "NONE" }));
        story.tell(twins(&story).workflow("roll", roll)).await?;
        assert_eq!(story.run("ship", &[("infrastructure", "left,right")]).await?.1, "SUCCESS");
        Ok(())
    });
}

#[test]
fn pipelines_on_one_target_queue_in_order_and_say_what_they_wait_for() {
    run(async {
        let story = Story::new("Queue").await?;
        let steps = [story.note("in ${workflow.variables.run}"), story.waits_for("go")];
        let roll = rolling(&steps, &[]).variable("run", json!({ "mandatory": true }));
        let all = stage("all", "roll", &[("infrastructure", "${infrastructure}"), ("run", "${run}")]);
        story.tell(shop(&story).workflow("roll", roll).pipeline("ship", &[all])).await?;
        let mut executions = Vec::new();
        for number in ["1", "2", "3"] {
            let execution = story.start("ship", &[("infrastructure", "eu"), ("run", number)]).await?;
            if number == "1" {
                story.noted("in 1").await?;
            } else {
                let leg = waiting_leg(&story, &execution).await?;
                assert_eq!(story.server.status(&leg).await?, "RUNNING");
            }
            executions.push(execution);
        }
        assert_eq!(story.ledger(), ["in 1"]);
        story.let_go("go")?;
        for execution in &executions {
            assert_eq!(story.ended(execution).await?, "SUCCESS");
        }
        assert_eq!(story.ledger_in_order(), ["in 1", "in 2", "in 3"]);
        Ok(())
    });
}

/// The only leg of an execution, once it waits for the lock.
async fn waiting_leg(story: &Story, execution: &str) -> Result<String> {
    until("the leg waits for the lock", DEADLINE, async || {
        let Some(leg) = story.server.legs(execution).await?.pop() else { return Ok(None) };
        let found = story.execution(&leg.id, "innerStatus waits { reason detail }").await?;
        let waits = found.pointer("/waits/0/reason") == Some(&json!("LOCK"));
        Ok((waits && found["innerStatus"] == "WAITING").then_some(leg.id))
    })
    .await
}

/// A workflow whose legs meet at a barrier; eu's check before it fails.
fn coupled(story: &Story, condition: &str) -> crate::tree::Workflow {
    let steps = [
        story.note("deploy ${infra.name}"),
        Story::fails_if(condition),
        barrier("regions"),
        story.note("open ${infra.name}"),
    ];
    rolling(&steps, &[story.note("undo ${infra.name}")])
}

#[test]
fn legs_cross_a_barrier_together() {
    run(async {
        let story = Story::new("Barrier").await?;
        story.tell(shop(&story).workflow("roll", coupled(&story, "false"))).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us,ap")]).await?;
        assert_eq!(status, "SUCCESS", "{:?}", story.outcomes(&execution).await?);
        let lines = story.ledger_in_order();
        assert!(lines[..3].iter().all(|line| line.starts_with("deploy")), "{lines:?}");
        assert!(lines[3..].iter().all(|line| line.starts_with("open")), "{lines:?}");
        Ok(())
    });
}

#[test]
fn a_leg_that_fails_before_the_barrier_makes_the_others_roll_back() {
    run(async {
        let story = Story::new("Broken").await?;
        story.tell(shop(&story).workflow("roll", coupled(&story, "[ ${infra.name} = eu ]"))).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "FAILED");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "FAILED"), ("us", "FAILED")]));
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "undo eu", "undo us"]);
        let broken =
            story.execution(&story.leg(&execution, "us").await?.id, "failure { code message }").await?;
        assert_eq!(broken["failure"]["code"], "BARRIER_BROKEN", "{broken}");
        Ok(())
    });
}

#[test]
fn two_workflows_of_one_stage_meet_at_a_barrier() {
    run(async {
        let story = Story::new("Meeting").await?;
        let one = |name: &str| {
            let steps = [
                story.note(&format!("before {name}")),
                barrier("both"),
                story.note(&format!("after {name}")),
            ];
            workflow(&[phase("Phase 1", &steps).on(name)])
        };
        let second = with(stage("second", "two", &[]), json!({ "parallel": true }));
        let tree = shop(&story)
            .workflow("one", one("eu"))
            .workflow("two", one("us"))
            .pipeline("ship", &[stage("first", "one", &[]), second]);
        story.tell(tree).await?;
        let (_, status) = story.run("ship", &[]).await?;
        assert_eq!(status, "SUCCESS");
        let lines = story.ledger_in_order();
        assert!(lines.len() == 4 && lines[..2].iter().all(|line| line.starts_with("before")), "{lines:?}");
        Ok(())
    });
}

#[test]
fn a_barrier_on_one_target_is_refused() {
    run(async {
        let story = Story::new("Deadlock").await?;
        story.tell(twins(&story).workflow("roll", coupled(&story, "false"))).await?;
        let refusal = story.refused("ship", &[("infrastructure", "left,right")]).await?;
        assert_eq!(refusal.codes, ["TARGET_SHARED_BARRIER"]);
        Ok(())
    });
}

#[test]
fn an_ignored_failure_leaves_the_stage_successful() {
    run(async {
        let story = Story::new("Ignored").await?;
        let steps = [Story::fails_if("[ ${infra.name} = eu ]"), story.note("done ${infra.name}")];
        let roll = rolling(&steps, &[]).on_failure("IGNORE");
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "SUCCESS"), ("us", "SUCCESS")]));
        assert_eq!(story.ledger(), ["done eu", "done us"]);
        Ok(())
    });
}

#[test]
fn resume_runs_both_legs_again_and_earlier_stages_not() {
    run(async {
        let story = Story::new("Resume").await?;
        let healthy = story.file("healthy");
        let condition = format!("[ ${{infra.name}} = eu ] && [ ! -e '{}' ]", healthy.display());
        let roll = rolling(&[story.note("deploy ${infra.name}"), Story::fails_if(&condition)], &[]);
        let before = workflow(&[phase("Phase 1", &[story.note("before")]).on("ap")]);
        let stages = [stage("before", "before", &[]), fan_out("all")];
        story
            .tell(shop(&story).workflow("roll", roll).workflow("before", before).pipeline("ship", &stages))
            .await?;
        let (failed, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "FAILED");
        story.let_go("healthy")?;
        let answer = story.resume(&failed, "STAGE 2").await?;
        let resumed = string(&answer, "/data/resumeExecution/execution/id").context(answer.to_string())?;
        assert_ne!(resumed, failed);
        assert_eq!(story.ended(&resumed).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["before", "deploy eu", "deploy eu", "deploy us", "deploy us"]);
        assert_eq!(
            story.executions(false).await?,
            std::slice::from_ref(&resumed),
            "lists show only the newest of a chain"
        );
        let chain = "... on PipelineExecution { resumedFrom resumedBy }";
        assert_eq!(story.execution(&resumed, chain).await?["resumedFrom"], json!(failed));
        assert_eq!(story.execution(&failed, chain).await?["resumedBy"], json!(resumed));
        let again = story.resume(&resumed, "STAGE 2").await?;
        assert!(again["errors"].is_array(), "a success cannot be resumed: {again}");
        Ok(())
    });
}

#[test]
fn members_are_hidden_unless_asked_for() {
    run(async {
        let story = Story::new("Members").await?;
        story.tell(shop(&story).workflow("roll", rolling(&[story.note("deploy")], &[]))).await?;
        let (execution, _) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(story.executions(false).await?, std::slice::from_ref(&execution));
        let mut all = story.executions(true).await?;
        all.sort();
        let mut expected = vec![
            execution.clone(),
            story.leg(&execution, "eu").await?.id,
            story.leg(&execution, "us").await?.id,
        ];
        expected.sort();
        assert_eq!(all, expected);
        Ok(())
    });
}

#[test]
fn workflows_of_one_stage_run_at_the_same_time() {
    run(async {
        let story = Story::new("Parallel").await?;
        let meeting = |own: &str, other: &str, infrastructure: &str| {
            let text = format!("touch '{}'", story.file(own).display());
            workflow(&[
                phase("Phase 1", &[script("arrive", &text), story.waits_for(other)]).on(infrastructure)
            ])
        };
        let second = with(stage("second", "two", &[]), json!({ "parallel": true }));
        let tree = shop(&story)
            .workflow("one", meeting("a", "b", "eu"))
            .workflow("two", meeting("b", "a", "us"))
            .workflow("last", workflow(&[phase("Phase 1", &[story.note("last")]).on("ap")]))
            .pipeline("ship", &[stage("first", "one", &[]), second, stage("last", "last", &[])]);
        story.tell(tree).await?;
        let (execution, status) = story.run("ship", &[]).await?;
        assert_eq!(status, "SUCCESS");
        let fields =
            "... on PipelineExecution { pipelineStageExecutions { pipelineStageName pipelineStepName } }";
        let found = story.execution(&execution, fields).await?;
        let rows: Vec<(&str, &str)> = found["pipelineStageExecutions"]
            .as_array()
            .context("no rows")?
            .iter()
            .map(|row| {
                (
                    row["pipelineStageName"].as_str().unwrap_or(""),
                    row["pipelineStepName"].as_str().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(rows, [("STAGE 1", "first"), ("STAGE 1", "second"), ("STAGE 2", "last")]);
        Ok(())
    });
}

#[test]
fn a_failure_does_not_stop_what_runs_beside_it_but_what_comes_after() {
    run(async {
        let story = Story::new("Beside").await?;
        let slow = workflow(&[phase("Phase 1", &[story.waits_for("go"), story.note("beside")]).on("us")]);
        let broken = workflow(&[phase("Phase 1", &[Story::fails_if("true")]).on("eu")]);
        let last = workflow(&[phase("Phase 1", &[story.note("last")]).on("ap")]);
        let second = with(stage("second", "slow", &[]), json!({ "parallel": true }));
        let tree = shop(&story)
            .workflow("broken", broken)
            .workflow("slow", slow)
            .workflow("last", last)
            .pipeline("ship", &[stage("first", "broken", &[]), second, stage("last", "last", &[])]);
        story.tell(tree).await?;
        let execution = story.start("ship", &[]).await?;
        until("the first leg fails", DEADLINE, async || {
            let legs = story.outcomes(&execution).await?;
            Ok(legs.contains(&("eu".to_owned(), "FAILED".to_owned())).then_some(()))
        })
        .await?;
        assert_eq!(story.server.status(&execution).await?, "RUNNING");
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "FAILED");
        assert_eq!(story.ledger(), ["beside"]);
        Ok(())
    });
}

#[test]
fn outputs_of_several_legs_are_a_map_by_infrastructure() {
    run(async {
        let story = Story::new("Outputs").await?;
        let publish = script_with(
            "measure",
            "export version=1-${infra.name}",
            json!({ "outputVars": "version", "publishAsVar": true, "sweepingOutputName": "measured",
                "sweepingOutputScope": "PIPELINE" }),
        );
        let own = story.note("own ${context.measured.version}");
        let read = story.note("read ${context.measured.eu.version} ${measured.us.version}");
        let first = script_with(
            "single",
            "export tag=blue",
            json!({ "outputVars": "tag", "publishAsVar": true, "sweepingOutputName": "chosen",
                "sweepingOutputScope": "PIPELINE" }),
        );
        let tree = shop(&story)
            .workflow("choose", workflow(&[phase("Phase 1", &[first]).on("ap")]))
            .workflow("roll", rolling(&[publish, own, story.note("tag ${context.chosen.tag}")], &[]))
            .workflow("report", workflow(&[phase("Phase 1", &[read]).on("ap")]))
            .pipeline(
                "ship",
                &[stage("choose", "choose", &[]), fan_out("all"), stage("report", "report", &[])],
            );
        story.tell(tree).await?;
        assert_eq!(story.run("ship", &[("infrastructure", "eu,us")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["own 1-eu", "own 1-us", "read 1-eu 1-us", "tag blue", "tag blue"]);
        Ok(())
    });
}

#[test]
fn stages_are_skipped_by_condition_and_always() {
    run(async {
        let story = Story::new("Stages").await?;
        let only = |name: &str| workflow(&[phase("Phase 1", &[story.note(name)]).on("ap")]);
        let publish = script_with(
            "decide",
            "export go=no",
            json!({ "outputVars": "go", "publishAsVar": true, "sweepingOutputName": "decision",
                "sweepingOutputScope": "PIPELINE" }),
        );
        let skip = |condition: &str| json!({ "skipCondition": { "type": "CONDITIONAL_SKIP", "expression": condition } });
        let tree = shop(&story)
            .workflow("decide", workflow(&[phase("Phase 1", &[publish]).on("ap")]))
            .workflow("a", only("a"))
            .workflow("b", only("b"))
            .workflow("c", only("c"))
            .pipeline(
                "ship",
                &[
                    stage("decide", "decide", &[]),
                    with(stage("a", "a", &[]), skip("${decision.go} == \"no\"")),
                    with(stage("b", "b", &[]), skip("${decision.go} == \"yes\" || ${app.name} == \"none\"")),
                    with(stage("c", "c", &[]), json!({ "skipCondition": { "type": "ALWAYS_SKIP" } })),
                ],
            );
        story.tell(tree).await?;
        let (execution, status) = story.run("ship", &[]).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.ledger(), ["b"]);
        let fields = "... on PipelineExecution { pipelineStageExecutions { pipelineStepName status
            ... on WorkflowStageExecution { skipReason } } }";
        let found = story.execution(&execution, fields).await?;
        let statuses: BTreeMap<&str, &str> = found["pipelineStageExecutions"]
            .as_array()
            .context("no rows")?
            .iter()
            .map(|row| (row["pipelineStepName"].as_str().unwrap_or(""), row["status"].as_str().unwrap_or("")))
            .collect();
        assert_eq!(
            statuses,
            BTreeMap::from([("a", "SKIPPED"), ("b", "SUCCESS"), ("c", "SKIPPED"), ("decide", "SUCCESS")])
        );
        Ok(())
    });
}

#[test]
fn a_stage_condition_that_cannot_be_evaluated_fails_the_pipeline() {
    run(async {
        let story = Story::new("Undecided").await?;
        let skip =
            json!({ "skipCondition": { "type": "CONDITIONAL_SKIP", "expression": "${nothing.here} == 1" } });
        let tree = shop(&story)
            .workflow("a", workflow(&[phase("Phase 1", &[story.note("a")]).on("ap")]))
            .pipeline("ship", &[with(stage("a", "a", &[]), skip)]);
        story.tell(tree).await?;
        let answer = story.answer("ship", &[]).await?;
        // Whether it is seen at start or when the stage is reached: it never runs, and the condition is named.
        let told = match string(&answer, "/data/startExecution/execution/id") {
            Ok(execution) => {
                assert_eq!(story.ended(&execution).await?, "FAILED");
                string(&story.execution(&execution, "failureDetails").await?, "/failureDetails")?
            }
            Err(_) => string(&answer, "/errors/0/message")?,
        };
        assert!(told.contains("skip condition") && told.contains("nothing"), "{told}");
        assert!(story.ledger().is_empty());
        Ok(())
    });
}

fn skipping(story: &Story) -> Phase {
    let steps = [story.note("migrate ${infra.name}"), story.note("deploy ${infra.name}")];
    phase("Phase 1", &steps)
}

#[test]
fn skip_conditions_are_evaluated_in_each_leg() {
    run(async {
        let story = Story::new("Skips").await?;
        let skips = json!({ "stepSkipStrategies": [{ "scope": "SPECIFIC_STEPS", "steps": ["migrate"],
            "assertionExpression": "${infra.name} == \"us\"" }] });
        let all = json!({ "stepSkipStrategies": [{ "scope": "ALL_STEPS",
            "assertionExpression": "${infra.name} =~ \"e.*\"" }] });
        let tree = shop(&story)
            .workflow("roll", workflow(&[skipping(&story).section(skips)]))
            .workflow("all", workflow(&[skipping(&story).section(all)]))
            .pipeline("ship all", &[stage("all", "all", &[("infrastructure", "${infrastructure}")])]);
        story.tell(tree).await?;
        let both = [("infrastructure", "eu,us")];
        assert_eq!(story.run("ship", &both).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "migrate eu"]);
        assert_eq!(story.run("ship all", &both).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "deploy us", "migrate eu", "migrate us"]);
        Ok(())
    });
}

#[test]
fn an_http_check_fails_the_leg_whose_address_does_not_answer_well() {
    run(async {
        let story = Story::new("Http").await?;
        // The server under test is the peer: it has a `livez` and no `nowhere`.
        let check = step(
            "HTTP",
            "ping",
            json!({ "method": "GET", "url": format!("{}/${{infra.name}}", story.server.url), "timeoutMillis": 10_000,
                "assertion": "${httpResponseCode} == 200",
                "responseProcessingExpressions": [{ "name": "code", "value": "${httpResponseCode}" }],
                "publishAsVar": true, "sweepingOutputName": "ping", "sweepingOutputScope": "WORKFLOW" }),
        );
        let roll = rolling(
            &[check, story.note("answered ${infra.name} ${context.ping.code}")],
            &[story.note("undo ${infra.name}")],
        );
        let tree = story
            .application()
            .environment("prod", &["livez", "nowhere"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "livez,nowhere")]).await?;
        assert_eq!(status, "FAILED");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("livez", "SUCCESS"), ("nowhere", "FAILED")]));
        assert_eq!(story.ledger(), ["answered livez 200", "undo nowhere"]);
        let failed = story.leg(&execution, "nowhere").await?;
        let found = story.execution(&failed.id, "failure { code message }").await?;
        assert_eq!(found["failure"]["code"], "HTTP_ASSERTION_FAILED", "{found}");
        assert!(string(&found, "/failure/message")?.contains("step `ping`"), "{found}");
        Ok(())
    });
}

#[test]
fn a_pause_starts_nothing_new_until_it_is_continued() {
    run(async {
        let story = Story::new("Pause").await?;
        let roll = rolling(
            &[story.note("first ${infra.name}"), story.waits_for("go"), story.note("last ${infra.name}")],
            &[],
        );
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        story.noted("first eu").await?;
        story.noted("first us").await?;
        story.ask("pauseExecution", &execution).await?;
        story.let_go("go")?;
        until("it is paused", DEADLINE, async || {
            Ok((story.server.status(&execution).await? == "PAUSED").then_some(()))
        })
        .await?;
        assert_eq!(story.ledger(), ["first eu", "first us"]);
        story.ask("continueExecution", &execution).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["first eu", "first us", "last eu", "last us"]);
        Ok(())
    });
}

#[test]
fn abort_stops_every_leg_without_rollback_and_answers_in_the_envelope() {
    run(async {
        let story = Story::new("Abort").await?;
        let roll = rolling(
            &[story.note("deploy ${infra.name}"), story.waits_for("never")],
            &[story.note("undo ${infra.name}")],
        );
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        story.noted("deploy eu").await?;
        story.noted("deploy us").await?;
        let (application, _) = story.server.ids("Abort", "pipeline", "ship").await?;
        let path = format!(
            "/gateway/api/executions/{execution}?appId={application}&routingId={}",
            story.server.account
        );
        let answer = story
            .server
            .request(reqwest::Method::PUT, &path)
            .json(&json!({ "executionInterruptType": "ABORT_ALL" }))
            .send()
            .await?;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await?;
        assert_eq!(answer["responseMessages"], json!([]));
        assert!(answer["metaData"].is_object());
        let resource = &answer["resource"];
        assert_eq!(resource["executionInterruptType"], "ABORT_ALL");
        assert_eq!(resource["executionUuid"], json!(execution));
        assert_eq!(resource["appId"], json!(application));
        assert_eq!(resource["accountId"], json!(story.server.account));
        for key in [
            "uuid",
            "seized",
            "environmentId",
            "stateExecutionInstanceId",
            "properties",
            "createdBy",
            "lastUpdatedBy",
        ] {
            assert!(resource.get(key).is_some(), "{key} is missing in {resource}");
        }
        assert_eq!(story.ended(&execution).await?, "ABORTED");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "ABORTED"), ("us", "ABORTED")]));
        assert_eq!(story.ledger(), ["deploy eu", "deploy us"]);
        Ok(())
    });
}

#[test]
fn clients_without_an_id_get_an_envelope() {
    run(async {
        let story = Story::new("NoId").await?;
        for method in [reqwest::Method::PUT, reqwest::Method::GET] {
            let answer = story.server.request(method, "/api/executions?appId=x&routingId=y").send().await?;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.json::<Value>().await?, json!({ "metaData": {} }));
        }
        Ok(())
    });
}

#[test]
fn a_rollback_is_asked_for_on_one_workflow_execution() {
    run(async {
        let story = Story::new("Rollback").await?;
        let roll = rolling(
            &[story.note("deploy ${infra.name}"), story.waits_for("never")],
            &[story.note("undo ${infra.name}")],
        );
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start_alone("roll", &[("infrastructure", "eu")]).await?;
        story.noted("deploy eu").await?;
        story.ask("rollbackExecution", &execution).await?;
        assert_eq!(story.ended(&execution).await?, "FAILED");
        assert_eq!(story.ledger(), ["deploy eu", "undo eu"]);
        let found =
            story.execution(&execution, "... on WorkflowExecution { rollback failure { code } }").await?;
        assert_eq!(
            found,
            json!({ "rollback": "ROLLED_BACK", "failure": { "code": "ROLLED_BACK_ON_REQUEST" } })
        );
        Ok(())
    });
}

#[test]
fn a_rollback_of_one_leg_leaves_the_other_alone() {
    run(async {
        let story = Story::new("RollbackLeg").await?;
        let roll = rolling(
            &[story.note("deploy ${infra.name}"), story.waits_for("go")],
            &[story.note("undo ${infra.name}")],
        );
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        story.noted("deploy eu").await?;
        story.noted("deploy us").await?;
        let leg = story.leg(&execution, "eu").await?;
        story.ask("rollbackExecution", &leg.id).await?;
        assert_eq!(story.ended(&leg.id).await?, "FAILED");
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "FAILED");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "FAILED"), ("us", "SUCCESS")]));
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "undo eu"]);
        Ok(())
    });
}

#[test]
fn a_leg_can_be_aborted_alone() {
    run(async {
        let story = Story::new("AbortLeg").await?;
        let roll =
            rolling(&[story.note("deploy ${infra.name}"), story.waits_for("go")], &[story.note("undo")]);
        story.tell(shop(&story).workflow("roll", roll)).await?;
        let execution = story.start("ship", &[("infrastructure", "eu,us")]).await?;
        story.noted("deploy eu").await?;
        story.noted("deploy us").await?;
        let leg = story.leg(&execution, "eu").await?;
        story.ask("abortExecution", &leg.id).await?;
        assert_eq!(story.ended(&leg.id).await?, "ABORTED");
        story.let_go("go")?;
        assert_eq!(story.ended(&execution).await?, "ABORTED");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "ABORTED"), ("us", "SUCCESS")]));
        assert_eq!(story.ledger(), ["deploy eu", "deploy us"]);
        Ok(())
    });
}

#[test]
fn a_build_workflow_needs_no_environment() {
    run(async {
        let story = Story::new("Build").await?;
        let build = json!({ "type": "BUILD", "templatized": false, "phases": [{ "name": "Phase 1", "phaseSteps": [
            { "type": "PREPARE_STEPS", "name": "Prepare Steps", "stepsInParallel": false,
              "steps": [story.note("build ${workflow.variables.branch}")] },
            { "type": "COLLECT_ARTIFACT", "name": "Collect Artifact", "stepsInParallel": false },
            { "type": "WRAP_UP", "name": "Wrap Up", "stepsInParallel": false }] }],
            "userVariables": [{ "type": "TEXT", "name": "branch", "fixed": false, "mandatory": true }] });
        let tree = shop(&story)
            .file("Workflows/build.yaml", build)
            .workflow("roll", rolling(&[story.note("deploy ${infra.name}")], &[]))
            .pipeline("ship", &[stage("build", "build", &[("branch", "main")]), fan_out("all")]);
        story.tell(tree).await?;
        let alone = story.start_alone("build", &[("branch", "dev")]).await?;
        assert_eq!(story.ended(&alone).await?, "SUCCESS");
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.ledger(), ["build dev", "build main", "deploy eu", "deploy us"]);
        let fields = "... on PipelineExecution { memberExecutions { nodes { ... on WorkflowExecution {
            workflowName environment { name } infrastructure { name } } } } }";
        let found = story.execution(&execution, fields).await?;
        let first = found.pointer("/memberExecutions/nodes/0").context("no members")?;
        assert_eq!(first, &json!({ "workflowName": "build", "environment": null, "infrastructure": null }));
        Ok(())
    });
}
