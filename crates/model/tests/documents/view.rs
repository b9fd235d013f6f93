use manifold_model::EntityId;
use manifold_model::FailureClass;
use manifold_model::document::Document;
use manifold_model::entity::*;
use manifold_model::path::DocumentPath;
use manifold_model::view::{Reading, View, read, secret_name};
use serde_json::json;

fn reading(path: &str, text: &str) -> Reading {
    let path = DocumentPath::parse(&format!("Setup/{path}")).unwrap();
    read(&Document::parse(EntityId::from("x"), path, text.as_bytes()).unwrap())
}

fn workflow(text: &str) -> Workflow {
    let reading = reading("Applications/A/Workflows/w.yaml", text);
    match reading.view {
        Some(View::Workflow(workflow)) => *workflow,
        _ => panic!("{:?}", reading.errors),
    }
}

fn pipeline(text: &str) -> Pipeline {
    match reading("Applications/A/Pipelines/p.yaml", text).view {
        Some(View::Pipeline(pipeline)) => *pipeline,
        other => panic!("{other:?}"),
    }
}

/// The rolling workflow of behaviour.md 18.3.
const ROLL_CART: &str = "harnessApiVersion: '1.0'
type: ROLLING
concurrencyStrategy: INFRA
envName: prod                       # omit or template for a templated environment
failureStrategies:
- executionScope: WORKFLOW
  failureTypes:
  - APPLICATION_ERROR
  repairActionCode: ROLLBACK_WORKFLOW
  retryCount: 0
notificationRules:
- conditions:
  - FAILED
  executionScope: WORKFLOW
  notificationGroupAsExpression: false
  userGroupAsExpression: false
  userGroupNames:
  - Account Administrator
phases:
- type: KUBERNETES
  name: Rolling
  serviceName: cart
  infraDefinitionName: k8s-eu       # last concrete value; ignored once templated
  daemonSet: false
  statefulSet: false
  provisionNodes: false
  phaseSteps:
  - type: K8S_PHASE_STEP
    name: Deploy
    stepsInParallel: false
    steps:
    - type: K8S_DEPLOYMENT_ROLLING
      name: Rollout Deployment
    - type: BARRIER                 # optional: couples the legs
      name: all regions up
      properties:
        identifier: regions
        timeoutMillis: 600000
  templateExpressions:
  - expression: ${infrastructure}
    fieldName: infraDefinitionId
    metadata:
    - name: entityType
      value: INFRASTRUCTURE_DEFINITION
rollbackPhases:
- type: KUBERNETES
  name: Rollback Rolling
  phaseNameForRollback: Rolling
  phaseSteps:
  - type: K8S_PHASE_STEP
    name: Deploy
    phaseStepNameForRollback: Deploy
    statusForRollback: SUCCESS
    stepsInParallel: false
    steps:
    - type: K8S_DEPLOYMENT_ROLLING_ROLLBACK
      name: Rollback Deployment
templateExpressions:                # also repeated at workflow level for single-phase types
- expression: ${infrastructure}
  fieldName: infraDefinitionId
  metadata:
  - name: entityType
    value: INFRASTRUCTURE_DEFINITION
templatized: true
userVariables:
- type: ENTITY
  name: infrastructure
  description: infra to deploy to
  fixed: false
  mandatory: true
- type: TEXT
  name: channel
  allowedValues: stable,beta
  fixed: false
  mandatory: false
  value: stable
";

#[test]
fn a_workflow_is_read_whole() {
    let found = workflow(ROLL_CART);
    assert_eq!(found.kind, WorkflowType::Rolling);
    assert_eq!(found.environment_name.as_deref(), Some("prod"));
    assert!(found.locks_infrastructure && found.templatized);
    assert_eq!(found.variables.len(), 2);
    assert_eq!(found.variables[0].kind, VariableType::Entity);
    assert!(found.variables[0].mandatory && !found.variables[0].fixed);
    assert_eq!(found.variables[1].allowed_values, ["stable", "beta"]);
    assert_eq!(found.variables[1].value.as_deref(), Some("stable"));
    assert_eq!(found.template_expressions[0].expression, "${infrastructure}");
    assert_eq!(found.template_expressions[0].metadata["entityType"], "INFRASTRUCTURE_DEFINITION");
    let phase = &found.phases[0];
    assert_eq!((phase.name.as_str(), phase.deployment_type.as_deref()), ("Rolling", Some("KUBERNETES")));
    assert_eq!(phase.infrastructure_name.as_deref(), Some("k8s-eu"));
    assert_eq!(phase.template_expressions.len(), 1);
    let step = &phase.sections[0].steps[1];
    assert_eq!((step.kind.as_str(), step.name.as_str(), step.line), ("BARRIER", "all regions up", 34));
    assert_eq!(step.properties["timeoutMillis"], json!(600_000));
    assert_eq!(found.rollback_phases[0].rolls_back.as_deref(), Some("Rolling"));
    assert_eq!(found.rollback_phases[0].sections[0].rolls_back.as_deref(), Some("Deploy"));
    let strategy = &found.failure_strategies[0];
    assert_eq!(strategy.action, RepairAction::RollbackWorkflow);
    assert_eq!(strategy.failure_types, [FailureClass::Application]);
    assert!(!strategy.phase_scope);
    assert_eq!(found.notification_rules[0]["conditions"], json!(["FAILED"]));
    assert!(reading("Applications/A/Workflows/w.yaml", ROLL_CART).warnings.is_empty());
}

#[test]
fn an_old_workflow_is_read_too() {
    let found = workflow(
        "harnessApiVersion: '1.0'
type: CANARY
description:
envName: ''
templatized: 'false'
phases:
    - type: SSH
      name: Phase 1
      computeProviderName: aws
      infraMappingName: prod (aws) - ssh
      provisionNodes: false
      phaseSteps:
        - type: PROVISION_NODE
          name: Prepare Infra
          stepsInParallel: false
          steps:
            - type: AWS_NODE_SELECT
              name: Select Nodes
              properties:
                instanceCount: '1'
          failureStrategies:
            - executionScope:
              failureTypes: [VERIFICATION_FAILURE, CONNECTIVITY]
              repairActionCode: RETRY
              repairActionCodeAfterRetry: MANUAL_INTERVENTION
              retryCount: '2'
              retryIntervals: ['5', 10]
              specificSteps:
                - Select Nodes
              manualInterventionTimeout: 1209600000
              actionAfterTimeout: END_EXECUTION
          stepSkipStrategies:
            - scope: SPECIFIC_STEPS
              steps: [Select Nodes]
              assertionExpression: ${infra.name} == 'QA'
            - scope: ALL_STEPS
              assertionExpression: 'true'
          waitInterval: 30
        - type: WRAP_UP
          name: Wrap Up
          steps:
          stepsInParallel: true
      serviceName:
notificationRules:
    - conditions: [FAILED]
      executionScope: WORKFLOW
      notificationGroups: [ops]
preDeploymentSteps:
    - type: ARTIFACT_CHECK
      name: Artifact Check
postDeploymentSteps:
    stepsInParallel: true
    steps:
        - type: EMAIL
          name: Tell
    failureStrategies:
        - repairActionCode: IGNORE
userVariables: null
",
    );
    assert_eq!(found.environment_name, None);
    let phase = &found.phases[0];
    assert_eq!(phase.infrastructure_name.as_deref(), Some("prod (aws) - ssh"));
    assert_eq!(phase.service_name, None);
    let section = &phase.sections[0];
    assert_eq!(section.wait_seconds, 30);
    assert_eq!(section.skips[0].steps, ["Select Nodes"]);
    assert!(section.skips[1].steps.is_empty());
    let strategy = &section.failure_strategies[0];
    assert_eq!((strategy.retry_count, strategy.retry_intervals.as_slice()), (2, &[5, 10][..]));
    assert_eq!(strategy.action_after_retry, Some(RepairAction::ManualIntervention));
    assert_eq!(strategy.intervention_timeout_ms, Some(1_209_600_000));
    assert_eq!(strategy.action_after_timeout, Some(RepairAction::EndExecution));
    assert!(phase.sections[1].parallel && phase.sections[1].steps.is_empty());
    let before = found.pre_deployment.unwrap();
    assert_eq!((before.kind.as_str(), before.steps[0].kind.as_str()), ("PRE_DEPLOYMENT", "ARTIFACT_CHECK"));
    let after = found.post_deployment.unwrap();
    assert!(after.parallel);
    assert_eq!(after.failure_strategies[0].action, RepairAction::Ignore);
    assert!(after.failure_strategies[0].failure_types.is_empty());
}

#[test]
fn a_pipeline_is_read_whole() {
    let found = pipeline(
        "harnessApiVersion: '1.0'
type: PIPELINE
description: pilot region then all regions
pipelineStages:
- type: ENV_STATE
  name: pilot
  parallel: false
  stageName: STAGE 1
  workflowName: roll-cart
  skipCondition:
    type: DO_NOT_SKIP
  workflowVariables:
  - entityType: INFRASTRUCTURE_DEFINITION
    name: infrastructure
    value: k8s-pilot                # literal: never multi
- type: APPROVAL
  name: go
  parallel: true
  stageName: STAGE 2
  skipCondition:
    type: CONDITIONAL_SKIP
    expression: ${x} == 'y'
  properties:
    approvalStateType: USER_GROUP
    timeoutMillis: 86400000
    userGroupNames:                 # older: userGroups
    - release-managers
- type: ENV_STATE
  workflowName: roll-cart
  skipCondition: {type: ALWAYS_SKIP}
  uuid: abc
  runtimeInputs:
    runtimeInputVariables: [infrastructure]
    timeout: 1000
    timeoutAction: END_EXECUTION
    userGroupNames: [x]
- type: ENV_STATE
  name: old
  workflowName: w
  properties:
    disable: false
    disableAssertion: ${a} == 'b'
- type: ENV_STATE
  name: off
  workflowName: w
  properties:
    disable: true
rollbackPreviousStages: true
",
    );
    assert!(found.rollback_previous_stages);
    let [pilot, approval, third, old, off] = found.elements.as_slice() else { panic!() };
    assert_eq!((pilot.line, pilot.stage_name.as_deref()), (5, Some("STAGE 1")));
    assert_eq!(pilot.variables[0].entity_type.as_deref(), Some("INFRASTRUCTURE_DEFINITION"));
    assert_eq!(pilot.variables[0].value, "k8s-pilot");
    assert_eq!(pilot.skip, StageSkip::Never);
    assert!(approval.parallel);
    assert_eq!(approval.workflow_name, None);
    assert_eq!(approval.skip, StageSkip::When("${x} == 'y'".into()));
    assert_eq!(approval.properties["userGroupNames"], json!(["release-managers"]));
    assert_eq!((third.name.as_str(), &third.skip), ("roll-cart", &StageSkip::Always));
    assert_eq!(third.runtime_inputs, ["infrastructure"]);
    assert_eq!(third.properties["runtimeInputs"]["timeout"], json!(1000));
    assert_eq!(old.skip, StageSkip::When("${a} == 'b'".into()));
    assert_eq!(off.skip, StageSkip::Always);
}

#[test]
fn services_and_environments_are_read() {
    let text = "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: DOCKER\ndeploymentType: KUBERNETES\nconfigVariables:\n- name: replicas\n  value: '2'\n  valueType: TEXT                   # or ENCRYPTED_TEXT\n- name: token\n  value: gcpkms:cart-token\n  valueType: ENCRYPTED_TEXT\ntags:\n  team: a\n";
    let Some(View::Service(service)) = reading("Applications/A/Services/cart/Index.yaml", text).view else {
        panic!()
    };
    assert_eq!((service.name.as_str(), service.deployment_type.as_str()), ("cart", "KUBERNETES"));
    assert_eq!(service.variables[0].value, "2");
    assert_eq!(
        (service.variables[1].value.as_str(), service.variables[1].value_type),
        ("cart-token", ValueType::EncryptedText)
    );
    assert_eq!(service.tags, [Tag { name: "team".into(), value: "a".into() }]);
    for (artifact, deployment) in
        [("WAR", "SSH"), ("DOCKER", "KUBERNETES"), ("AMI", "AMI"), ("PCF", "PCF"), ("IIS", "WINRM")]
    {
        let text = format!("harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: {artifact}\n");
        let Some(View::Service(service)) = reading("Applications/A/Services/s/Index.yaml", &text).view else {
            panic!()
        };
        assert_eq!(service.deployment_type, deployment);
    }
    let text = "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: PROD               # or NON_PROD\nconfigMapYamlByServiceTemplateName: {}\nvariableOverrides:\n- name: replicas\n  serviceName: cart                 # omit for all services\n  value: '5'\n  valueType: TEXT\n- name: other\n  value: 1\n";
    let Some(View::Environment(environment)) =
        reading("Applications/A/Environments/prod/Index.yaml", text).view
    else {
        panic!()
    };
    assert_eq!(environment.environment_type, EnvironmentType::Prod);
    assert_eq!(environment.overrides[0].service_name.as_deref(), Some("cart"));
    assert_eq!(environment.overrides[1].service_name, None);
    assert_eq!(environment.overrides[1].variable.value, "1");
}

fn infrastructure(folder: &str, text: &str) -> InfrastructureDefinition {
    let reading = reading(&format!("Applications/A/Environments/prod/{folder}/i.yaml"), text);
    match reading.view {
        Some(View::Infrastructure(found)) => found,
        _ => panic!("{:?}", reading.errors),
    }
}

#[test]
fn infrastructure_of_both_generations_is_read() {
    let newer = infrastructure(
        "Infrastructure Definitions",
        "harnessApiVersion: '1.0'\ntype: INFRA_DEFINITION\ncloudProviderType: KUBERNETES_CLUSTER\ndeploymentType: KUBERNETES\ninfrastructure:\n- type: DIRECT_KUBERNETES\n  cloudProviderName: eu-cluster\n  namespace: shop\n  releaseName: release-${infra.kubernetes.infraId}\nscopedServices:                     # optional\n- cart\n",
    );
    assert_eq!(
        (newer.item_type.as_str(), newer.cloud_provider_name.as_deref()),
        ("DIRECT_KUBERNETES", Some("eu-cluster"))
    );
    assert_eq!(newer.properties["namespace"], json!("shop"));
    assert_eq!(newer.scoped_services, ["cart"]);
    let older = infrastructure(
        "Service Infrastructure",
        "harnessApiVersion: '1.0'\ntype: PHYSICAL_DATA_CENTER_SSH\ncomputeProviderName: dc\ncomputeProviderType: PHYSICAL_DATA_CENTER\nconnection: key\ndeploymentType: SSH\nhostNames:\n    - a\n    - b\ninfraMappingType: PHYSICAL_DATA_CENTER_SSH\nserviceName: cart\n",
    );
    assert_eq!(older.item_type, "PHYSICAL_DATA_CENTER_SSH");
    assert_eq!(older.cloud_provider_type, "PHYSICAL_DATA_CENTER");
    assert_eq!(older.properties["hostConnectionAttrsName"], json!("key"));
    assert_eq!(older.properties["hostNames"], json!(["a", "b"]));
    assert_eq!(older.scoped_services, ["cart"]);
    assert_eq!(older.cloud_provider_name.as_deref(), Some("dc"));
    let gke = infrastructure(
        "Service Infrastructure",
        "harnessApiVersion: '1.0'\ntype: GCP_KUBERNETES\ncomputeProviderName: g\ncomputeProviderType: GCP\ncluster: c/z\ndeploymentType: KUBERNETES\nnamespace: n\ninfraMappingType: GCP_KUBERNETES\nserviceName: s\n",
    );
    assert_eq!((gke.item_type.as_str(), &gke.properties["clusterName"]), ("KUBERNETES_GCP", &json!("c/z")));
}

#[test]
fn secrets_are_named_without_their_manager() {
    for (reference, name) in [
        ("secretName:x", "x"),
        ("gcpkms:a b", "a b"),
        ("plain", "plain"),
        ("hashicorpvault://m/path#key", "hashicorpvault://m/path#key"),
        (":x", ":x"),
        ("a b:x", "a b:x"),
        ("", ""),
    ] {
        assert_eq!(secret_name(reference), name);
    }
}

#[test]
fn a_view_with_a_refused_variable_is_still_used() {
    let text = "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: WAR\nconfigVariables:\n- name: a-b\n  value: x\n";
    let reading = reading("Applications/A/Services/s/Index.yaml", text);
    assert!(reading.view.is_some());
    assert_eq!(reading.refusals[0].code.0, "NAME_ILLEGAL");
}

#[test]
fn a_published_name_that_steps_use_themselves_is_refused() {
    let text = "harnessApiVersion: '1.0'\ntype: BASIC\npreDeploymentSteps:\n- type: SHELL_SCRIPT\n  name: s\n  properties:\n    sweepingOutputName: k8s\n";
    let reading = reading("Applications/A/Workflows/w.yaml", text);
    assert!(reading.view.is_some());
    assert_eq!(reading.refusals[0].code.0, "NAME_RESERVED");
    assert_eq!(reading.refusals[0].place.as_ref().unwrap().line, 7);
}
