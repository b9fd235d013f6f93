//! Failure strategies (`behaviour.md` 7.1): every action on every level, by what it leaves on the hosts.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::site::{
    APP, ENDS, Phase, SERVICE, Site, Tree, command, mark, script, section, step, strategy, undoing, unit,
    with,
};

/// Two hosts on which all workflows of a test run, without a lock between them.
const EU: &str = "eu";

/// Two phases; in the second, a step that breaks between two that do not. Rollback phases say what they undo.
fn workflow(tree: &mut Tree, name: &str, breaks: Value, of_section: Value, of_workflow: Value) {
    let second = section("Deploy", &[mark("Second", "two", ""), breaks, mark("After", "after", "")]);
    let phases = vec![
        Phase::on(
            "One",
            EU,
            vec![section("Deploy", &[mark("First", "one", "")])],
            vec![undoing("Deploy", &[mark("Undo first", "undo-one", "")])],
        ),
        Phase::on(
            "Two",
            EU,
            vec![with(second, "failureStrategies", of_section)],
            vec![undoing("Deploy", &[mark("Undo second", "undo-two", "")])],
        ),
    ];
    tree.workflow(name, "CANARY", of_workflow, phases, json!({}));
}

fn breaks() -> Value {
    mark("Break", "broke", "exit 7")
}

fn application(action: &str) -> Value {
    json!([strategy(&["APPLICATION_ERROR"], action)])
}

/// A strategy of a section for application errors, with more keys.
fn of_section(action: &str, more: Value) -> Value {
    let mut strategy =
        json!({ "failureTypes": ["APPLICATION_ERROR"], "repairActionCode": action, "retryCount": 0 });
    for (key, value) in more.as_object().into_iter().flatten() {
        strategy[key] = value.clone();
    }
    strategy
}

/// What a workflow must come to: name, status, marks on every host, mark of the rollback.
type Expected = (&'static str, &'static str, &'static str, &'static str);

/// Runs all at once.
async fn expect(site: &Site, expected: &[Expected]) -> Result<()> {
    let mut started = Vec::new();
    for (name, ..) in expected {
        started.push(site.server.started((APP, "workflow", name), &[], &[]).await?);
    }
    for (id, (name, status, marks, rollback)) in started.iter().zip(expected) {
        site.server.ended(id, ENDS).await?;
        let outcome = site.outcome(id).await?;
        ensure!(
            (outcome.status.as_str(), outcome.rollback.as_str()) == (status, rollback),
            "{name}: {outcome:?}"
        );
        ensure!(site.all_marks(name, EU) == vec![*marks; 2], "{name}: {:?}", site.all_marks(name, EU));
    }
    Ok(())
}

async fn site_with(build: impl FnOnce(&mut Tree)) -> Result<Site> {
    let site = Site::start(&[(EU, 2)]).await?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[]);
    build(&mut tree);
    site.import(tree).await?;
    Ok(site)
}

#[tokio::test]
async fn every_action_of_the_workflow_level_shows_on_the_hosts() -> Result<()> {
    let site = site_with(|tree| {
        for action in
            ["ROLLBACK_WORKFLOW", "ROLLBACK_PHASE", "IGNORE", "MARK_AS_SUCCESS", "ABORT_WORKFLOW_EXECUTION"]
        {
            workflow(tree, action, breaks(), json!([]), application(action));
        }
        let scoped = with(
            strategy(&["APPLICATION_ERROR"], "ROLLBACK_WORKFLOW"),
            "executionScope",
            json!("WORKFLOW_PHASE"),
        );
        workflow(tree, "phase scope", breaks(), json!([]), json!([scoped]));
        let other = json!([strategy(&["CONNECTIVITY"], "ROLLBACK_WORKFLOW")]);
        workflow(tree, "no match", breaks(), json!([]), other);
        let first = json!([
            strategy(&["CONNECTIVITY"], "ABORT_WORKFLOW_EXECUTION"),
            strategy(&["APPLICATION_ERROR"], "IGNORE"),
            strategy(&["APPLICATION_ERROR"], "ROLLBACK_WORKFLOW")
        ]);
        workflow(tree, "first match", breaks(), json!([]), first);
        let retry = with(strategy(&["APPLICATION_ERROR"], "RETRY"), "retryCount", json!(1));
        let retry = with(retry, "repairActionCodeAfterRetry", json!("ROLLBACK_WORKFLOW"));
        workflow(tree, "retry", breaks(), json!([]), json!([retry]));
    })
    .await?;
    expect(
        &site,
        &[
            ("ROLLBACK_WORKFLOW", "FAILED", "one two broke undo-two undo-one", "ROLLED_BACK"),
            ("ROLLBACK_PHASE", "FAILED", "one two broke undo-two", "ROLLED_BACK"),
            ("phase scope", "FAILED", "one two broke undo-two", "ROLLED_BACK"),
            ("IGNORE", "SUCCESS", "one two broke after", ""),
            ("MARK_AS_SUCCESS", "SUCCESS", "one two broke after", ""),
            ("ABORT_WORKFLOW_EXECUTION", "ABORTED", "one two broke", ""),
            ("no match", "FAILED", "one two broke", ""),
            ("first match", "SUCCESS", "one two broke after", ""),
            ("retry", "FAILED", "one two broke broke undo-two undo-one", "ROLLED_BACK"),
        ],
    )
    .await
}

/// D18: FAILED, and only what deployed something is undone. A script did not; a service command did.
#[tokio::test]
async fn end_execution_undoes_what_deployed_something() -> Result<()> {
    let site = site_with(|tree| {
        workflow(tree, "scripts only", breaks(), json!([]), application("END_EXECUTION"));
        let text = "mkdir -p \"$WINGS_RUNTIME_PATH\" && echo broke >>\"$WINGS_RUNTIME_PATH/marks\"; exit 7";
        tree.command(SERVICE, "Break", "OTHER", &[unit("EXEC", "Break", text)]);
        workflow(tree, "a command", command("Break"), json!([]), application("END_EXECUTION"));
    })
    .await?;
    expect(
        &site,
        &[
            ("scripts only", "FAILED", "one two broke", ""),
            ("a command", "FAILED", "one two broke undo-two", "ROLLED_BACK"),
        ],
    )
    .await
}

#[tokio::test]
async fn a_section_s_strategy_comes_before_the_workflow_s_and_may_name_steps() -> Result<()> {
    let site = site_with(|tree| {
        let rollback = application("ROLLBACK_WORKFLOW");
        let mut of = |name: &str, strategies: Value, workflow_level: &Value| {
            workflow(tree, name, breaks(), strategies, workflow_level.clone());
        };
        of("ignored", json!([of_section("IGNORE", json!({}))]), &rollback);
        of("named", json!([of_section("IGNORE", json!({ "specificSteps": ["Break"] }))]), &rollback);
        of(
            "other named",
            json!([of_section("IGNORE", json!({ "specificSteps": ["Second", "After"] }))]),
            &rollback,
        );
        of("aborted", json!([of_section("ABORT_WORKFLOW_EXECUTION", json!({}))]), &rollback);
        of("ended", json!([of_section("END_EXECUTION", json!({}))]), &rollback);
        of("phase back", json!([of_section("ROLLBACK_PHASE", json!({}))]), &application("IGNORE"));
        of("all back", json!([of_section("ROLLBACK_WORKFLOW", json!({}))]), &application("IGNORE"));
        let two = json!([of_section("ABORT_WORKFLOW_EXECUTION", json!({})), of_section("IGNORE", json!({}))]);
        of("first of two", two, &rollback);
        let retry = |more: Value| json!([with(of_section("RETRY", more), "retryCount", json!(2))]);
        of("spent, then ignored", retry(json!({ "repairActionCodeAfterRetry": "IGNORE" })), &rollback);
        of("spent, then the workflow's", retry(json!({})), &rollback);
    })
    .await?;
    expect(
        &site,
        &[
            ("ignored", "SUCCESS", "one two broke after", ""),
            ("named", "SUCCESS", "one two broke after", ""),
            ("other named", "FAILED", "one two broke undo-two undo-one", "ROLLED_BACK"),
            ("aborted", "ABORTED", "one two broke", ""),
            ("ended", "FAILED", "one two broke", ""),
            ("phase back", "FAILED", "one two broke undo-two", "ROLLED_BACK"),
            ("all back", "FAILED", "one two broke undo-two undo-one", "ROLLED_BACK"),
            ("first of two", "ABORTED", "one two broke", ""),
            ("spent, then ignored", "SUCCESS", "one two broke broke broke after", ""),
            (
                "spent, then the workflow's",
                "FAILED",
                "one two broke broke broke undo-two undo-one",
                "ROLLED_BACK",
            ),
        ],
    )
    .await
}

/// Only the host that failed is tried again, after the intervals in their order.
#[tokio::test]
async fn a_retry_waits_its_intervals_and_repeats_only_on_hosts_that_failed() -> Result<()> {
    let site = Site::start(&[(EU, 2)]).await?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[]);
    let text = format!(
        "[ ${{instance.hostName}} = {} ] || [ $(grep -c broke marks) -ge 3 ] || exit 3",
        site.hosts(EU)[0]
    );
    let intervals = json!({ "retryCount": 2, "retryIntervals": [1, 2] });
    let strategies = json!([with(of_section("RETRY", intervals), "retryCount", json!(2))]);
    workflow(&mut tree, "retry", mark("Break", "broke", &text), strategies, application("ROLLBACK_WORKFLOW"));
    site.import(tree).await?;
    let run = site.workflow("retry").await?;
    ensure!(run.status == "SUCCESS", "{:?}", site.outcome(&run.id).await?);
    assert_eq!(site.all_marks("retry", EU), ["one two broke after", "one two broke broke broke after"]);
    let events = site.server.events(&run.id).await?;
    let waits: Vec<i64> = events
        .iter()
        .filter(|event| event["event"] == "RETRY_SCHEDULED")
        .map(|event| event["due"].as_i64().unwrap_or_default() - event["at"].as_i64().unwrap_or_default())
        .collect();
    assert_eq!(waits, [1000, 2000]);
    let step = site.step(&run.id, "Break", false).await?;
    assert_eq!(step["attempt"], 3);
    assert_eq!(step["tasks"].as_array().unwrap().len(), 4, "{step:#}");
    Ok(())
}

#[tokio::test]
async fn a_manual_intervention_takes_every_answer() -> Result<()> {
    let answers = [
        ("IGNORE", "SUCCESS", "one two broke after", ""),
        ("MARK_AS_SUCCESS", "SUCCESS", "one two broke after", ""),
        ("END_EXECUTION", "FAILED", "one two broke", ""),
        ("ABORT_WORKFLOW_EXECUTION", "ABORTED", "one two broke", ""),
        ("ROLLBACK_WORKFLOW", "FAILED", "one two broke undo-two undo-one", "ROLLED_BACK"),
        ("RETRY", "SUCCESS", "one two broke broke after", ""),
    ];
    let site = site_with(|tree| {
        for (answer, ..) in answers {
            let breaks = mark("Break", "broke", "test -e repaired");
            // On both levels, by turns.
            if answer.len() % 2 == 0 {
                workflow(tree, answer, breaks, json!([]), application("MANUAL_INTERVENTION"));
            } else {
                let strategies = json!([of_section("MANUAL_INTERVENTION", json!({}))]);
                workflow(tree, answer, breaks, strategies, application("ROLLBACK_WORKFLOW"));
            }
        }
    })
    .await?;
    for (answer, status, marks, rollback) in answers {
        let id = site.server.started((APP, "workflow", answer), &[], &[]).await?;
        site.asked(&id).await?;
        let asking = "query($e: String!) { execution(executionId: $e) { status ... on WorkflowExecution { waits { reason detail } } } }";
        let waiting = site.server.data_of(asking, json!({ "e": id })).await?;
        ensure!(waiting["execution"]["waits"][0]["reason"] == "INTERVENTION", "{answer}: {waiting}");
        ensure!(waiting["execution"]["status"] == "PAUSED", "{answer}: {waiting}");
        let options = &waiting["execution"]["waits"][0]["detail"]["options"];
        ensure!(
            options.as_array().is_some_and(|options| options.contains(&json!(answer))),
            "{answer}: {waiting}"
        );
        for host in 0..2 {
            std::fs::write(site.folder(answer, EU, host).join("repaired"), "")?;
        }
        site.answer(&id, answer).await?;
        site.server.ended(&id, ENDS).await?;
        let outcome = site.outcome(&id).await?;
        ensure!(
            (outcome.status.as_str(), outcome.rollback.as_str()) == (status, rollback),
            "{answer}: {outcome:?}"
        );
        ensure!(site.all_marks(answer, EU) == vec![marks; 2], "{answer}: {:?}", site.all_marks(answer, EU));
    }
    Ok(())
}

#[tokio::test]
async fn a_manual_intervention_that_nobody_answers_takes_the_action_after_timeout() -> Result<()> {
    let actions = [
        ("ROLLBACK_WORKFLOW", "FAILED", "one two broke undo-two undo-one", "ROLLED_BACK"),
        ("IGNORE", "SUCCESS", "one two broke after", ""),
        ("MARK_AS_SUCCESS", "SUCCESS", "one two broke after", ""),
        ("END_EXECUTION", "FAILED", "one two broke", ""),
        ("ABORT_WORKFLOW_EXECUTION", "ABORTED", "one two broke", ""),
    ];
    let site = site_with(|tree| {
        for (action, ..) in actions {
            let timeout = json!({ "manualInterventionTimeout": 500, "actionAfterTimeout": action });
            workflow(tree, action, breaks(), json!([of_section("MANUAL_INTERVENTION", timeout)]), json!([]));
        }
    })
    .await?;
    expect(&site, &actions).await
}

/// A failing step for each class, and two strategies: the first ends everything else, the second ignores the class.
#[tokio::test]
async fn strategies_choose_by_the_class_of_the_failure() -> Result<()> {
    let site = Site::start(&[(EU, 2)]).await?;
    let mut tree = site.tree();
    tree.service(SERVICE, &[]);
    // Nobody listens there.
    let nobody: IpAddr = "127.254.254.254".parse()?;
    let other_key = manifold_testkit::sshd::Fleet::start(1)?.user_key()?;
    let key = site.secret_text("other-key", &other_key).await?;
    let method = json!({ "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": key } });
    site.credential("stranger", method).await?;
    tree.infrastructure("closed", &[nobody], json!({}));
    tree.infrastructure("refused", &[site.hosts(EU)[0]], json!({ "hostConnectionAttrsName": "stranger" }));
    let changed = json!({ "hostKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJy1JXV0r6hYQCkQIE8kbSg2nmaWkIgJK6xZ1p3b6xQ3"] });
    tree.infrastructure("changed", &[site.hosts(EU)[0]], changed);
    tree.command(SERVICE, "process", "OTHER", &[unit("PROCESS_CHECK_RUNNING", "Runs", "kill -0 999999999")]);
    tree.command(SERVICE, "port", "OTHER", &[unit("PORT_CHECK_LISTENING", "Listens", "exit 1")]);
    let mut slow = script("Break", "sleep 60");
    slow["properties"]["timeoutMillis"] = json!(1500);
    let steps = [
        ("application", EU, "APPLICATION_ERROR", "COMMAND_FAILED", breaks()),
        ("closed port", "closed", "CONNECTIVITY", "HOST_UNREACHABLE", breaks()),
        ("wrong key", "refused", "AUTHENTICATION", "SIGN_IN_REFUSED", breaks()),
        ("changed host key", "changed", "AUTHENTICATION", "HOST_KEY_CHANGED", breaks()),
        ("timeout", EU, "TIMEOUT_ERROR", "COMMAND_TIMEOUT", slow),
        ("process check", EU, "VERIFICATION_FAILURE", "COMMAND_FAILED", command("process")),
        ("port check", EU, "VERIFICATION_FAILURE", "COMMAND_FAILED", command("port")),
    ];
    let classes =
        ["APPLICATION_ERROR", "CONNECTIVITY", "AUTHENTICATION", "TIMEOUT_ERROR", "VERIFICATION_FAILURE"];
    for (name, infrastructure, class, _, breaks) in &steps {
        let others: Vec<&str> = classes.into_iter().filter(|other| other != class).collect();
        let strategies =
            json!([strategy(&others, "ABORT_WORKFLOW_EXECUTION"), strategy(&[class], "ROLLBACK_WORKFLOW")]);
        let phases = vec![
            Phase::on(
                "Good",
                EU,
                vec![section("Deploy", &[mark("First", "one", "")])],
                vec![undoing("Deploy", &[mark("Undo", "undo-one", "")])],
            ),
            Phase::on("Bad", infrastructure, vec![section("Deploy", std::slice::from_ref(breaks))], vec![]),
        ];
        tree.workflow(name, "CANARY", strategies, phases, json!({}));
    }
    site.import(tree).await?;
    for (name, _, class, code, breaks) in &steps {
        let run = site.workflow(name).await?;
        let outcome = site.outcome(&run.id).await?;
        ensure!(outcome.status == "FAILED" && outcome.rollback == "ROLLED_BACK", "{name}: {outcome:?}");
        ensure!((outcome.class.as_str(), outcome.code.as_str()) == (class, code), "{name}: {outcome:?}");
        for marks in site.all_marks(name, EU) {
            let expected = if *name == "application" { "one broke undo-one" } else { "one undo-one" };
            ensure!(marks == expected, "{name}: {marks}");
        }
        let step = site.step(&run.id, breaks["name"].as_str().unwrap(), false).await?;
        ensure!(
            step["failure"]["message"].as_str().is_some_and(|message| message.contains("127.")),
            "{name}: {step:#}"
        );
    }
    Ok(())
}

/// A failed step of a rollback phase does not keep older phases from being rolled back; the mark says it.
#[tokio::test]
async fn a_rollback_that_fails_goes_on_with_older_phases() -> Result<()> {
    let site = site_with(|tree| {
        let phase = |name, word: &str, then: &str, breaks: bool| {
            let mut steps = vec![mark("Do", word, "")];
            steps.extend(breaks.then(self::breaks));
            let undo =
                [mark("Undo", &format!("undo-{word}"), then), mark("Undo more", &format!("more-{word}"), "")];
            Phase::on(name, EU, vec![section("Deploy", &steps)], vec![undoing("Deploy", &undo)])
        };
        let phases = vec![phase("One", "one", "", false), phase("Two", "two", "exit 9", true)];
        tree.workflow("fails twice", "CANARY", application("ROLLBACK_WORKFLOW"), phases, json!({}));
    })
    .await?;
    expect(&site, &[("fails twice", "FAILED", "one two broke undo-two undo-one more-one", "ROLLBACK_FAILED")])
        .await
}

/// In a parallel section the others come to their end, and then the failure acts.
#[tokio::test]
async fn a_parallel_section_ends_as_a_whole_before_the_failure_acts() -> Result<()> {
    let site = site_with(|tree| {
        let steps: Vec<Value> = ["a", "b", "c"]
            .iter()
            .map(|name| {
                // Each waits until all three have begun: they run at once, or this times out.
                let meet =
                    "for i in $(seq 300); do [ $(sort -u marks | wc -l) -ge 3 ] && break; sleep 0.1; done";
                let then = if *name == "b" {
                    "exit 4"
                } else {
                    "[ $(sort -u marks | wc -l) -ge 3 ] && echo end >>ends"
                };
                mark(name, name, &format!("{meet}\n{then}"))
            })
            .collect();
        let sections = vec![
            with(section("Together", &steps), "stepsInParallel", json!(true)),
            section("Later", &[mark("Later", "later", "")]),
        ];
        let phases =
            vec![Phase::on("One", EU, sections, vec![undoing("Together", &[mark("Undo", "undo", "")])])];
        tree.workflow("parallel", "BASIC", application("ROLLBACK_WORKFLOW"), phases, json!({}));
    })
    .await?;
    let run = site.workflow("parallel").await?;
    let outcome = site.outcome(&run.id).await?;
    ensure!(outcome.status == "FAILED" && outcome.rollback == "ROLLED_BACK", "{outcome:?}");
    for host in 0..2 {
        let mut marks: Vec<String> = site.marks("parallel", EU, host).split(' ').map(str::to_owned).collect();
        assert_eq!(marks.pop().as_deref(), Some("undo"));
        marks.sort();
        assert_eq!(marks, ["a", "b", "c"]);
        assert_eq!(site.file("parallel", EU, host, "ends"), "end\nend\n");
    }
    Ok(())
}

/// Steps outside phases have strategies too; there is nothing to roll back before the first phase.
#[tokio::test]
async fn pre_and_post_deployment_steps_follow_the_strategies() -> Result<()> {
    let site = site_with(|tree| {
        let local = |name: &str, text: &str| {
            step("SHELL_SCRIPT", name, json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": text, "timeoutMillis": 60000 }))
        };
        for (name, key, action) in [
            ("pre breaks", "preDeploymentSteps", "ROLLBACK_WORKFLOW"),
            ("pre is ignored", "preDeploymentSteps", "IGNORE"),
            ("post breaks", "postDeploymentSteps", "ROLLBACK_WORKFLOW"),
        ] {
            let phases = vec![Phase::on("One", EU, vec![section("Deploy", &[mark("First", "one", "")])], vec![
                undoing("Deploy", &[mark("Undo", "undo-one", "")]),
            ])];
            let more = json!({ key: [local("Break", "exit 3")] });
            tree.workflow(name, "CANARY", application(action), phases, more);
        }
    })
    .await?;
    expect(
        &site,
        &[
            ("pre breaks", "FAILED", "", ""),
            ("pre is ignored", "SUCCESS", "one", ""),
            ("post breaks", "FAILED", "one undo-one", "ROLLED_BACK"),
        ],
    )
    .await
}
