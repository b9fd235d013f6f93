//! P10: planning, from request to frozen plan. The ratio to the time for a tenth of the legs is near 10 when planning is linear.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use manifold_model::EntityId;
use manifold_model::catalog::Catalog;
use manifold_model::entity::{
    Application, Environment, EnvironmentType, InfrastructureDefinition, Phase, Pipeline, PipelineElement,
    Section, Service, StageSkip, StageVariable, Step, TemplateExpression, Workflow, WorkflowType,
};
use manifold_model::kind::{ANYWHERE, Class, KindName, KindSpec, Player};
use manifold_model::request::{ExecutionType, StartRequest, ValueKind, VariableInput};
use manifold_plan::{Facts, plan};
use serde_json::{Map, Value, json};

use crate::report::{self, ROUNDS, figure};

/// Measures and prints.
pub fn measure() -> Result<()> {
    report::head("plan: request to frozen plan (P10)");
    let mut before: Option<f64> = None;
    for legs in [100, 1_000, 10_000] {
        let (catalog, request, kinds) = (catalog(legs), request(legs), kinds());
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(report::ms(once(&request, &catalog, &Facts::new(&kinds), legs)?));
        }
        let time = report::median(times);
        figure(&format!("{legs} legs"), time, "ms", if legs == 10_000 { "<= 1000" } else { "" });
        if let Some(before) = before {
            figure("ratio to a tenth of them", time / before.max(f64::EPSILON), "x", "linear: 10");
        }
        before = Some(time);
    }
    Ok(())
}

fn once(request: &StartRequest, catalog: &Catalog, facts: &Facts<'_>, legs: usize) -> Result<Duration> {
    let begun = Instant::now();
    let result = plan(request, catalog, facts);
    let taken = begun.elapsed();
    match result {
        Ok(plan) => ensure!(plan.legs() == legs, "the plan has {} legs", plan.legs()),
        Err(problems) => bail!("refused: {problems:?}"),
    }
    Ok(taken)
}

fn id(name: &str) -> EntityId {
    EntityId::derived(&[name])
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn kinds() -> Vec<KindSpec> {
    vec![KindSpec {
        name: KindName::from("HTTP"),
        class: Class::Idempotent,
        class_by: vec![],
        rolled_back_by: None,
        player: Player::Delegate,
        stands: ANYWHERE.to_vec(),
        properties: vec![],
        capabilities: vec![],
        touches_infrastructure: true,
        infrastructure_types: vec![],
        reads_manifests: false,
        deploys: false,
        test_only: false,
    }]
}

fn request(legs: usize) -> StartRequest {
    let names: Vec<String> = (0..legs).map(|number| format!("region {number}")).collect();
    StartRequest {
        application: id("Shop"),
        entity: id("ship"),
        kind: ExecutionType::Pipeline,
        variables: vec![VariableInput {
            name: "infrastructure".into(),
            kind: ValueKind::Name,
            value: names.join(","),
        }],
        services: vec![],
        notes: String::new(),
        specific_hosts: None,
        exclude_hosts_with_same_artifact: false,
        continue_with_default_values: false,
    }
}

fn catalog(legs: usize) -> Catalog {
    let mut catalog = Catalog { revision: 1, ..Catalog::default() };
    catalog.applications.insert(
        id("Shop"),
        Arc::new(Application {
            id: id("Shop"),
            name: "Shop".into(),
            description: String::new(),
            defaults: BTreeMap::new(),
            tags: vec![],
        }),
    );
    catalog.services.insert(id("cart"), Arc::new(service()));
    catalog.environments.insert(
        id("prod"),
        Arc::new(Environment {
            id: id("prod"),
            application: id("Shop"),
            name: "prod".into(),
            description: String::new(),
            environment_type: EnvironmentType::Prod,
            overrides: vec![],
            config_files: vec![],
            values: vec![],
            tags: vec![],
        }),
    );
    for number in 0..legs {
        let definition = infrastructure(number);
        catalog.infrastructures.insert(definition.id.clone(), Arc::new(definition));
    }
    catalog.workflows.insert(id("roll"), Arc::new(workflow()));
    catalog.pipelines.insert(id("ship"), Arc::new(pipeline()));
    catalog.index();
    catalog
}

fn service() -> Service {
    Service {
        id: id("cart"),
        application: id("Shop"),
        name: "cart".into(),
        description: String::new(),
        deployment_type: "SSH".into(),
        artifact_type: "TAR".into(),
        variables: vec![],
        sources: vec![],
        commands: vec![],
        config_files: vec![],
        manifest_store: None,
        manifest_skip_versioning: false,
        manifests: vec![],
        values: vec![],
        tags: vec![],
    }
}

/// Four hosts each, one of them by an expression.
fn infrastructure(number: usize) -> InfrastructureDefinition {
    let hosts = json!([
        format!("a{number}"),
        format!("b{number}"),
        format!("c{number}"),
        "${workflow.variables.infrastructure}.example"
    ]);
    InfrastructureDefinition {
        id: id(&format!("region {number}")),
        application: id("Shop"),
        environment: id("prod"),
        name: format!("region {number}"),
        cloud_provider_type: "PHYSICAL_DATA_CENTER".into(),
        deployment_type: "SSH".into(),
        scoped_services: vec![],
        item_type: "PHYSICAL_DATA_CENTER_SSH".into(),
        cloud_provider_name: None,
        properties: object(json!({"hostNames": hosts, "hostConnectionAttrsName": "key"})),
        provisioner: None,
    }
}

fn workflow() -> Workflow {
    let steps = (1..=5).map(|number| Step {
        name: format!("step {number}"),
        kind: "HTTP".into(),
        properties: object(json!({"url": "http://${infra.name}/"})),
        line: 1,
    });
    let phase = Phase {
        name: "One".into(),
        deployment_type: Some("SSH".into()),
        service_name: Some("cart".into()),
        infrastructure_name: None,
        sections: vec![Section { name: "Deploy".into(), steps: steps.collect(), ..Section::default() }],
        template_expressions: vec![TemplateExpression {
            field_name: "infraDefinitionId".into(),
            expression: "${infrastructure}".into(),
            metadata: BTreeMap::new(),
        }],
        rolls_back: None,
        overrides: vec![],
    };
    Workflow {
        id: id("roll"),
        application: id("Shop"),
        name: "roll".into(),
        description: String::new(),
        kind: WorkflowType::Rolling,
        environment_name: Some("prod".into()),
        locks_infrastructure: true,
        template_expressions: vec![],
        templatized: true,
        variables: vec![],
        pre_deployment: None,
        phases: vec![phase],
        post_deployment: None,
        rollback_phases: vec![],
        failure_strategies: vec![],
        notification_rules: vec![],
        tags: vec![],
    }
}

fn pipeline() -> Pipeline {
    Pipeline {
        id: id("ship"),
        application: id("Shop"),
        name: "ship".into(),
        description: String::new(),
        elements: vec![PipelineElement {
            kind: "ENV_STATE".into(),
            name: "regions".into(),
            parallel: false,
            stage_name: None,
            workflow_name: Some("roll".into()),
            variables: vec![StageVariable {
                name: "infrastructure".into(),
                entity_type: None,
                value: "${infrastructure}".into(),
            }],
            skip: StageSkip::Never,
            runtime_inputs: vec![],
            properties: Map::new(),
            line: 1,
        }],
        rollback_previous_stages: false,
        tags: vec![],
    }
}
