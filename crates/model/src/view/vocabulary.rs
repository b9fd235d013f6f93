//! The keys that FirstGen documents hold (`yaml-vocabulary.md` 2, 3; `wire.md` 4.5). Others are kept and reported. `harnessApiVersion` and `type`
//! are known everywhere.

pub(crate) type Keys = &'static [&'static str];

pub(crate) const APPLICATION: Keys = &[
    "description",
    "branchName",
    "gitConnector",
    "isGitSyncEnabled",
    "repoName",
    "tags",
    "disableTriggers",
    "isManualTriggerAuthorized",
    "areWebHookSecretsMandated",
];
pub(crate) const SERVICE: Keys = &[
    "artifactType",
    "deploymentType",
    "helmVersion",
    "description",
    "configVariables",
    "artifactFromManifest",
    "applicationStack",
    "deploymentTypeTemplateUri",
    "deploymentTypeTemplateVersion",
    "configMapYaml",
    "tags",
];
pub(crate) const ENVIRONMENT: Keys = &[
    "environmentType",
    "configMapYaml",
    "configMapYamlByServiceTemplateName",
    "description",
    "variableOverrides",
    "tags",
];
pub(crate) const INFRASTRUCTURE: Keys = &[
    "cloudProviderType",
    "deploymentType",
    "infrastructure",
    "deploymentTypeTemplateUri",
    "provisioner",
    "scopedServices",
    "tags",
];
pub(crate) const VARIABLE: Keys =
    &["name", "value", "valueType", "serviceName", "parentServiceName", "encryptedValue"];
pub(crate) const COMMAND: Keys = &[
    "commandUnitType",
    "commandUnits",
    "targetToAllEnv",
    "targetEnvs",
    "templateUri",
    "templateVariables",
    "description",
];
pub(crate) const CONFIG_FILE: Keys = &[
    "checksum",
    "checksumType",
    "encrypted",
    "fileName",
    "targetFilePath",
    "targetToAllEnv",
    "targetEnvs",
    "serviceName",
    "description",
    "configOverrideType",
    "encryptedFileName",
];
pub(crate) const MANIFEST: Keys = &[
    "storeType",
    "helmChartConfig",
    "gitFileConfig",
    "enableCollection",
    "helmCommandFlag",
    "skipVersioningForAllK8sObjects",
    "customSourceConfig",
    "pollForChanges",
    "kustomizeConfig",
    "helmValuesYamlFilePaths",
];
pub(crate) const WORKFLOW: Keys = &[
    "envName",
    "phases",
    "rollbackPhases",
    "templatized",
    "failureStrategies",
    "notificationRules",
    "preDeploymentSteps",
    "postDeploymentSteps",
    "userVariables",
    "concurrencyStrategy",
    "templateExpressions",
    "description",
    "tags",
    "creationFlags",
    "rollbackProvisioners",
];
pub(crate) const PHASE: Keys = &[
    "daemonSet",
    "name",
    "phaseSteps",
    "provisionNodes",
    "type",
    "computeProviderName",
    "serviceName",
    "infraMappingName",
    "phaseNameForRollback",
    "statefulSet",
    "infraDefinitionName",
    "templateExpressions",
    "variableOverrides",
];
pub(crate) const SECTION: Keys = &[
    "type",
    "name",
    "stepsInParallel",
    "steps",
    "phaseStepNameForRollback",
    "statusForRollback",
    "stepSkipStrategies",
    "failureStrategies",
    "waitInterval",
];
pub(crate) const STEP: Keys =
    &["type", "name", "properties", "templateUri", "templateVariables", "templateExpressions"];
pub(crate) const FAILURE_STRATEGY: Keys = &[
    "executionScope",
    "failureTypes",
    "repairActionCode",
    "retryCount",
    "repairActionCodeAfterRetry",
    "specificSteps",
    "retryIntervals",
    "actionAfterTimeout",
    "manualInterventionTimeout",
];
pub(crate) const SKIP_STRATEGY: Keys = &["scope", "steps", "assertionExpression"];
pub(crate) const TEMPLATE_EXPRESSION: Keys = &["expression", "fieldName", "metadata"];
pub(crate) const USER_VARIABLE: Keys =
    &["type", "fixed", "mandatory", "name", "description", "value", "allowedValues", "metadata"];
pub(crate) const PIPELINE: Keys = &["pipelineStages", "description", "rollbackPreviousStages", "tags"];
pub(crate) const STAGE: Keys = &[
    "type",
    "name",
    "parallel",
    "workflowName",
    "skipCondition",
    "stageName",
    "workflowVariables",
    "uuid",
    "runtimeInputs",
    "properties",
];
pub(crate) const STAGE_VARIABLE: Keys = &["entityType", "name", "value"];
pub(crate) const SKIP_CONDITION: Keys = &["type", "expression"];
pub(crate) const RUNTIME_INPUTS: Keys =
    &["runtimeInputVariables", "timeout", "timeoutAction", "userGroupNames"];

/// Keys of the mappings under these keys, or of the mappings in the list there, wherever they stand.
const INNER: [(&str, Keys); 11] = [
    ("gitFileConfig", GIT_FILES),
    (
        "helmChartConfig",
        &["chartName", "connectorName", "chartVersion", "chartUrl", "basePath", "helmVersion"],
    ),
    ("notificationRules", NOTIFICATION_RULE),
    ("usageRestrictions", &["appEnvRestrictions"]),
    ("appEnvRestrictions", &["appFilter", "envFilter"]),
    ("appFilter", &["filterType", "entityNames"]),
    ("envFilter", &["filterTypes", "entityNames"]),
    ("crossAccountAttributes", &["crossAccountRoleArn", "externalId"]),
    ("continuousEfficiencyConfig", &["continuousEfficiencyEnabled"]),
    ("triggerCondition", TRIGGER_CONDITION),
    ("artifactSelections", ARTIFACT_SELECTION),
];

/// Keys of what stands under a key; `None` when nobody has listed them, or when its reader looks itself.
pub(crate) fn inner(key: &str) -> Option<Keys> {
    INNER.iter().find(|(known, _)| *known == key).map(|(_, keys)| *keys)
}

const GIT_FILES: Keys = &[
    "branch",
    "commitId",
    "connectorName",
    "filePath",
    "filePathList",
    "repoName",
    "serviceSpecFilePath",
    "taskSpecFilePath",
    "useBranch",
    "useInlineServiceDefinition",
];
const NOTIFICATION_RULE: Keys = &[
    "conditions",
    "executionScope",
    "notificationGroups",
    "notificationGroupAsExpression",
    "userGroupAsExpression",
    "userGroupNames",
    "userGroupIds",
    "userGroupExpression",
];
const TRIGGER_CONDITION: Keys = &[
    "action",
    "actions",
    "appManifestName",
    "artifactFilter",
    "artifactStreamName",
    "branchName",
    "branchRegex",
    "checkFileContentChanged",
    "cronDescription",
    "cronExpression",
    "eventType",
    "filePaths",
    "gitConnectorName",
    "manifestName",
    "onNewArtifact",
    "onNewArtifactOnly",
    "pipelineName",
    "regex",
    "releaseActions",
    "repoName",
    "repositoryType",
    "serviceName",
    "versionRegex",
    "webhookSecret",
    "workflowName",
];
const ARTIFACT_SELECTION: Keys =
    &["artifactFilter", "artifactStreamName", "pipelineName", "regex", "serviceName", "workflowName"];
