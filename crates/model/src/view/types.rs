//! Keys of documents of which there are many types (`yaml-vocabulary.md` 2, 3; `wire.md` 4.5). Others are kept and reported.

use super::vocabulary::Keys;
use crate::path::DocumentKind;

/// Keys of connectors of the account (cloud providers, artifact servers, source repositories, collaboration and verification providers) by their type; `None` for types that nobody has listed.
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
        "GIT" => &[
            "authorEmailId",
            "authorName",
            "branch",
            "commitMessage",
            "delegateSelectors",
            "keyAuth",
            "password",
            "providerType",
            "sshKeyName",
            "url",
            "urlType",
            "usageRestrictions",
            "username",
        ],
        "JIRA" => {
            &["baseUrl", "delegateSelectors", "password", "skipValidation", "usageRestrictions", "username"]
        }
        "SERVICENOW" => {
            &["baseUrl", "delegateSelectors", "password", "skipValidation", "usageRestrictions", "username"]
        }
        "SLACK" => &["outgoingWebhookUrl", "usageRestrictions"],
        "SMTP" => &[
            "delegateSelectors",
            "fromAddress",
            "host",
            "password",
            "port",
            "startTLS",
            "usageRestrictions",
            "useSSL",
            "username",
        ],
        "APP_DYNAMICS" => &["accountName", "controllerUrl", "password", "usageRestrictions", "username"],
        "DYNA_TRACE" => &["apiToken", "dynaTraceUrl", "usageRestrictions"],
        "ELK" => &["connectorType", "elkUrl", "password", "usageRestrictions", "username", "validationType"],
        "NEW_RELIC" => &["apiKey", "newRelicAccountId", "usageRestrictions"],
        "PROMETHEUS" => &["password", "prometheusUrl", "usageRestrictions", "username"],
        "SPLUNK" => &["password", "splunkUrl", "usageRestrictions", "username"],
        "SUMO" => &["accessId", "accessKey", "sumoUrl", "usageRestrictions"],
        "AMAZON_S3_HELM_REPO" => &["bucket", "cloudProvider", "region", "usageRestrictions"],
        "GCS_HELM_REPO" => &["bucket", "cloudProvider", "usageRestrictions"],
        _ => return None,
    })
}

/// Keys of an infrastructure item by its type; `None` for types that nobody has listed.
pub(crate) fn infrastructure_item(kind: &str) -> Option<Keys> {
    Some(match kind {
        "DIRECT_KUBERNETES" => &[
            "cloudProviderName",
            "namespace",
            "releaseName",
            // Ours: the cluster itself, as definitions have it that were service infrastructures.
            "masterUrl",
            "username",
            "password",
            "caCert",
            "clientCert",
            "clientKey",
            "serviceAccountToken",
        ],
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
        "AZURE_KUBERNETES" => &[
            "cloudProviderName",
            "clusterName",
            "namespace",
            "releaseName",
            "resourceGroup",
            "subscriptionId",
        ],
        "AWS_SSH" => &[
            "autoScalingGroupName",
            "awsInstanceFilter",
            "cloudProviderName",
            "desiredCapacity",
            "expressions",
            "hostConnectionAttrsName",
            "hostConnectionType",
            "hostNameConvention",
            "loadBalancerName",
            "region",
            "setDesiredCapacity",
            "useAutoScalingGroup",
            "usePublicDns",
        ],
        "AWS_AMI" => &[
            "amiDeploymentType",
            "asgIdentifiesWorkload",
            "autoScalingGroupName",
            "classicLoadBalancers",
            "cloudProviderName",
            "hostNameConvention",
            "region",
            "spotinstCloudProviderName",
            "spotinstElastiGroupJson",
            "stageClassicLoadBalancers",
            "stageTargetGroupArns",
            "targetGroupArns",
            "useTrafficShift",
        ],
        "AWS_AWS_CODEDEPLOY" => &[
            "applicationName",
            "cloudProviderName",
            "deploymentConfig",
            "deploymentGroup",
            "hostNameConvention",
            "region",
        ],
        "PCF_PCF" | "PCF" => &["cloudProviderName", "organization", "routeMaps", "space", "tempRouteMap"],
        "AZURE_VMSS" => &[
            "baseVMSSName",
            "cloudProviderName",
            "hostConnectionAttrs",
            "resourceGroupName",
            "subscriptionId",
            "username",
            "vmssAuthType",
            "vmssDeploymentType",
        ],
        "AZURE_WEBAPP" => &["cloudProviderName", "resourceGroup", "subscriptionId"],
        "CUSTOM" => &["deploymentTypeTemplateVersion", "infraVariables", "customDeploymentName"],
        _ => return None,
    })
}

/// Keys of artifact sources by their type; `None` for types that nobody has listed.
pub(crate) fn artifact_source(kind: &str) -> Option<Keys> {
    Some(match kind {
        "ACR" => &["metadataOnly", "registryName", "repositoryName", "serverName", "subscriptionId"],
        "AMAZON_S3" => &["artifactPaths", "bucketName", "metadataOnly", "serverName"],
        "AMI" => &["metadataOnly", "platform", "region", "serverName", "tags"],
        "ARTIFACTORY" => &[
            "artifactPattern",
            "collectionEnabled",
            "dockerRepositoryServer",
            "groupId",
            "imageName",
            "metadataOnly",
            "repositoryName",
            "repositoryType",
            "serverName",
            "useDockerFormat",
        ],
        "BAMBOO" => &["artifactPaths", "metadataOnly", "planName", "serverName"],
        "DOCKER" => &["collectionEnabled", "imageName", "metadataOnly", "serverName"],
        "ECR" => &["collectionEnabled", "imageName", "metadataOnly", "region", "serverName"],
        "GCR" => &["collectionEnabled", "dockerImageName", "metadataOnly", "registryHostName", "serverName"],
        "JENKINS" => &["artifactPaths", "jobName", "metadataOnly", "serverName"],
        "NEXUS" => &[
            "artifactPaths",
            "classifier",
            "dockerPort",
            "dockerRegistryUrl",
            "extension",
            "groupId",
            "imageName",
            "metadataOnly",
            "packageName",
            "repositoryFormat",
            "repositoryName",
            "repositoryType",
            "serverName",
        ],
        _ => return None,
    })
}

/// Keys of documents that are kept and not read further; `None` where nobody has listed them.
pub(crate) fn kept(kind: DocumentKind, type_name: &str) -> Option<Keys> {
    Some(match (kind, type_name) {
        (DocumentKind::Tags, _) => &["tag"],
        (DocumentKind::NotificationGroup, _) => &["addresses", "defaultNotificationGroupForAccount"],
        (DocumentKind::Governance, _) => &["disableAllDeployments", "timeRangeBasedFreezeConfigs"],
        (DocumentKind::Trigger, _) => TRIGGER,
        (
            DocumentKind::SourceRepoProvider
            | DocumentKind::CollaborationProvider
            | DocumentKind::VerificationProvider,
            _,
        ) => return connector(type_name),
        (DocumentKind::DeploymentSpecification, "AMI") => &["data"],
        (DocumentKind::DeploymentSpecification, "ECS" | "KUBERNETES") => {
            &["advancedConfig", "containerDefinition", "schedulingStrategy"]
        }
        // FirstGen's own spelling.
        (DocumentKind::DeploymentSpecification, "PCF") => &["maniefstYaml", "serviceName"],
        (DocumentKind::DeploymentSpecification, "AWS_LAMBDA") => &["defaults", "functions"],
        (DocumentKind::ServiceOverride | DocumentKind::EnvironmentOverride, _) => &[
            "customSourceConfig",
            "gitFileConfig",
            "helmChartConfig",
            "helmValuesYamlFilePaths",
            "storeType",
        ],
        (DocumentKind::ServiceVerification, "ELK" | "PROMETHEUS") => VERIFICATION,
        (DocumentKind::Provisioner, "CLOUD_FORMATION") => {
            &["description", "gitFileConfig", "mappingBlueprints", "sourceType", "templateBody", "variables"]
        }
        (DocumentKind::Provisioner, "SHELL_SCRIPT") => &["description", "scriptBody", "variables"],
        (DocumentKind::Provisioner, "TERRAFORM") => TERRAFORM,
        (DocumentKind::Template, "ARTIFACT_SOURCE") => {
            &["customRepositoryMapping", "script", "sourceType", "timeout", "variables"]
        }
        (DocumentKind::Template, "CUSTOM_DEPLOYMENT_TYPE") => {
            &["fetchInstanceScript", "hostAttributes", "hostObjectArrayPath", "variables"]
        }
        (DocumentKind::Template, "HTTP") => &[
            "assertion",
            "body",
            "executeWithPreviousSteps",
            "header",
            "headers",
            "method",
            "timeoutMillis",
            "url",
            "variables",
        ],
        (DocumentKind::Template, "SHELL_SCRIPT") => {
            &["outputVars", "scriptString", "scriptType", "secretOutputVars", "timeoutMillis", "variables"]
        }
        (DocumentKind::Template, "SSH") => &["commandUnitType", "commandUnits", "variables"],
        _ => return None,
    })
}

const TRIGGER: Keys = &[
    "continueWithDefaultValues",
    "executionName",
    "executionType",
    "triggerCondition",
    "workflowVariables",
    "artifactSelections",
    "manifestSelections",
    "description",
    "tags",
];
const TERRAFORM: Keys = &[
    "backendConfigs",
    "description",
    "environmentVariables",
    "kmsId",
    "mappingBlueprints",
    "normalizedPath",
    "path",
    "repoName",
    // FirstGen's own spelling.
    "secretMangerName",
    "skipRefreshBeforeApplyingPlan",
    "sourceRepoBranch",
    "sourceRepoSettingName",
    "variables",
];
const VERIFICATION: Keys = &[
    "alertEnabled",
    "alertPriority",
    "alertThreshold",
    "analysisTolerance",
    "baselineEndMinute",
    "baselineStartMinute",
    "connectorName",
    "customThresholdRefId",
    "enabled24x7",
    "hostnameField",
    "index",
    "messageField",
    "numOfOccurrencesForAlert",
    "query",
    "serviceName",
    "snoozeEndTime",
    "snoozeStartTime",
    "timeSeriesList",
    "timestampField",
    "timestampFormat",
];
