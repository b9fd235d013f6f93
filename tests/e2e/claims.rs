//! The core feature, claim by claim (`behaviour.md` 1). S10, S11, S21 to S23, S27 and S28 are about users, screens and triggers, which come later.

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::string;
use serde_json::{Value, json};

use crate::shared::run;
use crate::story::{Story, pairs};
use crate::tree::{Application, fan_out, phase, rolling, script, stage, workflow};

/// `roll` notes where it deployed and rolls back; `ship` runs it on `${infrastructure}`; `prod` has eu, us and ap.
fn shop(story: &Story) -> Application {
    story
        .application()
        .environment("prod", &["eu", "us", "ap"])
        .workflow("roll", rolling(&[story.note("deploy ${infra.name}")], &[story.note("undo ${infra.name}")]))
        .pipeline("ship", &[fan_out("all")])
}

async fn shop_of(name: &str) -> Result<Story> {
    let story = Story::new(name).await?;
    story.tell(shop(&story)).await?;
    Ok(story)
}

#[test]
fn s01_a_workflow_has_one_target_by_default() {
    run(async {
        let story = Story::new("S01").await?;
        let fixed = workflow(&[phase("Phase 1", &[story.note("deploy ${infra.name}")]).on("us")]);
        story.tell(story.application().environment("prod", &["eu", "us"]).workflow("roll", fixed)).await?;
        assert!(story.inputs("workflow", "roll").await?.is_empty());
        let execution = story.start_alone("roll", &[]).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy us"]);
        assert_eq!(story.executions(true).await?, [execution]);
        Ok(())
    });
}

#[test]
fn s02_one_start_makes_three_executions_of_one_workflow() {
    run(async {
        let story = shop_of("S02").await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us,ap")]).await?;
        assert_eq!(status, "SUCCESS");
        let members = "... on PipelineExecution { memberExecutions { nodes { ... on WorkflowExecution { workflow { id } } } } }";
        let found = story.execution(&execution, members).await?;
        let nodes =
            found.pointer("/memberExecutions/nodes").and_then(Value::as_array).context("no members")?;
        let (_, id) = story.server.ids("S02", "workflow", "roll").await?;
        assert_eq!(nodes.len(), 3);
        assert!(nodes.iter().all(|node| node.pointer("/workflow/id") == Some(&json!(id))));
        let query = "query($n: String!) { applicationByName(name: $n) { workflows(limit: 10) { pageInfo { total } } } }";
        let found = story.server.data_of(query, json!({ "n": "S02" })).await?;
        assert_eq!(found.pointer("/applicationByName/workflows/pageInfo/total"), Some(&json!(1)));
        Ok(())
    });
}

#[test]
fn s03_all_three_parts_of_the_recipe_are_needed() {
    run(async {
        let story = Story::new("S03").await?;
        let fixed = workflow(&[phase("Phase 1", &[story.note("deploy ${infra.name}")]).on("eu")]);
        let tree = shop(&story)
            .workflow("fixed", fixed)
            .pipeline("untemplated", &[stage("all", "fixed", &[])])
            .pipeline("literal", &[stage("all", "roll", &[("infrastructure", "eu")])]);
        story.tell(tree).await?;
        let both = [("infrastructure", "eu,us")];
        story.refused("untemplated", &both).await?.is("MULTIPLE_INFRASTRUCTURES", "infrastructure")?;
        story.refused("literal", &both).await?.is("MULTIPLE_INFRASTRUCTURES", "infrastructure")?;
        story.refusal("workflow", "roll", &both).await?.is("MULTIPLE_INFRASTRUCTURES", "infrastructure")?;
        for pipeline in ["untemplated", "literal"] {
            assert!(story.inputs("pipeline", pipeline).await?.is_empty(), "{pipeline}");
        }
        assert_eq!(story.run("ship", &both).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu", "deploy us"]);
        Ok(())
    });
}

#[test]
fn s04_the_legs_run_at_the_same_time() {
    run(async {
        let story = Story::new("S04").await?;
        let arrive = |name: &str| format!("touch '{}'", story.file(name).display());
        // Each leg waits for the other one's file: one after the other they could not end.
        let rendezvous = format!(
            "{}\nother=us; [ ${{infra.name}} = us ] && other=eu\nfor i in $(seq 600); do [ -e \"{}\"$other ] && exit 0; sleep 0.1; done; exit 9",
            arrive("${infra.name}"),
            story.file("").display(),
        );
        let tree = shop(&story).workflow("roll", rolling(&[script("meet", &rendezvous)], &[]));
        story.tell(tree).await?;
        let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        assert_eq!(status, "SUCCESS");
        let times = "... on PipelineExecution { memberExecutions { nodes { startedAt endedAt } } }";
        let found = story.execution(&execution, times).await?;
        let time = |leg: usize, key: &str| {
            found
                .pointer(&format!("/memberExecutions/nodes/{leg}/{key}"))
                .and_then(Value::as_i64)
                .context("no time")
        };
        assert!(time(0, "startedAt")? <= time(1, "endedAt")? && time(1, "startedAt")? <= time(0, "endedAt")?);
        Ok(())
    });
}

#[test]
fn s05_the_variable_takes_several_and_a_leg_has_one() {
    run(async {
        let story = shop_of("S05").await?;
        let inputs = story.inputs("pipeline", "ship").await?;
        assert_eq!(inputs.len(), 1);
        assert_eq!(inputs[0]["name"], "infrastructure");
        assert_eq!(inputs[0]["type"], "Infrastructure definition");
        assert_eq!(inputs[0]["allowMultipleValues"], true);
        let (execution, _) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        for name in ["eu", "us"] {
            let leg = story.leg(&execution, name).await?;
            let of_leg = "... on WorkflowExecution { inputVariables { name value } }";
            let found = story.execution(&leg.id, of_leg).await?;
            assert_eq!(found["inputVariables"], json!([{ "name": "infrastructure", "value": name }]));
        }
        Ok(())
    });
}

#[test]
fn s06_a_stage_shows_its_members_in_parallel() {
    run(async {
        let story = shop_of("S06").await?;
        let (execution, _) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        let rows = stage_rows(&story, &execution).await?;
        assert_eq!(rows.len(), 2);
        for key in ["pipelineStageElementId", "pipelineStageName", "pipelineStepName"] {
            assert_eq!(rows[0][key], rows[1][key]);
        }
        assert_eq!(rows[0]["pipelineStageName"], "STAGE 1");
        assert_eq!(rows[0]["pipelineStepName"], "all");
        assert_ne!(rows[0]["workflowExecutionId"], rows[1]["workflowExecutionId"]);
        Ok(())
    });
}

async fn stage_rows(story: &Story, execution: &str) -> Result<Vec<Value>> {
    let fields =
        "... on PipelineExecution { pipelineStageExecutions { pipelineStageElementId pipelineStageName
        pipelineStepName ... on WorkflowStageExecution { workflowExecutionId status } } }";
    let found = story.execution(execution, fields).await?;
    found["pipelineStageExecutions"].as_array().cloned().context("no stages")
}

#[test]
fn s07_s17_a_workflow_alone_takes_one_infrastructure() {
    run(async {
        let story = shop_of("S07").await?;
        assert_eq!(story.inputs("workflow", "roll").await?[0]["allowMultipleValues"], false);
        let refusal = story.refusal("workflow", "roll", &[("infrastructure", "eu,us")]).await?;
        refusal.is("MULTIPLE_INFRASTRUCTURES", "infrastructure")?;
        assert!(refusal.message.contains("pipeline"), "{}", refusal.message);
        let execution = story.start_alone("roll", &[("infrastructure", "us")]).await?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy us"]);
        Ok(())
    });
}

#[test]
fn s08_s09_phases_with_one_variable_fan_out_and_with_two_they_do_not() {
    run(async {
        let story = Story::new("S08").await?;
        let canary = |second: &str| {
            workflow(&[
                phase("Canary", &[story.note("canary ${infra.name}")]).on("${InfraA}"),
                phase("Primary", &[story.note("primary ${infra.name}")]).on(second),
            ])
        };
        let two = [("InfraA", "${InfraA}"), ("InfraB", "${InfraB}")];
        let tree = story
            .application()
            .environment("prod", &["eu", "us"])
            .workflow("one", canary("${InfraA}"))
            .workflow("two", canary("${InfraB}"))
            .pipeline("ship one", &[stage("all", "one", &two[..1])])
            .pipeline("ship two", &[stage("all", "two", &two)]);
        story.tell(tree).await?;
        assert_eq!(story.run("ship one", &[("InfraA", "eu,us")]).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["canary eu", "canary us", "primary eu", "primary us"]);
        let refusal = story.refused("ship two", &[("InfraA", "eu,us"), ("InfraB", "eu")]).await?;
        refusal.is("MULTIPLE_INFRASTRUCTURES", "InfraA")?;
        assert!(
            refusal.message.contains("Canary") && refusal.message.contains("Primary"),
            "{}",
            refusal.message
        );
        assert!(
            story.inputs("pipeline", "ship two").await?.iter().all(|one| one["allowMultipleValues"] == false)
        );
        assert_eq!(story.run("ship two", &[("InfraA", "eu"), ("InfraB", "us")]).await?.1, "SUCCESS");
        assert!(story.ledger_in_order().ends_with(&["canary eu".to_owned(), "primary us".to_owned()]));
        Ok(())
    });
}

#[test]
fn s12_the_infrastructures_must_exist() {
    run(async {
        let story = shop_of("S12").await?;
        story.refused("ship", &[("infrastructure", "eu,mars")]).await?.is("INFRASTRUCTURE_UNKNOWN", "mars")
    });
}

#[test]
fn s13_all_must_be_in_one_environment() {
    run(async {
        let story = Story::new("S13").await?;
        story.tell(shop(&story).environment("test", &["lab"])).await?;
        let refusal = story.refused("ship", &[("infrastructure", "eu,lab")]).await?;
        refusal.is("INFRASTRUCTURE_OTHER_ENVIRONMENT", "lab")?;
        let ids = format!(
            "{},{}",
            story.infrastructure("prod", "eu").await?,
            story.infrastructure("test", "lab").await?
        );
        let answer = start_by_id(&story, &ids).await?;
        let refusal = crate::story::Refusal::of(&answer)?;
        assert_eq!(refusal.codes, ["INFRASTRUCTURE_OTHER_ENVIRONMENT"]);
        assert!(story.executions(true).await?.is_empty());
        Ok(())
    });
}

async fn start_by_id(story: &Story, value: &str) -> Result<Value> {
    let (application, pipeline) = story.server.ids(&story.name, "pipeline", "ship").await?;
    let input = json!({ "applicationId": application, "entityId": pipeline, "executionType": "PIPELINE",
        "variableInputs": [{ "name": "infrastructure", "variableValue": { "type": "ID", "value": value } }] });
    story.server.graphql(START, json!({ "i": input })).await
}

const START: &str =
    "mutation($i: StartExecutionInput!) { startExecution(input: $i) { clientMutationId warningMessage
    execution { id status } } }";

/// The environment is chosen at deploy; `prod` has eu and us, `test` has lab and eu.
async fn chosen_environment(name: &str) -> Result<Story> {
    let story = Story::new(name).await?;
    let roll = rolling(&[story.note("deploy ${env.name} ${infra.name}")], &[]).environment("${Environment}");
    let values = [("Environment", "${Environment}"), ("infrastructure", "${infrastructure}")];
    let tree = story
        .application()
        .environment("prod", &["eu", "us"])
        .environment("test", &["lab", "eu"])
        .workflow("roll", roll)
        .pipeline("ship", &[stage("all", "roll", &values)]);
    story.tell(tree).await?;
    Ok(story)
}

#[test]
fn s14_the_environment_is_fixed_or_chosen_but_always_one() {
    run(async {
        let story = chosen_environment("S14").await?;
        let inputs = story.inputs("pipeline", "ship").await?;
        let multiple = |name: &str| {
            inputs.iter().find(|one| one["name"] == name).map(|one| one["allowMultipleValues"].clone())
        };
        assert_eq!(multiple("Environment"), Some(json!(false)));
        assert_eq!(multiple("infrastructure"), Some(json!(true)));
        let both = [("Environment", "test"), ("infrastructure", "lab,eu")];
        assert_eq!(story.run("ship", &both).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy test eu", "deploy test lab"]);
        let two = [("Environment", "test,prod"), ("infrastructure", "eu")];
        let refusal = story.refused("ship", &two).await?;
        assert!(refusal.codes.contains(&"VALUE_SINGLE".to_owned()), "{:?}", refusal.codes);
        Ok(())
    });
}

#[test]
fn s15_the_options_are_those_of_the_environment() {
    run(async {
        let story = chosen_environment("S15").await?;
        assert_eq!(options(&story, &[("Environment", "prod")]).await?, ["eu", "us"]);
        assert_eq!(options(&story, &[("Environment", "test")]).await?, ["eu", "lab"]);
        Ok(())
    });
}

/// Infrastructures that can be chosen.
async fn options(story: &Story, given: &[(&str, &str)]) -> Result<Vec<String>> {
    let (_, pipeline) = story.server.ids(&story.name, "pipeline", "ship").await?;
    let given: Vec<Value> = given
        .iter()
        .map(|(name, value)| json!({ "name": name, "variableValue": { "type": "NAME", "value": value } }))
        .collect();
    let query =
        "query($e: String!, $g: [VariableInput]) { variableOptions(entityId: $e, executionType: PIPELINE,
        variable: \"infrastructure\", variableInputs: $g) { multiple nodes { name selectable } } }";
    let found = story.server.data_of(query, json!({ "e": pipeline, "g": given })).await?;
    assert_eq!(found.pointer("/variableOptions/multiple"), Some(&json!(true)));
    let nodes = found.pointer("/variableOptions/nodes").and_then(Value::as_array).context("no options")?;
    nodes.iter().filter(|one| one["selectable"] == true).map(|one| string(one, "/name")).collect()
}

#[test]
fn s16_a_templated_setting_needs_a_value() {
    run(async {
        let story = shop_of("S16").await?;
        story.refused("ship", &[]).await?.is("VARIABLE_MISSING", "infrastructure")?;
        story.refusal("workflow", "roll", &[]).await?.is("VARIABLE_MISSING", "infrastructure")?;
        assert_eq!(story.inputs("pipeline", "ship").await?[0]["required"], true);
        Ok(())
    });
}

#[test]
fn s18_a_literal_in_the_stage_removes_the_choice() {
    run(async {
        let story = Story::new("S18").await?;
        story
            .tell(shop(&story).pipeline("literal", &[stage("one", "roll", &[("infrastructure", "eu")])]))
            .await?;
        assert!(story.inputs("pipeline", "literal").await?.is_empty());
        assert_eq!(story.inputs("pipeline", "ship").await?.len(), 1);
        let answer = story.answer("literal", &[("infrastructure", "us")]).await?;
        let warning = string(&answer, "/data/startExecution/warningMessage")?;
        assert!(warning.contains("infrastructure"), "{warning}");
        assert_eq!(story.ended(&string(&answer, "/data/startExecution/execution/id")?).await?, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu"]);
        let refusal = story.refused("literal", &[("infrastructure", "eu,us")]).await?;
        refusal.is("MULTIPLE_INFRASTRUCTURES", "infrastructure")
    });
}

#[test]
fn s19_the_name_in_the_stage_is_free() {
    run(async {
        let story = Story::new("S19").await?;
        let regions = stage("all", "roll", &[("infrastructure", "${regions_2}")]);
        story.tell(shop(&story).pipeline("renamed", &[regions])).await?;
        let inputs = story.inputs("pipeline", "renamed").await?;
        assert_eq!(inputs.len(), 1);
        assert_eq!(inputs[0]["name"], "regions_2");
        assert_eq!(inputs[0]["allowMultipleValues"], true);
        let (execution, status) = story.run("renamed", &[("regions_2", "us,ap")]).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("ap", "SUCCESS"), ("us", "SUCCESS")]));
        Ok(())
    });
}

#[test]
fn s20_other_settings_are_templated_the_same_way() {
    run(async {
        let story = Story::new("S20").await?;
        let deploy = story.note("deploy ${service.name} ${infra.name} ${workflow.variables.channel}");
        let roll = workflow(&[phase("Phase 1", &[deploy]).of("${Service}")])
            .variable("channel", json!({ "mandatory": true }));
        let values =
            [("Service", "${Service}"), ("infrastructure", "${infrastructure}"), ("channel", "${channel}")];
        let tree = story
            .application()
            .service("api", json!({}))
            .environment("prod", &["eu", "us"])
            .workflow("roll", roll)
            .pipeline("ship", &[stage("all", "roll", &values)]);
        story.tell(tree).await?;
        let inputs = story.inputs("pipeline", "ship").await?;
        let kind = |name: &str| inputs.iter().find(|one| one["name"] == name).map(|one| one["type"].clone());
        assert_eq!(kind("Service"), Some(json!("Service")));
        assert_eq!(kind("channel"), Some(json!("Text")));
        let given = [("Service", "api"), ("infrastructure", "eu,us"), ("channel", "beta")];
        assert_eq!(story.run("ship", &given).await?.1, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy api eu beta", "deploy api us beta"]);
        let two = [("Service", "api,web"), ("infrastructure", "eu"), ("channel", "beta")];
        story.refused("ship", &two).await?.is("VALUE_SINGLE", "Service")
    });
}

#[test]
fn s24_one_pipeline_execution_is_made() {
    run(async {
        let story = shop_of("S24").await?;
        let answer = story.answer("ship", &[("infrastructure", "eu,us")]).await?;
        let status = string(&answer, "/data/startExecution/execution/status")?;
        assert!(["QUEUED", "RUNNING"].contains(&status.as_str()), "{status}");
        let execution = string(&answer, "/data/startExecution/execution/id")?;
        assert_eq!(execution.len(), 22);
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.executions(false).await?, [execution]);
        assert_eq!(story.executions(true).await?.len(), 3);
        Ok(())
    });
}

#[test]
fn s25_the_client_puts_parallel_legs_in_parentheses() {
    run(async {
        let story = shop_of("S25").await?;
        let deploy = ["deploy", "S25", "ship", "--var", "infrastructure=eu,us", "--watch"];
        let (code, out, err) = story.server.cli(&deploy).await?;
        ensure!(code == 0, "deploy ended with {code}: {out}{err}");
        assert!(format!("{out}{err}").contains("( eu, us )"), "{out}{err}");
        let execution = story.executions(false).await?.remove(0);
        let (code, out, err) = story.server.cli(&["execution", "show", &execution]).await?;
        ensure!(code == 0, "show ended with {code}: {err}");
        assert!(out.contains("( eu, us )"), "{out}");
        Ok(())
    });
}

#[test]
fn s26_each_leg_has_exactly_one_of_the_chosen_infrastructures() {
    run(async {
        let story = shop_of("S26").await?;
        let (execution, _) = story.run("ship", &[("infrastructure", "ap,eu,us")]).await?;
        let all = [("ap", "SUCCESS"), ("eu", "SUCCESS"), ("us", "SUCCESS")];
        assert_eq!(story.outcomes(&execution).await?, pairs(&all));
        for (name, _) in all {
            let leg = story.leg(&execution, name).await?;
            let fields = "... on WorkflowExecution { infrastructure { id name } outcomes { nodes {
                ... on DeploymentOutcome { infrastructureDefinition { id } } } } }";
            let found = story.execution(&leg.id, fields).await?;
            let id = story.infrastructure("prod", name).await?;
            assert_eq!(found["infrastructure"], json!({ "id": id, "name": name }));
            assert_eq!(found["outcomes"]["nodes"].as_array().map(Vec::len), Some(1));
        }
        Ok(())
    });
}

#[test]
fn s29_s30_s32_a_list_of_names_makes_one_leg_each() {
    run(async {
        let story = Story::new("S30").await?;
        let roll = workflow(&[
            phase("Phase 1", &[story.note("deploy ${infra.name}")]).on("${InfraDefinition_Kubernetes}")
        ]);
        let value = [("InfraDefinition_Kubernetes", "${InfraDefinition_Kubernetes}")];
        let tree = story
            .application()
            .environment("prod", &["k8s1", "k8s2", "k8s3"])
            .workflow("roll", roll)
            .pipeline("ship", &[stage("all", "roll", &value)]);
        story.tell(tree).await?;
        let (application, pipeline) = story.server.ids("S30", "pipeline", "ship").await?;
        // As the documentation writes it: a literal, one object where a list is declared.
        let query = format!(
            "mutation {{ startExecution(input: {{ applicationId: \"{application}\" entityId: \"{pipeline}\"
              executionType: PIPELINE clientMutationId: \"s30\"
              variableInputs: {{ name: \"InfraDefinition_Kubernetes\" variableValue: {{ type: NAME value: \"k8s1,k8s2\" }} }}
            }}) {{ clientMutationId execution {{ id status }} }} }}"
        );
        let started = story.server.data_of(&query, Value::Null).await?;
        assert_eq!(started.pointer("/startExecution/clientMutationId"), Some(&json!("s30")));
        let execution = string(&started, "/startExecution/execution/id")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("k8s1", "SUCCESS"), ("k8s2", "SUCCESS")]));
        assert_eq!(story.ledger(), ["deploy k8s1", "deploy k8s2"]);
        Ok(())
    });
}

#[test]
fn s31_a_list_of_ids_makes_one_leg_each() {
    run(async {
        let story = shop_of("S31").await?;
        let (eu, us) = (story.infrastructure("prod", "eu").await?, story.infrastructure("prod", "us").await?);
        let mixed = start_by_id(&story, &format!("{eu},us")).await?;
        crate::story::Refusal::of(&mixed)?.is("INFRASTRUCTURE_UNKNOWN", "us")?;
        story
            .refused("ship", &[("infrastructure", &format!("{eu},us"))])
            .await?
            .is("INFRASTRUCTURE_UNKNOWN", &eu)?;
        assert!(story.executions(true).await?.is_empty());
        let started = start_by_id(&story, &format!("{eu},{us}")).await?;
        let execution = string(&started, "/data/startExecution/execution/id")?;
        assert_eq!(story.ended(&execution).await?, "SUCCESS");
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "SUCCESS"), ("us", "SUCCESS")]));
        Ok(())
    });
}

#[test]
fn s33_the_legs_are_distinct_executions_of_the_same_workflow() {
    run(async {
        let story = shop_of("S33").await?;
        let (execution, _) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
        let (eu, us) = (story.leg(&execution, "eu").await?, story.leg(&execution, "us").await?);
        assert_ne!(eu.id, us.id);
        let fields = "... on WorkflowExecution { workflow { id name } cause { ... on ExecutedAlongPipeline { execution { id } } } }";
        let (one, other) = (story.execution(&eu.id, fields).await?, story.execution(&us.id, fields).await?);
        assert_eq!(one, other);
        assert_eq!(one["cause"]["execution"]["id"], json!(execution));
        Ok(())
    });
}

/// The check of `roll` fails on eu; what happens then is for the strategy to say.
async fn failing(name: &str, strategy: &str) -> Result<(Story, String, String)> {
    let story = Story::new(name).await?;
    let steps = [
        story.note("deploy ${infra.name}"),
        Story::fails_if("[ ${infra.name} = eu ]"),
        story.note("done ${infra.name}"),
    ];
    let roll = rolling(&steps, &[story.note("undo ${infra.name}")]).on_failure(strategy);
    let tree = story
        .application()
        .environment("prod", &["eu", "us"])
        .workflow("roll", roll)
        .workflow("report", workflow(&[phase("Phase 1", &[story.note("report")]).on("us")]))
        .pipeline("ship", &[fan_out("all"), stage("after", "report", &[])]);
    story.tell(tree).await?;
    let (execution, status) = story.run("ship", &[("infrastructure", "eu,us")]).await?;
    Ok((story, execution, status))
}

#[test]
fn s34_s36_only_the_failed_leg_rolls_back() {
    run(async {
        let (story, execution, _) = failing("S34", "ROLLBACK_WORKFLOW").await?;
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "done us", "undo eu"]);
        assert_eq!(story.outcomes(&execution).await?, pairs(&[("eu", "FAILED"), ("us", "SUCCESS")]));
        let rollback = "... on WorkflowExecution { rollback failureDetails }";
        let failed = story.execution(&story.leg(&execution, "eu").await?.id, rollback).await?;
        assert_eq!(failed["rollback"], "ROLLED_BACK");
        assert!(string(&failed, "/failureDetails")?.contains("check"), "{failed}");
        let kept = story.execution(&story.leg(&execution, "us").await?.id, rollback).await?;
        assert_eq!(kept, json!({ "rollback": null, "failureDetails": null }));
        Ok(())
    });
}

#[test]
fn s35_the_failed_leg_obeys_its_own_strategy() {
    run(async {
        let cases = [
            ("ROLLBACK_WORKFLOW", "FAILED", "FAILED", vec!["deploy eu", "deploy us", "done us", "undo eu"]),
            ("IGNORE", "SUCCESS", "SUCCESS", vec!["deploy eu", "deploy us", "done eu", "done us", "report"]),
            ("ABORT_WORKFLOW_EXECUTION", "ABORTED", "ABORTED", vec!["deploy eu", "deploy us", "done us"]),
        ];
        for (strategy, of_leg, of_pipeline, ledger) in cases {
            let (story, execution, status) = failing(&format!("S35 {strategy}"), strategy).await?;
            assert_eq!(status, of_pipeline, "{strategy}");
            assert_eq!(story.leg(&execution, "eu").await?.status, of_leg, "{strategy}");
            assert_eq!(story.leg(&execution, "us").await?.status, "SUCCESS", "{strategy}");
            assert_eq!(story.ledger(), ledger, "{strategy}");
        }
        Ok(())
    });
}

#[test]
fn s37_a_failed_leg_fails_stage_and_pipeline_and_ends_it_there() {
    run(async {
        let (story, execution, status) = failing("S37", "ROLLBACK_WORKFLOW").await?;
        assert_eq!(status, "FAILED");
        let rows = stage_rows(&story, &execution).await?;
        let of = |name: &str| -> Vec<&Value> {
            rows.iter().filter(|row| row["pipelineStepName"] == name).collect()
        };
        assert_eq!(of("all").len(), 2);
        assert!(of("after").iter().all(|row| row["workflowExecutionId"].is_null()), "{rows:?}");
        assert!(!story.ledger().contains(&"report".to_owned()));
        let found = story.execution(&execution, "failureDetails").await?;
        assert!(!string(&found, "/failureDetails")?.is_empty());
        Ok(())
    });
}

#[test]
fn s38_one_edit_changes_the_next_run_on_all_infrastructures() {
    run(async {
        let story = shop_of("S38").await?;
        let both = [("infrastructure", "eu,us")];
        story.run("ship", &both).await?;
        let edited = rolling(&[story.note("release ${infra.name}")], &[]);
        story.tell(shop(&story).workflow("roll", edited)).await?;
        story.run("ship", &both).await?;
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "release eu", "release us"]);
        Ok(())
    });
}

#[test]
fn s39_several_stages_of_a_pipeline_fan_out() {
    run(async {
        let story = Story::new("S39").await?;
        let second = workflow(&[phase("Phase 1", &[story.note("verify ${infra.name}")]).on("${InfraB}")]);
        let tree = shop(&story)
            .workflow("verify", second)
            .pipeline("ship", &[fan_out("deploy"), stage("verify", "verify", &[("InfraB", "${InfraB}")])]);
        story.tell(tree).await?;
        let given = [("infrastructure", "eu,us"), ("InfraB", "us,ap")];
        let (execution, status) = story.run("ship", &given).await?;
        assert_eq!(status, "SUCCESS");
        assert_eq!(story.ledger(), ["deploy eu", "deploy us", "verify ap", "verify us"]);
        let order = story.ledger_in_order();
        assert!(order[..2].iter().all(|line| line.starts_with("deploy")), "{order:?}");
        assert_eq!(stage_rows(&story, &execution).await?.len(), 4);
        Ok(())
    });
}
