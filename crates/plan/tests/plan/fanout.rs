use manifold_model::entity::StageSkip;
use manifold_model::plan::PhaseInfrastructure;

use crate::world::*;

#[test]
fn s02_s05_s30_a_list_of_names_makes_a_leg_each_in_the_order_asked_for() {
    let plan = World::new().ship(&[name("infrastructure", "us, eu ,ap")]).unwrap();
    assert_eq!(legs(&plan, 0), ["us", "eu", "ap"]);
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    assert_eq!(fleet.fan_out.as_deref(), Some("infrastructure"));
    assert!(fleet.variables.is_empty(), "D12: the fan-out variable is each leg's own");
    assert_eq!(fleet.phases[0].infrastructure, PhaseInfrastructure::Leg);
    assert_eq!((plan.workflows.len(), plan.legs(), plan.catalog_revision), (1, 3, 5));
    assert!(plan.warnings.is_empty());
}

#[test]
fn s31_a_list_of_ids_works_and_a_name_under_id_does_not() {
    let world = World::new();
    assert_eq!(legs(&world.ship(&[by_id("infrastructure", "id-eu,id-us")]).unwrap(), 0), ["eu", "us"]);
    let problems =
        refused(world.ship(&[by_id("infrastructure", "id-eu,us")]), &[("INFRASTRUCTURE_UNKNOWN", "us")]);
    assert!(problems[0].hint.as_ref().unwrap().contains("type NAME"));
    let problems =
        refused(world.ship(&[name("infrastructure", "eu,id-us")]), &[("INFRASTRUCTURE_UNKNOWN", "id-us")]);
    assert!(problems[0].hint.as_ref().unwrap().contains("type ID"));
}

#[test]
fn s12_s13_d4_d5_every_bad_item_of_a_list_is_named() {
    let world = World::new();
    refused(
        world.ship(&[name("infrastructure", "eu,nowhere,lab,,eu,")]),
        &[
            ("INFRASTRUCTURE_DUPLICATE", "eu"),
            ("INFRASTRUCTURE_OTHER_ENVIRONMENT", "lab"),
            ("INFRASTRUCTURE_UNKNOWN", "nowhere"),
            ("LIST_ITEM_EMPTY", "infrastructure"),
            ("LIST_ITEM_EMPTY", "infrastructure"),
        ],
    );
    refused(
        world.ship(&[by_id("infrastructure", "id-eu,id-lab")]),
        &[("INFRASTRUCTURE_OTHER_ENVIRONMENT", "id-lab")],
    );
}

#[test]
fn d4_a_name_with_a_comma_is_reachable_by_id_only() {
    let mut world = World::new();
    world.infrastructure("prod", "a,b", "h1");
    refused(
        world.ship(&[name("infrastructure", "a,b")]),
        &[("INFRASTRUCTURE_UNKNOWN", "a"), ("INFRASTRUCTURE_UNKNOWN", "b")],
    );
    world.catalog.infrastructures.remove(&id("a,b"));
    world.infrastructure("prod", "plain", "h1");
    world.edit_infrastructure("plain", |one| one.name = "a,b".into());
    world.catalog.index();
    assert_eq!(legs(&world.ship(&[by_id("infrastructure", "id-plain")]).unwrap(), 0), ["a,b"]);
}

#[test]
fn d6_more_infrastructures_than_allowed_are_refused() {
    let mut world = World::new();
    world.max_legs = 2;
    refused(world.ship(&[name("infrastructure", "eu,us,ap")]), &[("TOO_MANY_LEGS", "infrastructure")]);
    assert!(world.ship(&[name("infrastructure", "eu,us")]).is_ok());
}

#[test]
fn s07_s17_a_workflow_alone_takes_one() {
    let world = World::new();
    let problems = refused(
        world.roll(&[name("infrastructure", "eu,us")]),
        &[("MULTIPLE_INFRASTRUCTURES", "infrastructure")],
    );
    assert!(problems[0].message.contains("alone"));
    let plan = world.roll(&[name("infrastructure", "us")]).unwrap();
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    assert_eq!((legs(&plan, 0), fleet.fan_out), (vec!["us".to_owned()], None));
    assert_eq!(fleet.variables["infrastructure"], "us", "D13: entities are names");
    assert!(matches!(fleet.phases[0].infrastructure, PhaseInfrastructure::Fixed(_)));
}

#[test]
fn s08_d1_phases_of_one_variable_fan_out_and_of_two_do_not() {
    let mut world = World::new();
    world.edit_workflow(|workflow| workflow.phases.push(phase("Two", "infrastructure")));
    assert_eq!(world.ship(&[name("infrastructure", "eu,us")]).unwrap().legs(), 2);

    world.edit_workflow(|workflow| workflow.phases[1] = phase("Two", "other"));
    world.pipeline(vec![stage("s", "roll", &[("infrastructure", "${a}"), ("other", "${b}")])]);
    let problems =
        refused(world.ship(&[name("a", "eu,us"), name("b", "ap")]), &[("MULTIPLE_INFRASTRUCTURES", "a")]);
    assert!(problems[0].message.contains("phase One uses ${infrastructure}, phase Two uses ${other}"));
    let plan = world.ship(&[name("a", "eu"), name("b", "ap")]).unwrap();
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    assert_eq!((plan.legs(), fleet.phases.len(), fleet.fan_out), (1, 2, None));
    assert_ne!(fleet.phases[0].infrastructure, fleet.phases[1].infrastructure);
}

#[test]
fn s18_a_literal_stage_value_is_no_input() {
    let mut world = World::new();
    world.pipeline(vec![stage("pilot", "roll", &[("infrastructure", "eu")])]);
    let plan = world.ship(&[name("infrastructure", "us")]).unwrap();
    assert_eq!(legs(&plan, 0), ["eu"]);
    assert_eq!(codes(&plan.warnings), [("STAGE_VALUE_LITERAL".into(), "infrastructure".into())]);
    let problems = refused(
        world.ship(&[name("infrastructure", "us,ap")]),
        &[("MULTIPLE_INFRASTRUCTURES", "infrastructure")],
    );
    assert!(problems[0].message.contains("pilot"));
}

#[test]
fn s39_several_stages_fan_out_by_one_or_two_variables() {
    let mut world = World::new();
    world.pipeline(vec![
        stage("one", "roll", &[("infrastructure", "${infra}")]),
        stage("two", "roll", &[("infrastructure", "${infra}")]),
        stage("three", "roll", &[("infrastructure", "${more}")]),
    ]);
    let plan = world.ship(&[name("infra", "eu,us"), name("more", "ap")]).unwrap();
    assert_eq!(
        (legs(&plan, 0), legs(&plan, 1).len(), legs(&plan, 2).len()),
        (vec!["eu".into(), "us".into()], 2, 1)
    );
    assert_eq!(plan.workflows.len(), 1);
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["STAGE 1", "STAGE 2", "STAGE 3"]);
    assert_ne!(plan.stages[0].elements[0].id, plan.stages[1].elements[0].id);
}

#[test]
fn s14_the_environment_may_be_chosen_but_only_one() {
    let mut world = World::new();
    world.edit_workflow(|workflow| workflow.template_expressions.push(template("envId", "env")));
    world.pipeline(vec![stage("s", "roll", &[("env", "${env}"), ("infrastructure", "${infra}")])]);
    assert_eq!(legs(&world.ship(&[name("env", "test"), name("infra", "lab")]).unwrap(), 0), ["lab"]);
    assert!(world.ship(&[by_id("env", "id-prod"), name("infra", "eu")]).is_ok());
    refused(world.ship(&[name("env", "prod,test"), name("infra", "eu")]), &[("VALUE_SINGLE", "env")]);
    refused(
        world.ship(&[name("env", "test"), name("infra", "eu")]),
        &[("INFRASTRUCTURE_OTHER_ENVIRONMENT", "eu")],
    );
    refused(world.ship(&[name("env", "mars"), name("infra", "eu")]), &[("ENVIRONMENT_UNKNOWN", "mars")]);
}

#[test]
fn d24_two_environment_expressions_are_refused_and_literals_may_differ() {
    let mut world = World::new();
    world.edit_workflow(|workflow| workflow.template_expressions.push(template("envId", "env")));
    let stages = |one: &str, two: &str| {
        vec![
            stage("a", "roll", &[("env", one), ("infrastructure", "${x}")]),
            stage("b", "roll", &[("env", two), ("infrastructure", "${y}")]),
        ]
    };
    world.pipeline(stages("${e}", "${f}"));
    let given = [name("e", "prod"), name("f", "test"), name("x", "eu"), name("y", "lab")];
    refused(world.ship(&given), &[("ENVIRONMENT_EXPRESSIONS", "e, f")]);
    world.pipeline(stages("prod", "test"));
    assert!(world.ship(&given[2..]).is_ok());
    world.pipeline(stages("${e}", "test"));
    assert!(world.ship(&[given[0].clone(), given[2].clone(), given[3].clone()]).is_ok());
}

#[test]
fn wrong_type_and_scope_are_refused_by_item() {
    let mut world = World::new();
    world.edit_infrastructure("us", |one| one.deployment_type = "KUBERNETES".into());
    world.edit_infrastructure("ap", |one| one.scoped_services = vec!["mail".into()]);
    refused(
        world.ship(&[name("infrastructure", "eu,us,ap")]),
        &[("INFRASTRUCTURE_OUT_OF_SCOPE", "ap"), ("INFRASTRUCTURE_WRONG_TYPE", "us")],
    );
}

#[test]
fn s10_d2_without_permission_nothing_starts() {
    let mut world = World::new();
    world.denied = vec![id("prod")];
    refused(world.ship(&[name("infrastructure", "eu,us")]), &[("DEPLOYMENT_NOT_ALLOWED", "prod")]);
}

#[test]
fn skip_always_takes_a_stage_and_its_variables_out() {
    let mut world = World::new();
    let mut skipped = stage("off", "roll", &[("infrastructure", "${gone}")]);
    skipped.skip = StageSkip::Always;
    skipped.runtime_inputs = vec!["infrastructure".into()];
    world.pipeline(vec![skipped, stage("on", "roll", &[("infrastructure", "${infra}")])]);
    let plan = world.ship(&[name("infra", "eu")]).unwrap();
    assert!(plan.stages[0].elements[0].fleet.is_none());
    assert_eq!(plan.legs(), 1);
}

#[test]
fn s03_without_a_templated_setting_several_are_refused() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.variables.clear();
        workflow.phases[0].template_expressions.clear();
    });
    world.pipeline(vec![stage("s", "roll", &[])]);
    let several = [name("infrastructure", "eu,us")];
    refused(world.ship(&several), &[("MULTIPLE_INFRASTRUCTURES", "infrastructure")]);
    refused(world.roll(&several), &[("MULTIPLE_INFRASTRUCTURES", "infrastructure")]);
    let plan = world.ship(&[name("infrastructure", "us")]).unwrap();
    assert_eq!(codes(&plan.warnings), [("VARIABLE_UNUSED".into(), "infrastructure".into())]);
    assert_eq!(legs(&plan, 0), ["eu"], "S01: the setting of the workflow");
}

#[test]
fn templates_of_the_workflow_count_for_single_phase_types_and_old_names_are_read() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.kind = manifold_model::entity::WorkflowType::Rolling;
        workflow.phases[0].template_expressions.clear();
        workflow.template_expressions = vec![template("infraMappingId", "infrastructure")];
    });
    assert_eq!(world.ship(&[name("infrastructure", "eu,us")]).unwrap().legs(), 2);
    world.edit_workflow(|workflow| {
        workflow.template_expressions.clear();
        workflow.phases[0].infrastructure_name = Some("${workflow.variables.infrastructure}".into());
    });
    assert_eq!(world.ship(&[name("infrastructure", "eu,us")]).unwrap().legs(), 2);
}
