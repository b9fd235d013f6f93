//! The keys that FirstGen documents hold (`yaml-vocabulary.md` 2, 3; `wire.md` 4.5). Others are kept and reported. `harnessApiVersion` and `type`
//! are known everywhere.

use crate::path::DocumentKind;

type Keys = &'static [&'static str];

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

/// Keys of cloud providers and artifact servers by their type; `None` for types that nobody has listed.
pub(crate) fn connector(kind: &str) -> Option<Keys> {
    Some(match kind {
        "AWS" => &[
            "secretKey",
            "accessKey",
            "accessKeySecretId",
            "assumeCrossAccountRole",
            "useEc2IamCredentials",
            "usageRestrictions",
            "tag",
            "useIRSA",
            "defaultRegion",
            "crossAccountAttributes",
        ],
        "AZURE" => &["clientId", "key", "tenantId", "usageRestrictions", "azureEnvironmentType"],
        "GCP" => &[
            "serviceAccountKeyFileContent",
            "skipValidation",
            "useDelegate",
            "useDelegateSelectors",
            "delegateSelectors",
            "certValidationRequired",
            "usageRestrictions",
        ],
        "KUBERNETES_CLUSTER" => &[
            "skipValidation",
            "useKubernetesDelegate",
            "usageRestrictions",
            "masterUrl",
            "continuousEfficiencyConfig",
            "delegateName",
            "password",
            "serviceAccountToken",
            "delegateSelectors",
            "username",
            "usernameSecretId",
            "caCert",
            "clientCert",
            "clientKey",
            "clientKeyPassphrase",
            "clientKeyPassPhrase",
            "clientKeyAlgorithm",
            "authType",
            "useEncryptedUsername",
            "oidcClientId",
            "oidcIdentityProviderUrl",
            "oidcPassword",
            "oidcSecret",
            "oidcScopes",
            "oidcUsername",
        ],
        "PCF" => &[
            "endpointUrl",
            "password",
            "usageRestrictions",
            "username",
            "usernameSecretId",
            "skipValidation",
        ],
        "PHYSICAL_DATA_CENTER" => &["usageRestrictions"],
        "SPOT_INST" => &["spotInstAccountId", "spotInstToken", "usageRestrictions"],
        "HTTP_HELM_REPO" => &["url", "password", "username", "usageRestrictions"],
        "DOCKER" => {
            &["url", "password", "username", "usageRestrictions", "skipValidation", "delegateSelectors"]
        }
        "JENKINS" => &[
            "password",
            "url",
            "username",
            "token",
            "authMechanism",
            "useConnectorUrlForJobExecution",
            "usageRestrictions",
        ],
        "NEXUS" => &[
            "url",
            "password",
            "username",
            "usageRestrictions",
            "version",
            "delegateSelectors",
            "skipValidation",
        ],
        "ARTIFACTORY" => {
            &["url", "password", "username", "usageRestrictions", "skipValidation", "delegateSelectors"]
        }
        "BAMBOO" => &["password", "url", "username", "usageRestrictions"],
        "AMAZON_S3_HELM_REPO" => &["bucket", "cloudProvider", "region", "usageRestrictions"],
        "GCS_HELM_REPO" => &["bucket", "cloudProvider", "usageRestrictions"],
        _ => return None,
    })
}

/// Keys of an infrastructure item by its type; `None` for types that nobody has listed.
pub(crate) fn infrastructure_item(kind: &str) -> Option<Keys> {
    Some(match kind {
        "DIRECT_KUBERNETES" => &["cloudProviderName", "namespace", "releaseName"],
        "KUBERNETES_GCP" | "GCP_KUBERNETES" => {
            &["cloudProviderName", "clusterName", "namespace", "releaseName"]
        }
        "PHYSICAL_DATA_CENTER_SSH" => &[
            "cloudProviderName",
            "hostConnectionAttrsName",
            // Ours: pinned host keys.
            "hostKeys",
            "hostNames",
            "hostNameConvention",
            "loadBalancerName",
        ],
        "PHYSICAL_DATA_CENTER_WINRM" => {
            &["cloudProviderName", "hostNames", "winRmConnectionAttributesName", "hostNameConvention"]
        }
        "AWS_ECS" => &[
            "assignPublicIp",
            "cloudProviderName",
            "clusterName",
            "executionRole",
            "launchType",
            "region",
            "securityGroupIds",
            "subnetIds",
            "vpcId",
        ],
        "AWS_AWS_LAMBDA" => &[
            "cloudProviderName",
            "iamRole",
            "region",
            "securityGroupIds",
            "subnetIds",
            "vpcId",
            "expressions",
        ],
        "CUSTOM" => &["deploymentTypeTemplateVersion", "infraVariables", "customDeploymentName"],
        _ => return None,
    })
}

/// Keys of documents that are kept and not read further; `None` where nobody has listed them.
pub(crate) fn kept(kind: DocumentKind) -> Option<Keys> {
    Some(match kind {
        DocumentKind::Tags => &["tag"],
        DocumentKind::NotificationGroup => &["addresses", "defaultNotificationGroupForAccount"],
        DocumentKind::Governance => &["disableAllDeployments", "timeRangeBasedFreezeConfigs"],
        DocumentKind::Trigger => &[
            "continueWithDefaultValues",
            "executionName",
            "executionType",
            "triggerCondition",
            "workflowVariables",
            "artifactSelections",
            "manifestSelections",
            "description",
            "tags",
        ],
        _ => return None,
    })
}
