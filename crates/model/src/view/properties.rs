//! Properties of steps and keys of command units by their type, as trees of FirstGen have them (`yaml-vocabulary.md` 4, 5). Others are kept; those that
//! no kind of step on offer knows either are reported.

type Keys = &'static [&'static str];

/// Properties that any step may have: what its template was, and what a template leaves open.
pub(crate) const OF_ANY_STEP: Keys =
    &["templateExpressions", "templateUuid", "templateVariables", "templateVersion"];

/// Properties of steps of a type; `None` for types that nobody has listed.
pub(crate) fn step(kind: &str) -> Option<Keys> {
    Some(match kind {
        "APPROVAL" => &[
            "approvalStateParams",
            "approvalStateType",
            "publishAsVar",
            "sweepingOutputName",
            "sweepingOutputScope",
            "timeoutMillis",
            "userGroupNames",
            "userGroups",
            "variables",
        ],
        "APP_DYNAMICS" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "appDynamicsConfigId",
            "applicationId",
            "applicationName",
            "comparisonStrategy",
            "executeWithPreviousSteps",
            "hostnameTemplate",
            "tierId",
            "tierName",
            "timeDuration",
        ],
        "ARTIFACT_COLLECTION" => &[
            "artifactStreamName",
            "buildNo",
            "entityType",
            "regex",
            "serviceName",
            "sourceType",
            "timeoutMillis",
        ],
        "AWS_AMI_SERVICE_DEPLOY" => &["commandName", "instanceCount", "instanceUnitType"],
        "AWS_AMI_SERVICE_SETUP" => {
            &["autoScalingGroupName", "autoScalingSteadyStateTimeout", "maxInstances", "resizeStrategy"]
        }
        "AWS_CODEDEPLOY_STATE" => &[
            "autoRollbackConfigurations",
            "bucket",
            "bundleType",
            "commandName",
            "enableAutoRollback",
            "fileExistsBehavior",
            "ignoreApplicationStopFailures",
            "key",
        ],
        "AWS_LAMBDA_STATE" => &["aliases", "commandName"],
        "AWS_LAMBDA_VERIFICATION" => &["awsCredentialsConfigId"],
        "AWS_NODE_SELECT" => &[
            "excludeSelectedHostsFromFuturePhases",
            "hostNames",
            "hosts",
            "instanceCount",
            "instanceUnitType",
            "provisionNode",
            "specificHosts",
        ],
        "BAMBOO" => &["bambooConfigId", "parameters", "planName", "timeoutMillis"],
        "BARRIER" => &["identifier", "timeoutMillis"],
        "CLOUD_FORMATION_CREATE_STACK" => &[
            "awsConfigId",
            "backendConfigs",
            "cloudFormationRoleArn",
            "provisionerName",
            "region",
            "timeoutMillis",
            "variables",
        ],
        "CLOUD_FORMATION_DELETE_STACK" => &[
            "awsConfigId",
            "cloudFormationRoleArn",
            "provisionerName",
            "region",
            "timeoutMillis",
            "useCustomStackName",
        ],
        "COMMAND" => &["commandName", "delegateSelectors", "executeOnDelegate", "timeoutMillis"],
        "CUSTOM_DEPLOYMENT_FETCH_INSTANCES" => &["stateTimeoutInMinutes", "tags"],
        "DC_NODE_SELECT" => &[
            "excludeSelectedHostsFromFuturePhases",
            "hostNames",
            "instanceCount",
            "instanceUnitType",
            "specificHosts",
        ],
        "DYNA_TRACE" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "comparisonStrategy",
            "serviceMethods",
            "timeDuration",
        ],
        "ECS_SERVICE_DEPLOY" => {
            &["commandName", "downsizeInstanceUnitType", "instanceCount", "instanceUnitType"]
        }
        "AWS_AMI_SERVICE_ROLLBACK"
        | "AWS_CODEDEPLOY_ROLLBACK"
        | "AWS_LAMBDA_ROLLBACK"
        | "ECS_SERVICE_ROLLBACK"
        | "HELM_ROLLBACK"
        | "PCF_ROLLBACK" => &["rollback"],
        "ECS_SERVICE_SETUP" => &[
            "awsAutoScalarConfigs",
            "commandName",
            "desiredInstanceCount",
            "ecsServiceName",
            "fixedInstances",
            "loadBalancerName",
            "maxInstances",
            "resizeStrategy",
            "roleArn",
            "serviceSteadyStateTimeout",
            "targetGroupArn",
            "title",
            "useLoadBalancer",
        ],
        "ELASTIC_LOAD_BALANCER" => &["operation"],
        "ELK" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "comparisonStrategy",
            "executeWithPreviousSteps",
            "hostnameField",
            "includePreviousPhaseNodes",
            "indices",
            "messageField",
            "query",
            "queryType",
            "timeDuration",
            "timestampField",
            "timestampFormat",
        ],
        "EMAIL" => &["body", "subject", "toAddress"],
        "HELM_DEPLOY" => &["commandFlags", "gitFileConfig", "helmReleaseNamePrefix", "steadyStateTimeout"],
        "HTTP" => &[
            "assertion",
            "body",
            "executeWithPreviousSteps",
            "header",
            "headers",
            "method",
            "publishAsVar",
            "responseProcessingExpressions",
            "sweepingOutputName",
            "sweepingOutputScope",
            "tags",
            "timeoutMillis",
            "url",
            "useProxy",
        ],
        "JENKINS" => &[
            "injectEnvVars",
            "jenkinsConfigId",
            "jenkinsConfigName",
            "jobName",
            "jobNameAsExpression",
            "jobParameters",
            "publishAsVar",
            "sweepingOutputName",
            "sweepingOutputScope",
            "timeoutMillis",
        ],
        "K8S_CANARY_DEPLOY" => {
            &["delegateSelectors", "instanceUnitType", "instances", "stateTimeoutInMinutes"]
        }
        "K8S_DELETE" => &[
            "delegateSelectors",
            "deleteNamespacesForRelease",
            "instanceUnitType",
            "resources",
            "stateTimeoutInMinutes",
        ],
        "K8S_BLUE_GREEN_DEPLOY" | "K8S_DEPLOYMENT_ROLLING" => &["delegateSelectors", "stateTimeoutInMinutes"],
        "K8S_DEPLOYMENT_ROLLING_ROLLBACK" => &[],
        "KUBERNETES_DEPLOY" => &[
            "className",
            "commandName",
            "downsizeInstanceCount",
            "downsizeInstanceUnitType",
            "instanceCount",
            "instanceUnitType",
            "trafficPercent",
        ],
        "KUBERNETES_DEPLOY_ROLLBACK" | "KUBERNETES_SETUP_ROLLBACK" => &["className", "rollback"],
        "KUBERNETES_SETUP" => &[
            "className",
            "commandName",
            "desiredInstanceCount",
            "fixedInstances",
            "ingressYaml",
            "maxAutoscaleInstances",
            "maxInstances",
            "minAutoscaleInstances",
            "port",
            "portName",
            "protocol",
            "replicationControllerName",
            "resizeStrategy",
            "serviceSteadyStateTimeout",
            "serviceType",
            "serviceYaml",
            "targetCpuUtilizationPercentage",
            "targetPort",
            "useAutoscaler",
            "useIngress",
            "useIstioRouteRule",
        ],
        "KUBERNETES_SWAP_SERVICE_SELECTORS" => &["delegateSelectors", "service1", "service2"],
        "NEW_RELIC" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "applicationId",
            "comparisonStrategy",
            "customThresholdRefId",
            "executeWithPreviousSteps",
            "includePreviousPhaseNodes",
            "metric-thresholds",
            "timeDuration",
        ],
        "PCF_RESIZE" => {
            &["downsizeInstanceCount", "downsizeInstanceUnitType", "instanceCount", "instanceUnitType"]
        }
        "PCF_SETUP" => &["maxInstances", "resizeStrategy"],
        "PROMETHEUS" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "comparisonStrategy",
            "customThresholdRefId",
            "executeWithPreviousSteps",
            "includePreviousPhaseNodes",
            "metric-thresholds",
            "timeDuration",
            "timeSeriesToAnalyze",
        ],
        "SHELL_SCRIPT" => &[
            "commandPath",
            "connectionAttributeName",
            "connectionAttributes",
            "connectionType",
            "delegateSelectors",
            "executeOnDelegate",
            "host",
            "includeInfraSelectors",
            "outputVars",
            "publishAsVar",
            "scriptString",
            "scriptType",
            "secretOutputVars",
            "sshKeyRef",
            "sshKeyRefName",
            "sweepingOutputName",
            "sweepingOutputScope",
            "timeoutMillis",
        ],
        "SPLUNKV2" => {
            &["analysisServerConfigId", "analysisTolerance", "comparisonStrategy", "query", "timeDuration"]
        }
        "SUMO" => &[
            "analysisServerConfigId",
            "analysisTolerance",
            "comparisonStrategy",
            "hostnameField",
            "hostnameTemplate",
            "query",
            "timeDuration",
        ],
        _ => return None,
    })
}

/// Keys of a unit of a service command; `None` for types that nobody has listed.
pub(crate) fn command_unit(kind: &str) -> Option<Keys> {
    Some(match kind {
        "CODE_DEPLOY" => &[],
        "COMMAND" => &["templateUri", "variables"],
        "COPY_CONFIGS" => &["destinationParentPath"],
        "DOCKER_START" | "DOCKER_STOP" => &["command"],
        "DOWNLOAD_ARTIFACT" => &["artifactVariableName", "scriptType", "workingDirectory"],
        "EXEC" => &["command", "filePatternEntryList", "scriptType", "workingDirectory"],
        "PORT_CHECK_CLEARED" | "PORT_CHECK_LISTENING" | "PROCESS_CHECK_RUNNING" | "PROCESS_CHECK_STOPPED" => {
            &["command", "scriptType"]
        }
        "SCP" => &["artifactVariableName", "destinationDirectoryPath", "source"],
        "SETUP_ENV" => &["command", "scriptType", "workingDirectory"],
        _ => return None,
    })
}
