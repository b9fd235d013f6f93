use manifold_model::entity::{StageSkip, VariableType};
use manifold_model::request::ExecutionType;
use manifold_plan::{inputs, options};

use crate::world::*;

#[test]
fn s03_s05_s19_s20_inputs_are_one_per_expression_in_order_of_first_use() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.template_expressions.push(template("envId", "env"));
        let mut channel = variable("channel", VariableType::Text);
        channel.value = Some("stable".into());
        workflow.variables.push(channel);
    });
    let mut off = stage("off", "roll", &[("infrastructure", "${never}")]);
    off.skip = StageSkip::Always;
    world.pipeline(vec![
        stage(
            "one",
            "roll",
            &[("infrastructure", "${My_Infra}"), ("channel", "${channel}"), ("env", "${e}")],
        ),
        stage("two", "roll", &[("infrastructure", "${My_Infra}"), ("channel", "beta"), ("env", "${e}")]),
        stage("three", "roll", &[("infrastructure", "eu"), ("env", "prod")]),
        off,
    ]);
    let found = inputs(&world.catalog, &id("ship"), ExecutionType::Pipeline, &[name("e", "test")]).unwrap();
    let rows: Vec<(&str, &str, bool, bool)> = found
        .iter()
        .map(|one| (one.name.as_str(), one.kind.as_str(), one.required, one.allow_multiple_values))
        .collect();
    assert_eq!(
        rows,
        [
            ("My_Infra", "Infrastructure definition", true, true),
            ("channel", "Text", false, false),
            ("e", "Environment", true, false),
        ]
    );
    assert_eq!(found[0].environment, Some(id("test")));
    assert_eq!(found[0].used_in_stages.len(), 2);
    assert_eq!(found[1].default_value.as_deref(), Some("stable"));
}

#[test]
fn s01_s07_why_only_one() {
    let mut world = World::new();
    let why = |world: &World, kind| {
        let entity = id(if kind == ExecutionType::Pipeline { "ship" } else { "roll" });
        inputs(&world.catalog, &entity, kind, &[]).unwrap()[0].why_single.join("; ")
    };
    assert_eq!(why(&world, ExecutionType::Pipeline), "");
    assert!(why(&world, ExecutionType::Workflow).contains("alone"));
    world.edit_workflow(|workflow| workflow.phases.push(phase("Two", "other")));
    assert!(why(&world, ExecutionType::Pipeline).contains("phase Two uses ${other}"));
    world.edit_workflow(|workflow| {
        workflow.phases.truncate(1);
        workflow.phases[0].template_expressions.clear();
        workflow.variables.clear();
    });
    assert!(inputs(&world.catalog, &id("roll"), ExecutionType::Workflow, &[]).unwrap().is_empty());
    assert!(inputs(&world.catalog, &id("none"), ExecutionType::Workflow, &[]).is_err());
}

#[test]
fn s15_options_are_exactly_the_environments_definitions() {
    let mut world = World::new();
    world.infrastructure("prod", "kube", "");
    world.edit_infrastructure("kube", |one| one.deployment_type = "KUBERNETES".into());
    world.edit_infrastructure("us", |one| one.scoped_services = vec!["mail".into()]);
    world.infrastructure("prod", "twin", "e1,e2");
    let ask = |world: &World| {
        world
            .with_facts(|facts| {
                options(&world.catalog, facts, &id("ship"), ExecutionType::Pipeline, "infrastructure", &[])
            })
            .unwrap()
    };
    let found = ask(&world);
    let rows: Vec<(&str, bool, usize)> =
        found.candidates.iter().map(|one| (one.name.as_str(), one.selectable(), one.marks.len())).collect();
    assert_eq!(rows, [("ap", true, 0), ("eu", true, 1), ("twin", true, 1), ("us", false, 0)]);
    assert!(found.multiple);
    assert_eq!(found.candidates[1].marks, ["same target as twin"]);
    world.denied = vec![id("prod")];
    assert!(ask(&world).candidates.iter().all(|one| !one.selectable()));
}

#[test]
fn s15_the_chosen_environment_changes_the_list() {
    let mut world = World::new();
    world.edit_workflow(|workflow| workflow.template_expressions.push(template("envId", "env")));
    world.pipeline(vec![stage("s", "roll", &[("env", "${env}"), ("infrastructure", "${infra}")])]);
    let ask = |variable: &str, given: &[_]| {
        world
            .with_facts(|facts| {
                options(&world.catalog, facts, &id("ship"), ExecutionType::Pipeline, variable, given)
            })
            .unwrap()
            .candidates
            .into_iter()
            .map(|one| one.name)
            .collect::<Vec<_>>()
    };
    assert!(ask("infra", &[]).is_empty());
    assert_eq!(ask("infra", &[name("env", "test")]), ["lab"]);
    assert_eq!(ask("infra", &[by_id("env", "id-prod")]).len(), 3);
    assert_eq!(ask("env", &[]), ["prod", "test"]);
}
