//! Pipelines and their stage elements (`behaviour.md` 9).

use serde_json::{Map, Value};

use super::reader::Reader;
use super::vocabulary;
use crate::EntityId;
use crate::entity::{Pipeline, PipelineElement, StageSkip, StageVariable};
use crate::node::{Mapping, Node};
use crate::path::DocumentPath;

/// `Pipelines/<name>.yaml`.
pub(crate) fn pipeline(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Pipeline> {
    let mapping = reader.mapping(root, "pipeline")?;
    reader.known(mapping, "pipeline", vocabulary::PIPELINE);
    let mut elements = Vec::new();
    for item in reader.list(mapping, "pipelineStages") {
        let Some(inner) = reader.mapping(item, "pipelineStages") else { continue };
        elements.push(element(reader, inner, item));
    }
    Some(Pipeline {
        id: id.clone(),
        application: EntityId::from(""),
        name: path.name.clone(),
        description: reader.text_or_empty(mapping, "description"),
        elements,
        rollback_previous_stages: reader.flag(mapping, "rollbackPreviousStages"),
        tags: reader.tags(mapping),
    })
}

fn element(reader: &mut Reader<'_>, mapping: &Mapping, node: &Node) -> PipelineElement {
    reader.known(mapping, "pipeline stage", vocabulary::STAGE);
    let kind = reader.choice(mapping, "type", element_kind, "ENV_STATE or APPROVAL");
    if kind.is_none() && mapping.get("type").is_none_or(super::reader::is_nothing) {
        reader.needed(mapping, "type", node, "pipeline stage");
    }
    let kind = kind.unwrap_or_default();
    let workflow_name = if kind == "ENV_STATE" {
        Some(reader.needed(mapping, "workflowName", node, "pipeline stage"))
    } else {
        reader.filled(mapping, "workflowName")
    };
    let name = reader.filled(mapping, "name").or_else(|| workflow_name.clone());
    PipelineElement {
        name: name.unwrap_or_else(|| kind.clone()),
        kind,
        parallel: reader.flag(mapping, "parallel"),
        stage_name: reader.filled(mapping, "stageName"),
        workflow_name,
        variables: variables(reader, mapping),
        skip: skip(reader, mapping),
        runtime_inputs: runtime_inputs(reader, mapping),
        properties: properties(reader, mapping),
        line: node.line,
    }
}

fn element_kind(word: &str) -> Option<String> {
    matches!(word, "ENV_STATE" | "APPROVAL").then(|| word.to_owned())
}

fn variables(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<StageVariable> {
    let mut variables = Vec::new();
    for item in reader.list(mapping, "workflowVariables") {
        let Some(inner) = reader.mapping(item, "workflowVariables") else { continue };
        reader.known(inner, "stage variable", vocabulary::STAGE_VARIABLE);
        variables.push(StageVariable {
            name: reader.needed(inner, "name", item, "stage variable"),
            entity_type: reader.filled(inner, "entityType"),
            value: reader.text_or_empty(inner, "value"),
        });
    }
    variables
}

/// `skipCondition`; older documents say it in `properties` (`disable`, `disableAssertion`).
fn skip(reader: &mut Reader<'_>, mapping: &Mapping) -> StageSkip {
    if let Some(condition) = reader.inner(mapping, "skipCondition") {
        reader.known(condition, "skip condition", vocabulary::SKIP_CONDITION);
        let words = "DO_NOT_SKIP, CONDITIONAL_SKIP or ALWAYS_SKIP";
        return match reader.choice(condition, "type", skip_kind, words) {
            Some(SkipKind::Always) => StageSkip::Always,
            Some(SkipKind::When) => {
                let node = mapping.get("skipCondition");
                StageSkip::When(node.map_or_else(String::new, |node| {
                    reader.needed(condition, "expression", node, "skip condition")
                }))
            }
            Some(SkipKind::Never) | None => StageSkip::Never,
        };
    }
    let Some(properties) = reader.inner(mapping, "properties") else { return StageSkip::Never };
    match reader.filled(properties, "disableAssertion") {
        Some(expression) if expression == "true" => StageSkip::Always,
        Some(expression) => StageSkip::When(expression),
        None if reader.flag(properties, "disable") => StageSkip::Always,
        None => StageSkip::Never,
    }
}

enum SkipKind {
    Never,
    Always,
    When,
}

fn skip_kind(word: &str) -> Option<SkipKind> {
    match word {
        "DO_NOT_SKIP" => Some(SkipKind::Never),
        "ALWAYS_SKIP" => Some(SkipKind::Always),
        "CONDITIONAL_SKIP" => Some(SkipKind::When),
        _ => None,
    }
}

fn runtime_inputs(reader: &mut Reader<'_>, mapping: &Mapping) -> Vec<String> {
    match reader.inner(mapping, "runtimeInputs") {
        Some(inputs) => {
            reader.known(inputs, "runtime inputs", vocabulary::RUNTIME_INPUTS);
            reader.texts(inputs, "runtimeInputVariables")
        }
        None => Vec::new(),
    }
}

/// The keys of `properties`, and `runtimeInputs` as it stands.
fn properties(reader: &mut Reader<'_>, mapping: &Mapping) -> Map<String, Value> {
    let mut properties = reader.inner(mapping, "properties").map(Mapping::to_json).unwrap_or_default();
    if let Some(inputs) = reader.inner(mapping, "runtimeInputs") {
        properties.insert("runtimeInputs".to_owned(), Value::Object(inputs.to_json()));
    }
    properties
}
