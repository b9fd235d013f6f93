//! A small application: one workflow for scripts, its infrastructure templated, one pipeline that fans out.

const HEAD: &str = "harnessApiVersion: '1.0'\n";

/// All files of the shop.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("Setup/Cloud Providers/hosts.yaml".to_owned(), "type: PHYSICAL_DATA_CENTER\n".to_owned()),
        in_shop("Index.yaml", "type: APPLICATION\ndescription: demo shop\n"),
        in_shop("Services/cart/Index.yaml", "type: SERVICE\nartifactType: TAR\ndeploymentType: SSH\n"),
        in_shop("Environments/prod/Index.yaml", "type: ENVIRONMENT\nenvironmentType: PROD\n"),
        in_shop("Environments/test/Index.yaml", "type: ENVIRONMENT\nenvironmentType: NON_PROD\n"),
        in_shop("Workflows/deploy.yaml", WORKFLOW),
        in_shop("Pipelines/release.yaml", PIPELINE),
    ];
    for (environment, name) in [("prod", "ap"), ("prod", "eu"), ("prod", "us"), ("test", "lab")] {
        files.push(in_shop(
            &format!("Environments/{environment}/Infrastructure Definitions/{name}.yaml"),
            &format!(
                "type: INFRA_DEFINITION\ncloudProviderType: PHYSICAL_DATA_CENTER\ndeploymentType: SSH\ninfrastructure:\n- type: \
                 PHYSICAL_DATA_CENTER_SSH\n  cloudProviderName: hosts\n  hostConnectionAttrsName: login\n  hostNames:\n  - {name}1\n"
            ),
        ));
    }
    files.into_iter().map(|(path, text)| (path, format!("{HEAD}{text}"))).collect()
}

fn in_shop(path: &str, text: &str) -> (String, String) {
    (format!("Setup/Applications/shop/{path}"), text.to_owned())
}

const WORKFLOW: &str = "type: BASIC
envName: prod
phases:
- type: SSH
  name: Phase 1
  serviceName: cart
  infraDefinitionName: eu
  phaseSteps:
  - type: DEPLOY_SERVICE
    name: Deploy
    stepsInParallel: false
    steps:
    - type: SHELL_SCRIPT
      name: say hello
      properties:
        executeOnDelegate: true
        scriptString: echo hello
        scriptType: BASH
        timeoutMillis: 60000
  templateExpressions:
  - expression: ${infrastructure}
    fieldName: infraDefinitionId
    metadata:
    - name: entityType
      value: INFRASTRUCTURE_DEFINITION
templateExpressions:
- expression: ${infrastructure}
  fieldName: infraDefinitionId
  metadata:
  - name: entityType
    value: INFRASTRUCTURE_DEFINITION
templatized: true
userVariables:
- type: ENTITY
  name: infrastructure
  fixed: false
  mandatory: true
";

const PIPELINE: &str = "type: PIPELINE
pipelineStages:
- type: ENV_STATE
  name: regions
  parallel: false
  stageName: STAGE 1
  workflowName: deploy
  workflowVariables:
  - entityType: INFRASTRUCTURE_DEFINITION
    name: infrastructure
    value: ${infrastructure}
";
