//! A small world to plan in: application Shop, service cart, environments prod and test, three infrastructures, the workflow roll with one
//! templated phase, and the pipeline ship with one open stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manifold_model::EntityId;
use manifold_model::artifact::Artifact;
use manifold_model::catalog::Catalog;
use manifold_model::constraint::{ConstraintRecord, ConstraintStrategy};
use manifold_model::entity::*;
use manifold_model::kind::*;
use manifold_model::kubernetes;
use manifold_model::plan::Plan;
use manifold_model::problem::Problem;
use manifold_model::request::*;
use manifold_plan::{Facts, plan};
use serde_json::{Map, Value, json};

pub struct World {
    pub catalog: Catalog,
    pub kinds: Vec<KindSpec>,
    pub artifacts: Vec<Artifact>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub capabilities: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub constraints: Vec<ConstraintRecord>,
    pub max_legs: usize,
    pub denied: Vec<EntityId>,
}

pub fn id(name: &str) -> EntityId {
    EntityId::from(format!("id-{name}"))
}

pub fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

pub fn step(name: &str, kind: &str, properties: Value) -> Step {
    Step { name: name.into(), kind: kind.into(), properties: map(properties), line: 7 }
}

pub fn section(steps: Vec<Step>) -> Section {
    Section { name: "Deploy".into(), kind: "DEPLOY_SERVICE".into(), steps, ..Section::default() }
}

pub fn template(field: &str, variable: &str) -> TemplateExpression {
    TemplateExpression {
        field_name: field.into(),
        expression: format!("${{{variable}}}"),
        metadata: BTreeMap::new(),
    }
}

pub fn phase(name: &str, variable: &str) -> Phase {
    Phase {
        name: name.into(),
        deployment_type: Some("SSH".into()),
        service_name: Some("cart".into()),
        infrastructure_name: Some("eu".into()),
        sections: vec![section(vec![step(
            "say",
            "SHELL_SCRIPT",
            json!({"scriptString": "echo hi", "executeOnDelegate": true}),
        )])],
        template_expressions: vec![template("infraDefinitionId", variable)],
        rolls_back: None,
        overrides: vec![],
    }
}

pub fn variable(name: &str, kind: VariableType) -> WorkflowVariable {
    WorkflowVariable {
        name: name.into(),
        kind,
        description: String::new(),
        mandatory: false,
        fixed: false,
        value: None,
        allowed_values: vec![],
    }
}

pub fn stage(name: &str, workflow: &str, values: &[(&str, &str)]) -> PipelineElement {
    PipelineElement {
        kind: "ENV_STATE".into(),
        name: name.into(),
        parallel: false,
        stage_name: None,
        workflow_name: Some(workflow.into()),
        variables: values
            .iter()
            .map(|(name, value)| StageVariable {
                name: (*name).into(),
                entity_type: None,
                value: (*value).into(),
            })
            .collect(),
        skip: StageSkip::Never,
        runtime_inputs: vec![],
        properties: Map::new(),
        line: 3,
    }
}

pub fn name(variable: &str, value: &str) -> VariableInput {
    VariableInput { name: variable.into(), kind: ValueKind::Name, value: value.into() }
}

pub fn by_id(variable: &str, value: &str) -> VariableInput {
    VariableInput { kind: ValueKind::Id, ..name(variable, value) }
}

fn kind(name: &str, player: Player, required: &[&str]) -> KindSpec {
    KindSpec {
        name: KindName::from(name),
        class: Class::Idempotent,
        class_by: vec![],
        rolled_back_by: None,
        player,
        stands: ANYWHERE.to_vec(),
        properties: required
            .iter()
            .map(|name| PropertySpec { name: (*name).into(), required: true, strict: false })
            .collect(),
        capabilities: vec![],
        touches_infrastructure: false,
        infrastructure_types: vec![],
        reads_manifests: false,
        deploys: false,
        test_only: false,
    }
}

fn kinds() -> Vec<KindSpec> {
    let on_hosts = |name, required: &[&str]| KindSpec {
        class: Class::Probeable,
        stands: vec![Stand::Phase, Stand::Rollback],
        touches_infrastructure: true,
        infrastructure_types: vec!["PHYSICAL_DATA_CENTER_SSH".into()],
        ..kind(name, Player::Instances, required)
    };
    vec![
        kind("SHELL_SCRIPT", Player::Delegate, &["scriptString"]),
        KindSpec { stands: ANYWHERE.to_vec(), ..on_hosts("SHELL_SCRIPT_ON_HOST", &["scriptString"]) },
        KindSpec {
            class: Class::Unsafe,
            class_by: vec![ClassRule {
                property: "method".into(),
                value: "GET".into(),
                class: Class::Idempotent,
            }],
            ..kind("HTTP", Player::Delegate, &["url"])
        },
        KindSpec { deploys: true, ..on_hosts("COMMAND", &["commandName"]) },
        kind("BARRIER", Player::Engine, &["identifier"]),
        kind("RESOURCE_CONSTRAINT", Player::Engine, &[]),
    ]
}

fn on_cluster(name: &str, reads_manifests: bool) -> KindSpec {
    KindSpec {
        class: Class::Probeable,
        stands: vec![Stand::Phase, Stand::Rollback],
        touches_infrastructure: true,
        infrastructure_types: vec!["DIRECT_KUBERNETES".into()],
        reads_manifests,
        deploys: reads_manifests,
        ..kind(name, Player::Delegate, &[])
    }
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            catalog: Catalog { revision: 5, account: "acc".into(), ..Catalog::default() },
            kinds: kinds(),
            artifacts: vec![],
            files: BTreeMap::new(),
            capabilities: BTreeSet::new(),
            secrets: BTreeSet::from(["key".to_owned()]),
            constraints: vec![ConstraintRecord {
                id: "c1".into(),
                name: "licences".into(),
                capacity: 3,
                strategy: ConstraintStrategy::Fifo,
                created_at: 0,
            }],
            max_legs: 100,
            denied: vec![],
        };
        world.catalog.applications.insert(
            id("Shop"),
            Arc::new(Application {
                id: id("Shop"),
                name: "Shop".into(),
                description: String::new(),
                defaults: BTreeMap::from([("RUNTIME_PATH".into(), "$HOME/${infra.name}".into())]),
                tags: vec![],
            }),
        );
        world.service("cart");
        for environment in ["prod", "test"] {
            world.environment(environment);
        }
        for (name, hosts) in [("eu", "e1,e2"), ("us", "u1"), ("ap", "a1")] {
            world.infrastructure("prod", name, hosts);
        }
        world.infrastructure("test", "lab", "l1");
        world.workflow(Workflow {
            id: id("roll"),
            application: id("Shop"),
            name: "roll".into(),
            description: String::new(),
            kind: WorkflowType::Canary,
            environment_name: Some("prod".into()),
            locks_infrastructure: true,
            template_expressions: vec![],
            templatized: true,
            variables: vec![variable("infrastructure", VariableType::Entity)],
            pre_deployment: None,
            phases: vec![phase("One", "infrastructure")],
            post_deployment: None,
            rollback_phases: vec![],
            failure_strategies: vec![],
            notification_rules: vec![],
            tags: vec![],
        });
        world.pipeline(vec![stage("regions", "roll", &[("infrastructure", "${infrastructure}")])]);
        world
    }

    /// The service cart on Kubernetes: two manifests, the clusters `east` and `west` in one environment with a definition each, and the
    /// workflow's first phase rolls it out.
    pub fn on_kubernetes() -> Self {
        let mut world = Self::new();
        world.kinds.extend([
            on_cluster(kubernetes::kind::ROLLOUT, true),
            on_cluster(kubernetes::kind::ROLLOUT_ROLLBACK, false),
            on_cluster(kubernetes::kind::APPLY, true),
            on_cluster(kubernetes::kind::DELETE, false),
        ]);
        world.edit_service(|service| {
            service.deployment_type = "KUBERNETES".into();
            service.artifact_type = "DOCKER".into();
        });
        world.manifest("web.yaml", "kind: Deployment\nname: ${service.name}\nagain: ${service.name}\n");
        world.manifest("config.yaml", "kind: ConfigMap\ndata: ${serviceVariable.color}\n");
        for cluster in ["east", "west"] {
            let properties =
                json!({"masterUrl": format!("https://{cluster}"), "serviceAccountToken": "secretName:key"});
            world.cloud_provider(cluster, "KUBERNETES_CLUSTER", properties);
            world.infrastructure("prod", cluster, "");
            world.edit_infrastructure(cluster, |one| {
                one.deployment_type = "KUBERNETES".into();
                one.cloud_provider_type = "KUBERNETES_CLUSTER".into();
                one.item_type = "DIRECT_KUBERNETES".into();
                one.cloud_provider_name = Some(cluster.into());
                one.properties = map(json!({"namespace": "shop"}));
            });
        }
        world.edit_workflow(|workflow| workflow.phases[0].deployment_type = Some("KUBERNETES".into()));
        world.steps(vec![step("Rollout", kubernetes::kind::ROLLOUT, json!({}))]);
        world
    }

    pub fn manifest(&mut self, path: &str, text: &str) {
        let document = format!("Setup/Manifests/Files/{path}");
        self.files.insert(document.clone(), text.into());
        let path = path.to_owned();
        self.edit_service(|service| {
            service.manifests.retain(|file| file.path != path);
            service.manifests.push(ManifestFile { document, path });
        });
    }

    pub fn cloud_provider(&mut self, name: &str, kind: &str, properties: Value) {
        let provider =
            Connector { id: id(name), name: name.into(), kind: kind.into(), properties: map(properties) };
        self.catalog.cloud_providers.insert(id(name), Arc::new(provider));
        self.catalog.index();
    }

    pub fn edit_environment(&mut self, name: &str, edit: impl FnOnce(&mut Environment)) {
        edit(Arc::make_mut(self.catalog.environments.get_mut(&id(name)).unwrap()));
    }

    pub fn service(&mut self, name: &str) {
        let service = Service {
            id: id(name),
            application: id("Shop"),
            name: name.into(),
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
        };
        self.catalog.services.insert(id(name), Arc::new(service));
        self.catalog.index();
    }

    pub fn environment(&mut self, name: &str) {
        let environment = Environment {
            id: id(name),
            application: id("Shop"),
            name: name.into(),
            description: String::new(),
            environment_type: EnvironmentType::Prod,
            overrides: vec![],
            config_files: vec![],
            values: vec![],
            tags: vec![],
        };
        self.catalog.environments.insert(id(name), Arc::new(environment));
        self.catalog.index();
    }

    pub fn infrastructure(&mut self, environment: &str, name: &str, hosts: &str) {
        let definition = InfrastructureDefinition {
            id: id(name),
            application: id("Shop"),
            environment: id(environment),
            name: name.into(),
            cloud_provider_type: "PHYSICAL_DATA_CENTER".into(),
            deployment_type: "SSH".into(),
            scoped_services: vec![],
            item_type: "PHYSICAL_DATA_CENTER_SSH".into(),
            cloud_provider_name: None,
            properties: map(json!({"hostNames": hosts, "hostConnectionAttrsName": "key"})),
            provisioner: None,
        };
        self.catalog.infrastructures.insert(id(name), Arc::new(definition));
        self.catalog.index();
    }

    pub fn workflow(&mut self, workflow: Workflow) {
        self.catalog.workflows.insert(workflow.id.clone(), Arc::new(workflow));
        self.catalog.index();
    }

    pub fn edit_workflow(&mut self, edit: impl FnOnce(&mut Workflow)) {
        edit(Arc::make_mut(self.catalog.workflows.get_mut(&id("roll")).unwrap()));
    }

    /// The steps of the workflow's first phase.
    pub fn steps(&mut self, steps: Vec<Step>) {
        self.edit_workflow(|workflow| workflow.phases[0].sections = vec![section(steps)]);
    }

    pub fn edit_service(&mut self, edit: impl FnOnce(&mut Service)) {
        edit(Arc::make_mut(self.catalog.services.get_mut(&id("cart")).unwrap()));
    }

    pub fn edit_infrastructure(&mut self, name: &str, edit: impl FnOnce(&mut InfrastructureDefinition)) {
        edit(Arc::make_mut(self.catalog.infrastructures.get_mut(&id(name)).unwrap()));
    }

    pub fn pipeline(&mut self, elements: Vec<PipelineElement>) {
        let pipeline = Pipeline {
            id: id("ship"),
            application: id("Shop"),
            name: "ship".into(),
            description: String::new(),
            elements,
            rollback_previous_stages: false,
            tags: vec![],
        };
        self.catalog.pipelines.insert(id("ship"), Arc::new(pipeline));
        self.catalog.index();
    }

    pub fn request(&self, kind: ExecutionType, variables: &[VariableInput]) -> StartRequest {
        StartRequest {
            application: id("Shop"),
            entity: id(if kind == ExecutionType::Pipeline { "ship" } else { "roll" }),
            kind,
            variables: variables.to_vec(),
            services: vec![],
            notes: String::new(),
            specific_hosts: None,
            exclude_hosts_with_same_artifact: false,
            continue_with_default_values: false,
        }
    }

    pub fn plan(&self, request: &StartRequest) -> Result<Plan, Vec<Problem>> {
        self.with_facts(|facts| plan(request, &self.catalog, facts))
    }

    pub fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let may_deploy = |environment: &EntityId| !self.denied.contains(environment);
        ask(&Facts {
            artifacts: &self.artifacts,
            files: &self.files,
            capabilities: Some(&self.capabilities),
            secrets: Some(&self.secrets),
            constraints: Some(&self.constraints),
            may_deploy: &may_deploy,
            max_legs: self.max_legs,
            ..Facts::new(&self.kinds)
        })
    }

    /// Starts the pipeline.
    pub fn ship(&self, variables: &[VariableInput]) -> Result<Plan, Vec<Problem>> {
        self.plan(&self.request(ExecutionType::Pipeline, variables))
    }

    /// Starts the workflow alone.
    pub fn roll(&self, variables: &[VariableInput]) -> Result<Plan, Vec<Problem>> {
        self.plan(&self.request(ExecutionType::Workflow, variables))
    }
}

/// Codes with items, sorted.
pub fn codes(problems: &[Problem]) -> Vec<(String, String)> {
    let mut codes: Vec<(String, String)> = problems
        .iter()
        .map(|problem| (problem.code.to_string(), problem.item.clone().unwrap_or_default()))
        .collect();
    codes.sort();
    codes
}

/// Asserts that a start is refused for exactly these reasons.
#[track_caller]
pub fn refused(result: Result<Plan, Vec<Problem>>, expected: &[(&str, &str)]) -> Vec<Problem> {
    let problems = result.expect_err("planned");
    let mut expected: Vec<(String, String)> =
        expected.iter().map(|(code, item)| ((*code).to_owned(), (*item).to_owned())).collect();
    expected.sort();
    assert_eq!(codes(&problems), expected, "{problems:#?}");
    problems
}

/// Names of the infrastructures of a fleet's legs.
pub fn legs(plan: &Plan, stage: u32) -> Vec<String> {
    let fleet = plan.element(stage, 0).unwrap().fleet.as_ref().unwrap();
    fleet
        .legs
        .iter()
        .map(|leg| plan.infrastructures[leg.infrastructure.unwrap() as usize].name.clone())
        .collect()
}
