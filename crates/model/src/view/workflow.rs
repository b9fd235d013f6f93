//! Workflows: phases, sections, steps, failure strategies (`behaviour.md` 6, 7).

use super::reader::{Reader, is_nothing};
use super::vocabulary;
use crate::entity::{
    FailureStrategy, Phase, RepairAction, Section, SkipStrategy, Step, TemplateExpression, VariableType,
    Workflow, WorkflowType, WorkflowVariable,
};
use crate::node::{Mapping, Node, Scalar};
use crate::path::DocumentPath;
use crate::{EntityId, FailureClass, Problem, code};

/// `Workflows/<name>.yaml`.
pub(crate) fn workflow(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Workflow> {
    let mapping = reader.mapping(root, "workflow")?;
    reader.known(mapping, "workflow", vocabulary::WORKFLOW);
    reader.tidy_name("workflow", &path.name, root);
    let kind = reader.choice(mapping, "type", workflow_type, WORKFLOW_TYPES)?;
    let locks = reader.choice(mapping, "concurrencyStrategy", concurrency, "INFRA or NONE").unwrap_or(false);
    let workflow = Workflow {
        id: id.clone(),
        application: EntityId::from(""),
        name: path.name.clone(),
        description: reader.text_or_empty(mapping, "description"),
        kind,
        environment_name: reader.filled(mapping, "envName"),
        locks_infrastructure: locks,
        template_expressions: template_expressions(reader, mapping),
        templatized: reader.flag(mapping, "templatized"),
        variables: variables(reader, mapping),
        pre_deployment: outer_steps(
            reader,
            mapping,
            "preDeploymentSteps",
            "PRE_DEPLOYMENT",
            "Pre-Deployment",
        ),
        phases: phases(reader, mapping, "phases"),
        post_deployment: outer_steps(
            reader,
            mapping,
            "postDeploymentSteps",
            "POST_DEPLOYMENT",
            "Post-Deployment",
        ),
        rollback_phases: phases(reader, mapping, "rollbackPhases"),
        failure_strategies: failure_strategies(reader, mapping),
        notification_rules: reader.list(mapping, "notificationRules").iter().map(Node::to_json).collect(),
        tags: reader.tags(mapping),
    };
    Some(workflow)
}

pub(crate) const WORKFLOW_TYPES: &str = "BASIC, CANARY, ROLLING, BLUE_GREEN, MULTI_SERVICE, BUILD or CUSTOM";

pub(crate) fn workflow_type(word: &str) -> Option<WorkflowType> {
    Some(match word {
        "BASIC" => WorkflowType::Basic,
        "CANARY" => WorkflowType::Canary,
        "ROLLING" => WorkflowType::Rolling,
        "BLUE_GREEN" => WorkflowType::BlueGreen,
        "MULTI_SERVICE" => WorkflowType::MultiService,
        "BUILD" => WorkflowType::Build,
        "CUSTOM" => WorkflowType::Custom,
        _ => return None,
    })
}

fn concurrency(word: &str) -> Option<bool> {
    match word {
        "INFRA" => Some(true),
        "NONE" => Some(false),
        _ => None,
    }
}

fn template_expressions(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<TemplateExpression> {
    let mut expressions = Vec::new();
    for item in reader.list(mapping, "templateExpressions") {
        let Some(inner) = reader.mapping(item, "templateExpressions") else { continue };
        reader.known(inner, "template expression", vocabulary::TEMPLATE_EXPRESSION);
        expressions.push(TemplateExpression {
            field_name: reader.needed(inner, "fieldName", item, "template expression"),
            expression: reader.needed(inner, "expression", item, "template expression"),
            metadata: reader.pairs(inner, "metadata"),
        });
    }
    expressions
}

fn variables(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<WorkflowVariable> {
    let mut variables = Vec::new();
    for item in reader.list(mapping, "userVariables") {
        let Some(inner) = reader.mapping(item, "userVariables") else { continue };
        reader.known(inner, "workflow variable", vocabulary::USER_VARIABLE);
        let name = reader.needed(inner, "name", item, "workflow variable");
        if !name.is_empty() {
            reader.variable_name(&name, item);
        }
        let words = "ENTITY, TEXT, EMAIL or NUMBER";
        variables.push(WorkflowVariable {
            name,
            kind: reader.choice(inner, "type", variable_type, words).unwrap_or(VariableType::Text),
            description: reader.text_or_empty(inner, "description"),
            mandatory: reader.flag(inner, "mandatory"),
            fixed: reader.flag(inner, "fixed"),
            value: reader.text(inner, "value"),
            allowed_values: allowed_values(reader, inner),
        });
    }
    variables
}

fn variable_type(word: &str) -> Option<VariableType> {
    Some(match word {
        "ENTITY" => VariableType::Entity,
        "TEXT" => VariableType::Text,
        "EMAIL" => VariableType::Email,
        "NUMBER" => VariableType::Number,
        _ => return None,
    })
}

fn allowed_values(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<String> {
    let texts = reader.texts(mapping, "allowedValues");
    texts
        .iter()
        .flat_map(|text| text.split(','))
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

fn phases(reader: &mut Reader<'_>, mapping: &Mapping, key: &str) -> Vec<Phase> {
    let mut phases = Vec::new();
    for item in reader.list(mapping, key) {
        let Some(inner) = reader.mapping(item, key) else { continue };
        phases.push(phase(reader, inner, item));
    }
    phases
}

fn phase(reader: &mut Reader<'_>, mapping: &Mapping, node: &Node) -> Phase {
    reader.known(mapping, "phase", vocabulary::PHASE);
    let name = reader.needed(mapping, "name", node, "phase");
    reader.tidy_name("phase", &name, node);
    let mut sections = Vec::new();
    for item in reader.list(mapping, "phaseSteps") {
        let Some(inner) = reader.mapping(item, "phaseSteps") else { continue };
        let kind = reader.needed(inner, "type", item, "section");
        let name = reader.filled(inner, "name").unwrap_or_else(|| kind.clone());
        sections.push(section(reader, inner, kind, name));
    }
    let mut overrides = Vec::new();
    for item in reader.list(mapping, "variableOverrides") {
        let Some(inner) = reader.mapping(item, "variableOverrides") else { continue };
        overrides.push(reader.variable(inner, item));
    }
    Phase {
        name,
        deployment_type: reader.filled(mapping, "type"),
        service_name: reader.filled(mapping, "serviceName"),
        infrastructure_name: reader
            .filled(mapping, "infraDefinitionName")
            .or_else(|| reader.filled(mapping, "infraMappingName")),
        sections,
        template_expressions: template_expressions(reader, mapping),
        rolls_back: reader.filled(mapping, "phaseNameForRollback"),
        overrides,
    }
}

/// Pre- and post-deployment steps stand as a list of steps, or as a section of their own.
fn outer_steps(
    reader: &mut Reader<'_>,
    mapping: &Mapping,
    key: &str,
    kind: &str,
    name: &str,
) -> Option<Section> {
    let node = mapping.get(key).filter(|node| !is_nothing(node))?;
    if let Some(inner) = node.as_mapping() {
        let kind = reader.filled(inner, "type").unwrap_or_else(|| kind.to_owned());
        let name = reader.filled(inner, "name").unwrap_or_else(|| name.to_owned());
        return Some(section(reader, inner, kind, name));
    }
    let steps = steps(reader, mapping, key);
    (!steps.is_empty()).then(|| Section {
        kind: kind.to_owned(),
        name: name.to_owned(),
        steps,
        ..Section::default()
    })
}

fn section(reader: &mut Reader<'_>, mapping: &Mapping, kind: String, name: String) -> Section {
    reader.known(mapping, "section", vocabulary::SECTION);
    Section {
        kind,
        name,
        parallel: reader.flag(mapping, "stepsInParallel"),
        steps: steps(reader, mapping, "steps"),
        skips: skips(reader, mapping),
        failure_strategies: failure_strategies(reader, mapping),
        rolls_back: reader.filled(mapping, "phaseStepNameForRollback"),
        wait_seconds: reader.count(mapping, "waitInterval").unwrap_or(0),
    }
}

fn steps(reader: &mut Reader<'_>, mapping: &Mapping, key: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for item in reader.list(mapping, key) {
        let Some(inner) = reader.mapping(item, key) else { continue };
        reader.known(inner, "step", vocabulary::STEP);
        let kind = reader.needed(inner, "type", item, "step");
        let name = reader.filled(inner, "name").unwrap_or_else(|| kind.clone());
        reader.tidy_name("step", &name, item);
        let properties = reader.inner(inner, "properties");
        if let Some(properties) = properties {
            reader.publish_name(properties, "sweepingOutputName");
        }
        let properties = properties.map(Mapping::to_json).unwrap_or_default();
        steps.push(Step { name, kind, properties, line: item.line });
    }
    steps
}

fn skips(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<SkipStrategy> {
    let mut skips = Vec::new();
    for item in reader.list(mapping, "stepSkipStrategies") {
        let Some(inner) = reader.mapping(item, "stepSkipStrategies") else { continue };
        reader.known(inner, "skip strategy", vocabulary::SKIP_STRATEGY);
        let all = reader.choice(inner, "scope", skip_scope, "ALL_STEPS or SPECIFIC_STEPS").unwrap_or(false);
        let steps = reader.texts(inner, "steps");
        let assertion = reader.needed(inner, "assertionExpression", item, "skip strategy");
        if !all
            && steps.is_empty()
            && inner.get("scope").is_some_and(|scope| scope.as_str() == Some("SPECIFIC_STEPS"))
        {
            // No step named and not meant for all: it skips nothing, and an empty list would mean all.
            let problem =
                Problem::new(code!("DOCUMENT_VALUE"), "the skip strategy names no steps, so it skips none");
            reader.warn(problem, item);
            continue;
        }
        skips.push(SkipStrategy { steps: if all { Vec::new() } else { steps }, assertion });
    }
    skips
}

fn skip_scope(word: &str) -> Option<bool> {
    match word {
        "ALL_STEPS" => Some(true),
        "SPECIFIC_STEPS" => Some(false),
        _ => None,
    }
}

const ACTIONS: &str = "MANUAL_INTERVENTION, ROLLBACK_WORKFLOW, ROLLBACK_PHASE, ROLLBACK_PROVISIONER_AFTER_PHASES, IGNORE, RETRY, END_EXECUTION, \
     ABORT_WORKFLOW_EXECUTION or MARK_AS_SUCCESS";

fn action(word: &str) -> Option<RepairAction> {
    Some(match word {
        "MANUAL_INTERVENTION" => RepairAction::ManualIntervention,
        "ROLLBACK_WORKFLOW" => RepairAction::RollbackWorkflow,
        "ROLLBACK_PHASE" => RepairAction::RollbackPhase,
        "ROLLBACK_PROVISIONER_AFTER_PHASES" => RepairAction::RollbackProvisionerAfterPhases,
        "IGNORE" => RepairAction::Ignore,
        "RETRY" => RepairAction::Retry,
        "END_EXECUTION" => RepairAction::EndExecution,
        "ABORT_WORKFLOW_EXECUTION" => RepairAction::AbortWorkflowExecution,
        "MARK_AS_SUCCESS" => RepairAction::MarkAsSuccess,
        _ => return None,
    })
}

fn failure_strategies(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<FailureStrategy> {
    let mut strategies = Vec::new();
    for item in reader.list(mapping, "failureStrategies") {
        let Some(inner) = reader.mapping(item, "failureStrategies") else { continue };
        strategies.extend(failure_strategy(reader, inner, item));
    }
    strategies
}

fn failure_strategy(reader: &mut Reader<'_>, mapping: &Mapping, node: &Node) -> Option<FailureStrategy> {
    reader.known(mapping, "failure strategy", vocabulary::FAILURE_STRATEGY);
    reader.needed(mapping, "repairActionCode", node, "failure strategy");
    let scope = reader.choice(mapping, "executionScope", phase_scope, "WORKFLOW or WORKFLOW_PHASE");
    let action_code = reader.choice(mapping, "repairActionCode", action, ACTIONS);
    let retry_count = reader.count(mapping, "retryCount").unwrap_or(0);
    Some(FailureStrategy {
        failure_types: failure_types(reader, mapping),
        action: action_code?,
        phase_scope: scope.unwrap_or(false),
        specific_steps: reader.texts(mapping, "specificSteps"),
        retry_count: u32::try_from(retry_count).unwrap_or(u32::MAX),
        retry_intervals: reader.counts(mapping, "retryIntervals"),
        action_after_retry: reader.choice(mapping, "repairActionCodeAfterRetry", action, ACTIONS),
        intervention_timeout_ms: reader.count(mapping, "manualInterventionTimeout"),
        action_after_timeout: reader.choice(mapping, "actionAfterTimeout", action, ACTIONS),
    })
}

fn phase_scope(word: &str) -> Option<bool> {
    match word {
        "WORKFLOW" => Some(false),
        "WORKFLOW_PHASE" => Some(true),
        _ => None,
    }
}

fn failure_types(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<FailureClass> {
    let mut classes = Vec::new();
    for word in reader.texts(mapping, "failureTypes") {
        match FailureClass::parse(&word) {
            Some(class) => classes.push(class),
            None => {
                let words = "APPLICATION_ERROR, CONNECTIVITY, AUTHENTICATION, VERIFICATION_FAILURE, TIMEOUT_ERROR or DELEGATE_ERROR";
                if let Some(node) = item_named(mapping, "failureTypes", &word) {
                    reader.unknown_word("failureTypes", &word, node, words);
                }
            }
        }
    }
    classes
}

/// The item of a list that has this text, to say where it stands.
fn item_named<'n>(mapping: &'n Mapping, key: &str, word: &str) -> Option<&'n Node> {
    let node = mapping.get(key)?;
    let is_word = |node: &&Node| node.as_scalar().is_some_and(|scalar: &Scalar| scalar.text == word);
    node.as_sequence().and_then(|items| items.iter().find(is_word)).or(Some(node))
}
