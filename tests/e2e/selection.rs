//! What may stand in the list of infrastructures, and what is refused by name (`behaviour.md` 4, 24.2).

use anyhow::Result;
use serde_json::json;

use crate::shared::run;
use crate::story::{Story, pairs};
use crate::tree::{Application, fan_out, phase, rolling, stage, with, workflow};

fn shop(story: &Story) -> Application {
    story
        .application()
        .environment("prod", &["eu", "us", "ap"])
        .workflow("roll", rolling(&[story.note("deploy ${infra.name}")], &[]))
        .pipeline("ship", &[fan_out("all")])
}

async fn shop_of(name: &str) -> Result<Story> {
    let story = Story::new(name).await?;
    story.tell(shop(&story)).await?;
    Ok(story)
}

#[test]
fn an_unknown_name_in_the_middle_refuses_all() {
    run(async {
        let story = shop_of("Unknown").await?;
        let refusal = story.refused("ship", &[("infrastructure", "eu,nowhere,us")]).await?;
        refusal.is("INFRASTRUCTURE_UNKNOWN", "nowhere")
    });
}

#[test]
fn a_comma_with_nothing_beside_it_is_refused() {
    run(async {
        let story = shop_of("Comma").await?;
        for list in ["eu,us,", ",eu", "eu,,us", "eu, ,us"] {
            let refusal = story.refused("ship", &[("infrastructure", list)]).await?;
            refusal.is("LIST_ITEM_EMPTY", "infrastructure")?;
        }
        Ok(())
    });
}

#[test]
fn blanks_around_a_comma_do_not_count() {
    run(async {
        let story = shop_of("Blanks").await?;
        let (execution, status) = story.run("ship", &[("infrastructure", " eu ,  us")]).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "SUCCESS"), ("us", "SUCCESS")]));
        Ok(())
    });
}

#[test]
fn a_duplicate_is_refused_by_name() {
    run(async {
        let story = shop_of("Duplicate").await?;
        let refusal = story.refused("ship", &[("infrastructure", "eu,us,eu")]).await?;
        refusal.is("INFRASTRUCTURE_DUPLICATE", "eu")
    });
}

#[test]
fn another_deployment_type_and_another_service_are_refused_by_name() {
    run(async {
        let story = Story::new("Misfits").await?;
        let kubernetes = json!({ "cloudProviderType": "KUBERNETES_CLUSTER", "deploymentType": "KUBERNETES",
            "infrastructure": [{ "type": "DIRECT_KUBERNETES", "cloudProviderName": "cluster", "namespace": "web",
                "releaseName": "web" }] });
        let tree = shop(&story)
            .account_file(
                "Cloud Providers/cluster.yaml",
                json!({ "type": "KUBERNETES_CLUSTER", "skipValidation": true }),
            )
            .service("api", json!({}))
            .infrastructure("prod", "pods", kubernetes)
            .infrastructure("prod", "reserved", json!({ "scopedServices": ["api"] }))
            .infrastructure("prod", "shared", json!({ "scopedServices": ["api", "web"] }));
        story.tell(tree).await?;
        let refused = story.refused("ship", &[("infrastructure", "eu,pods")]).await?;
        refused.is("INFRASTRUCTURE_WRONG_TYPE", "pods")?;
        let refused = story.refused("ship", &[("infrastructure", "reserved,eu")]).await?;
        refused.is("INFRASTRUCTURE_OUT_OF_SCOPE", "reserved")?;
        assert_eq!(story.run("ship", &[("infrastructure", "eu,shared")]).await?.1, "SUCCESS");
        Ok(())
    });
}

#[test]
fn every_reason_is_told_at_once() {
    run(async {
        let story = shop_of("Reasons").await?;
        let refusal = story.refused("ship", &[("infrastructure", "mars,eu,eu,venus")]).await?;
        let mut items = refusal.items;
        items.sort();
        assert_eq!(items, ["eu", "mars", "venus"]);
        Ok(())
    });
}

#[test]
fn the_environment_decides_where_names_are_looked_up() {
    run(async {
        let story = Story::new("Changed").await?;
        let roll =
            rolling(&[story.note("deploy ${env.name} ${infra.name}")], &[]).environment("${Environment}");
        let values = [("Environment", "${Environment}"), ("infrastructure", "${infrastructure}")];
        let tree = story
            .application()
            .environment("prod", &["eu", "us"])
            .environment("test", &["lab"])
            .workflow("roll", roll)
            .pipeline("ship", &[stage("all", "roll", &values)]);
        story.tell(tree).await?;
        // Chosen for prod, then the environment was changed.
        let refusal = story.refused("ship", &[("Environment", "test"), ("infrastructure", "eu,us")]).await?;
        assert_eq!(refusal.codes, ["INFRASTRUCTURE_OTHER_ENVIRONMENT"; 2]);
        let alone = [("Environment", "test"), ("infrastructure", "lab")];
        let execution = story.start_alone("roll", &alone).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy test lab"]);
        Ok(())
    });
}

#[test]
fn a_second_environment_expression_is_refused() {
    run(async {
        let story = Story::new("Environments").await?;
        let roll = rolling(&[story.note("deploy ${infra.name}")], &[]).environment("${Environment}");
        let in_environment = |name: &str| {
            stage(
                name,
                "roll",
                &[("Environment", &format!("${{{name}}}")), ("infrastructure", "${infrastructure}")],
            )
        };
        let tree = story
            .application()
            .environment("prod", &["eu"])
            .environment("test", &["eu"])
            .workflow("roll", roll)
            .pipeline("ship", &[in_environment("first"), in_environment("second")])
            .pipeline(
                "literals",
                &[
                    stage("a", "roll", &[("Environment", "test"), ("infrastructure", "eu")]),
                    stage("b", "roll", &[("Environment", "prod"), ("infrastructure", "eu")]),
                ],
            );
        story.tell(tree).await?;
        let given = [("first", "prod"), ("second", "test"), ("infrastructure", "eu")];
        let refusal = story.refused("ship", &given).await?;
        assert!(refusal.codes.contains(&"ENVIRONMENT_EXPRESSIONS".to_owned()), "{:?}", refusal.codes);
        assert_eq!(story.run("literals", &[]).await?.1, "SUCCESS");
        Ok(())
    });
}

#[test]
fn a_name_with_a_comma_is_reached_by_its_id_only() {
    run(async {
        let story = Story::new("Names").await?;
        story.tell(shop(&story).infrastructure("prod", "eu (west), new", json!({}))).await?;
        story.refused("ship", &[("infrastructure", "eu (west), new")]).await?;
        let id = story.infrastructure("prod", "eu (west), new").await?;
        let (application, pipeline) = story.server.ids("Names", "pipeline", "ship").await?;
        let input = json!({ "applicationId": application, "entityId": pipeline, "executionType": "PIPELINE",
            "variableInputs": { "name": "infrastructure", "variableValue": { "type": "ID", "value": id } } });
        let query = "mutation($i: StartExecutionInput!) { startExecution(input: $i) { execution { id } } }";
        let started = story.server.data_of(query, json!({ "i": input })).await?;
        let execution = started["startExecution"]["execution"]["id"].as_str().unwrap_or_default().to_owned();
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu (west), new"]);
        Ok(())
    });
}

#[test]
fn one_variable_in_two_stages_fans_out_in_both() {
    run(async {
        let story = Story::new("Twice").await?;
        let check = workflow(&[phase("Phase 1", &[story.note("check ${infra.name}")])]);
        let stages = [fan_out("deploy"), stage("check", "check", &[("infrastructure", "${infrastructure}")])];
        story.tell(shop(&story).workflow("check", check).pipeline("ship", &stages)).await?;
        assert_eq!(story.inputs("pipeline", "ship").await?.len(), 1);
        assert_eq!(story.run("ship", &[("infrastructure", "us,eu")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["check eu", "check us", "deploy eu", "deploy us"]);
        Ok(())
    });
}

#[test]
fn two_variables_in_two_stages_are_two_choices() {
    run(async {
        let story = Story::new("Choices").await?;
        let in_stage = |name: &str| stage(name, "roll", &[("infrastructure", &format!("${{infra_{name}}}"))]);
        let roll = rolling(&[story.note("deploy ${infra.name} ${workflow.variables.infrastructure}")], &[]);
        story
            .tell(shop(&story).workflow("roll", roll).pipeline("ship", &[in_stage("one"), in_stage("two")]))
            .await?;
        assert_eq!(story.inputs("pipeline", "ship").await?.len(), 2);
        story.refused("ship", &[("infra_one", "eu,us")]).await?.is("VARIABLE_MISSING", "infra_two")?;
        assert_eq!(story.run("ship", &[("infra_one", "eu"), ("infra_two", "us,ap")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy ap ap", "deploy eu eu", "deploy us us"]);
        Ok(())
    });
}

#[test]
fn a_stage_that_is_always_skipped_asks_for_nothing() {
    run(async {
        let story = Story::new("Never").await?;
        let never = with(
            stage("never", "roll", &[("infrastructure", "${infra_never}")]),
            json!({ "skipCondition": { "type": "ALWAYS_SKIP" } }),
        );
        story.tell(shop(&story).pipeline("ship", &[never, fan_out("all")])).await?;
        let inputs = story.inputs("pipeline", "ship").await?;
        assert!(
            inputs.iter().all(|one| one["name"] == "infrastructure" || one["required"] == false),
            "{inputs:?}"
        );
        assert_eq!(story.run("ship", &[("infrastructure", "eu")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu"]);
        Ok(())
    });
}

#[test]
fn a_stage_with_runtime_inputs_is_refused_by_name() {
    run(async {
        let story = Story::new("Runtime").await?;
        let asks = with(
            stage("asks later", "roll", &[("infrastructure", "${infrastructure}")]),
            json!({ "runtimeInputs": { "runtimeInputVariables": ["infrastructure"], "timeout": 60_000,
                "timeoutAction": "END_EXECUTION", "userGroupNames": ["Account Administrator"] } }),
        );
        story.tell(shop(&story).pipeline("ship", &[asks])).await?;
        let refusal = story.refused("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(refusal.codes, ["RUNTIME_INPUT_UNSUPPORTED"]);
        assert!(refusal.message.contains("asks later"), "{}", refusal.message);
        Ok(())
    });
}

#[test]
fn an_unknown_kind_of_step_is_refused_by_name_in_rollback_phases_too() {
    run(async {
        let story = Story::new("Kinds").await?;
        let email = crate::tree::step("EMAIL", "tell everybody", json!({ "toAddress": "a@b.test" }));
        let tree = shop(&story)
            .workflow("roll", rolling(&[story.note("deploy ${infra.name}")], std::slice::from_ref(&email)));
        story.tell(tree).await?;
        let refusal = story.refused("ship", &[("infrastructure", "eu,us")]).await?;
        assert!(
            refusal.message.contains("tell everybody") && refusal.message.contains("EMAIL"),
            "{}",
            refusal.message
        );
        Ok(())
    });
}
