//! The configuration trees that are deployed: files by path below `Setup/`.

/// Path and text.
pub type File = (String, String);

/// Name of the application.
pub const APPLICATION: &str = "Bench";
/// Name of the pipeline.
pub const PIPELINE: &str = "ship";

/// An application whose workflow has these steps, a pipeline that fans it out over `infrastructure`, and an infrastructure definition for each
/// of these lists of hosts.
pub fn application(steps: &str, infrastructures: &[(String, Vec<String>)]) -> Vec<File> {
    let application = format!("Setup/Applications/{APPLICATION}");
    let mut files = vec![
        (format!("{application}/Index.yaml"), "harnessApiVersion: '1.0'\ntype: APPLICATION\n".to_owned()),
        (
            "Setup/Cloud Providers/hosts.yaml".to_owned(),
            "harnessApiVersion: '1.0'\ntype: PHYSICAL_DATA_CENTER\n".to_owned(),
        ),
        (
            format!("{application}/Environments/production/Index.yaml"),
            "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: PROD\n".to_owned(),
        ),
        (
            format!("{application}/Services/cart/Index.yaml"),
            "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: OTHER\ndeploymentType: SSH\n".to_owned(),
        ),
        (
            format!("{application}/Workflows/roll.yaml"),
            workflow(steps, infrastructures.first().map_or("", |(name, _)| name)),
        ),
        (format!("{application}/Pipelines/{PIPELINE}.yaml"), PIPELINE_YAML.to_owned()),
    ];
    files.extend(infrastructures.iter().map(|(name, hosts)| {
        let path = format!("{application}/Environments/production/Infrastructure Definitions/{name}.yaml");
        (path, infrastructure(hosts))
    }));
    files
}

/// The pipeline of every application.
pub const PIPELINE_YAML: &str = "harnessApiVersion: '1.0'
type: PIPELINE
pipelineStages:
- type: ENV_STATE
  name: all
  parallel: false
  stageName: STAGE 1
  workflowName: roll
  workflowVariables:
  - entityType: INFRASTRUCTURE_DEFINITION
    name: infrastructure
    value: ${infrastructure}
";

fn workflow(steps: &str, first: &str) -> String {
    format!(
        "harnessApiVersion: '1.0'
type: BASIC
concurrencyStrategy: INFRA
envName: production
phases:
- type: SSH
  name: Roll
  infraDefinitionName: {first}
  serviceName: cart
  phaseSteps:
  - type: DEPLOY_SERVICE
    name: Deploy
    steps:
{steps}    stepsInParallel: false
  templateExpressions:
  - expression: ${{infrastructure}}
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
"
    )
}

fn infrastructure(hosts: &[String]) -> String {
    let hosts: String = hosts.iter().map(|host| format!("  - {host}\n")).collect();
    format!(
        "harnessApiVersion: '1.0'
type: INFRA_DEFINITION
cloudProviderType: PHYSICAL_DATA_CENTER
deploymentType: SSH
infrastructure:
- type: PHYSICAL_DATA_CENTER_SSH
  cloudProviderName: hosts
  hostConnectionAttrsName: key
  hostNames:
{hosts}"
    )
}
