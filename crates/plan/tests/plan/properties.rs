use manifold_model::entity::VariableType;
use manifold_model::request::{ExecutionType, ValueKind, VariableInput};
use manifold_plan::{artifact_needs, inputs, options};
use proptest::prelude::*;

use crate::world::*;

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![
                Just("eu".to_owned()),
                Just("us".to_owned()),
                Just("id-eu".to_owned()),
                Just("lab".to_owned()),
                Just("${x}".to_owned()),
                Just("${".to_owned()),
                Just(String::new()),
                "\\PC{0,6}",
            ],
            0..5
        )
        .prop_map(|items| items.join(",")),
        ".{0,20}",
    ]
}

fn input() -> impl Strategy<Value = VariableInput> {
    let names = prop_oneof![Just("infrastructure".to_owned()), Just("count".to_owned()), ".{0,5}"];
    let kinds = prop_oneof![Just(ValueKind::Name), Just(ValueKind::Id), Just(ValueKind::Expression)];
    (names, kinds, value()).prop_map(|(name, kind, value)| VariableInput { name, kind, value })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is given and whatever a stage holds: no panic, the same answer twice, and a plan has legs that differ.
    #[test]
    fn planning_never_panics_and_always_says_the_same(
        given in proptest::collection::vec(input(), 0..4),
        written in value(),
        open in any::<bool>(),
        alone in any::<bool>(),
    ) {
        let mut world = World::new();
        world.edit_workflow(|workflow| workflow.variables.push(variable("count", VariableType::Number)));
        let written = if open { "${infrastructure}".to_owned() } else { written };
        world.pipeline(vec![stage("s", "roll", &[("infrastructure", &written), ("count", "${count}")])]);
        let kind = if alone { ExecutionType::Workflow } else { ExecutionType::Pipeline };
        let request = world.request(kind, &given);
        let first = world.plan(&request);
        prop_assert_eq!(&first, &world.plan(&request));
        match first {
            Ok(plan) => {
                let names = legs(&plan, 0);
                let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
                prop_assert!(!names.is_empty() && distinct.len() == names.len());
                let text = serde_json::to_string(&plan).unwrap();
                prop_assert_eq!(serde_json::from_str::<manifold_model::plan::Plan>(&text).unwrap(), plan);
            }
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
        let entity = &request.entity;
        prop_assert!(inputs(&world.catalog, entity, kind, &given).is_ok());
        prop_assert!(world.with_facts(|facts| artifact_needs(&world.catalog, facts, entity, kind, &given)).is_ok());
        let _ = world.with_facts(|facts| options(&world.catalog, facts, entity, kind, "infrastructure", &given));
    }
}
