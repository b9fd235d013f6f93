//! What a leg's expressions see (`behaviour.md` 12).

use anyhow::Result;
use manifold_testkit::server::string;
use serde_json::json;

use crate::shared::run;
use crate::story::Story;
use crate::tree::{fan_out, phase, rolling, script, script_with, stage, step, with, workflow};

#[test]
fn built_in_values_have_their_names() {
    run(async {
        let story = Story::new("Values").await?;
        let line = "seen ${app.name}|${env.name}|${env.environmentType}|${service.name}|${infra.name}|${infra.cloudProvider.name}|${workflow.name}|${pipeline.name}|${currentStep.name}|${currentStep.type}|${workflow.variables.infrastructure}|${app.defaults.COLOUR}|${deploymentTriggeredBy}";
        let tree = story
            .application()
            .file("Defaults.yaml", json!({ "type": "APPLICATION_DEFAULTS", "defaults": [{ "name": "COLOUR", "value": "blue" }] }))
            .environment("prod", &["eu", "us"])
            .workflow("roll", rolling(&[story.note(line)], &[]))
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "SUCCESS");
        let cause = story
            .execution(&execution, "cause { ... on ExecutedByAPIKey { using apiKey { name } } }")
            .await?;
        assert_eq!(cause["cause"]["using"], "GRAPHQL_API");
        let who = string(&cause, "/cause/apiKey/name")?;
        let seen = |infra: &str| {
            format!("seen Values|prod|PROD|web|{infra}|dc|roll|ship|seen|SHELL_SCRIPT|{infra}|blue|{who}")
        };
        assert_eq!(story.ledger(), [seen("eu"), seen("us")]);
        Ok(())
    });
}

#[test]
fn what_cannot_be_resolved_stays_in_a_script_and_fails_a_setting() {
    run(async {
        let story = Story::new("Unresolved").await?;
        let kept = script(
            "kept",
            &story.noting("kept ${nothing:-fallback} $HOME_OF_NOBODY ${#HOME}").replace("${#HOME}", ""),
        );
        let url = step(
            "HTTP",
            "ping",
            json!({ "method": "GET", "url": "http://${nothing.here}/", "timeoutMillis": 5_000 }),
        );
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", rolling(&[kept, url], &[]))
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let answer = story.answer("ship", &[("infrastructure", "eu")]).await?;
        let told = match string(&answer, "/data/startExecution/execution/id") {
            Ok(execution) => {
                assert_eq!(story.ended(&execution).await?, "FAILED");
                assert_eq!(story.ledger(), ["kept fallback  "]);
                string(&story.execution(&execution, "failureDetails").await?, "/failureDetails")?
            }
            Err(_) => string(&answer, "/errors/0/message")?,
        };
        assert!(told.contains("nothing") && told.contains("URL"), "{told}");
        Ok(())
    });
}

/// Service variable `size`, overridden at every level that the name of the level says.
async fn sizes(name: &str, levels: &[&str]) -> Result<String> {
    let story = Story::new(name).await?;
    let set = |level: &str| levels.contains(&level);
    let overrides = ["all services", "this service"].into_iter().filter(|level| set(level)).map(|level| {
        let entry = json!({ "name": "size", "value": level, "valueType": "TEXT" });
        if level == "this service" { with(entry, json!({ "serviceName": "web" })) } else { entry }
    });
    let environment = json!({ "type": "ENVIRONMENT", "environmentType": "PROD",
        "variableOverrides": overrides.collect::<Vec<_>>() });
    let variables =
        json!({ "configVariables": [{ "name": "size", "value": "service", "valueType": "TEXT" }] });
    let note = story.note("size ${serviceVariable.size} $size");
    let tree = story
        .application()
        .service("web", variables)
        .environment("prod", &["eu"])
        .file("Environments/prod/Index.yaml", environment)
        .workflow("roll", rolling(&[note], &[]))
        .pipeline("ship", &[fan_out("all")]);
    story.tell(tree).await?;
    assert_eq!(story.run("ship", &[("infrastructure", "eu")]).await?.1, "SUCCESS");
    Ok(story.ledger().concat())
}

#[test]
fn overrides_have_their_order() {
    run(async {
        assert!(sizes("Size0", &[]).await?.starts_with("size service"));
        assert!(sizes("Size1", &["all services"]).await?.starts_with("size all services"));
        assert!(sizes("Size2", &["all services", "this service"]).await?.starts_with("size this service"));
        Ok(())
    });
}

#[test]
fn a_value_of_the_pipeline_outweighs_the_workflow_and_defaults_fill_in() {
    run(async {
        let story = Story::new("Precedence").await?;
        let note = story.note("channel ${workflow.variables.channel} ${workflow.variables.colour}");
        let roll = rolling(&[note], &[])
            .variable("channel", json!({ "value": "stable", "allowedValues": "stable,beta" }))
            .variable("colour", json!({ "value": "red", "fixed": true }));
        let in_pipeline = |value: &str| {
            stage("all", "roll", &[("infrastructure", "${infrastructure}"), ("channel", value)])
        };
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", roll)
            .pipeline("default", &[fan_out("all")])
            .pipeline("literal", &[in_pipeline("beta")])
            .pipeline("chosen", &[in_pipeline("${channel}")]);
        story.tell(tree).await?;
        let eu = ("infrastructure", "eu");
        assert_eq!(story.run("default", &[eu]).await?.1, "SUCCESS");
        assert_eq!(story.run("literal", &[eu]).await?.1, "SUCCESS");
        assert_eq!(story.run("chosen", &[eu, ("channel", "beta")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger_in_order(), ["channel stable red", "channel beta red", "channel beta red"]);
        let refusal = story.refused("chosen", &[eu, ("channel", "nightly")]).await?;
        refusal.is("VALUE_NOT_ALLOWED", "channel")?;
        let fixed = story.refusal("workflow", "roll", &[eu, ("colour", "green")]).await?;
        fixed.is("VARIABLE_FIXED", "colour")
    });
}

#[test]
fn the_fan_out_variable_shadows_the_value_of_the_pipeline() {
    run(async {
        let story = Story::new("Shadow").await?;
        let show = step(
            "NOOP",
            "show",
            json!({ "outputs": { "own": "${workflow.variables.infrastructure}" }, "publishAsVar": true,
                "sweepingOutputName": "shown", "sweepingOutputScope": "WORKFLOW" }),
        );
        let tree = story
            .application()
            .environment("prod", &["eu", "us", "ap"])
            .workflow("roll", rolling(&[show, story.note("own ${context.shown.own}")], &[]))
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        assert_eq!(story.run("ship", &[("infrastructure", "eu,us,ap")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["own ap", "own eu", "own us"]);
        Ok(())
    });
}

#[test]
fn outputs_of_a_phase_end_with_it() {
    run(async {
        let story = Story::new("Scopes").await?;
        let publish = |name: &str, scope: &str| {
            script_with(
                name,
                "export it=set",
                json!({ "outputVars": "it", "publishAsVar": true, "sweepingOutputName": name,
                    "sweepingOutputScope": scope }),
            )
        };
        let read = |phase: &str| {
            script(
                phase,
                &format!(
                    "f='${{context.inPhase.it}}'; w='${{context.inWorkflow.it}}'; {}",
                    story.noting(&format!("{phase} $f $w"))
                ),
            )
        };
        let first =
            phase("One", &[publish("inPhase", "PHASE"), publish("inWorkflow", "WORKFLOW"), read("one")]);
        let second = phase("Two", &[read("two")]);
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", workflow(&[first, second]))
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        assert_eq!(story.run("ship", &[("infrastructure", "eu")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["one set set", "two ${context.inPhase.it} set"]);
        Ok(())
    });
}

#[test]
fn a_resumed_pipeline_knows_the_run_it_began_as() {
    run(async {
        let story = Story::new("Chain").await?;
        let healthy = story.file("healthy");
        let roll = rolling(
            &[
                story.note("run ${workflow.pipelineDeploymentUuid} ${workflow.pipelineResumeUuid}"),
                Story::fails_if(&format!("[ ! -e '{}' ]", healthy.display())),
            ],
            &[],
        );
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .workflow("roll", roll)
            .pipeline("ship", &[fan_out("all")]);
        story.tell(tree).await?;
        let (first, status) = story.run("ship", &[("infrastructure", "eu")]).await?;
        assert_eq!(status, "FAILED");
        story.let_go("healthy")?;
        let answer = story.resume(&first, "STAGE 1").await?;
        let second = string(&answer, "/data/resumeExecution/execution/id")?;
        assert_eq!(story.ended(&second).await?, "SUCCESS");
        assert_eq!(
            story.ledger_in_order(),
            [format!("run {first} {first}"), format!("run {second} {first}")]
        );
        Ok(())
    });
}
