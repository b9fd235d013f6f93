//! What is to be run, stage by stage, before any value is known: a pipeline, or a workflow alone as one stage with one element.

use std::sync::Arc;

use manifold_expression as expression;
use manifold_model::catalog::Catalog;
use manifold_model::entity::{Pipeline, PipelineElement, StageSkip, StageVariable, Workflow};
use manifold_model::plan::Subject;
use manifold_model::request::ExecutionType;
use manifold_model::{ElementId, EntityId, Place, Problem, code};

use crate::complaints::{AtMaybe, Complaints, place};
use crate::settings::Settings;

/// All that is to be run.
pub(crate) struct Course {
    pub(crate) application: EntityId,
    pub(crate) subject: Subject,
    pub(crate) kind: ExecutionType,
    pub(crate) stages: Vec<Stage>,
}

/// One stage.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) elements: Vec<Element>,
}

/// One element; without a run it is not planned (skipped always, or refused).
pub(crate) struct Element {
    pub(crate) id: ElementId,
    pub(crate) name: String,
    pub(crate) skip: StageSkip,
    pub(crate) run: Option<Run>,
}

/// A workflow and where its variables come from.
pub(crate) struct Run {
    /// For messages: `stage STAGE 1 (regions)`, or `workflow roll`.
    pub(crate) title: String,
    pub(crate) place: Option<Place>,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) settings: Settings,
    /// One per variable of [`Settings::variables`].
    pub(crate) bindings: Vec<Binding>,
}

/// Where a workflow variable's value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Binding {
    /// The input of this name.
    Input(String),
    /// The stage's value: a literal, or text with expressions of run time.
    Stage(String),
    /// Nothing in the stage: the workflow's default.
    Default,
}

impl Course {
    /// The course of a pipeline or workflow; `None` when there is no such thing.
    pub(crate) fn of(
        catalog: &Catalog,
        entity: &EntityId,
        kind: ExecutionType,
        complaints: &mut Complaints,
    ) -> Option<Self> {
        match kind {
            ExecutionType::Workflow => {
                let workflow = catalog.workflows.get(entity)?;
                Some(Self::of_workflow(catalog, workflow))
            }
            ExecutionType::Pipeline => {
                let pipeline = catalog.pipelines.get(entity)?;
                Some(Self::of_pipeline(catalog, pipeline, complaints))
            }
        }
    }

    fn of_workflow(catalog: &Catalog, workflow: &Arc<Workflow>) -> Self {
        let settings = Settings::of(workflow);
        let bindings =
            settings.variables.iter().map(|variable| Binding::Input(variable.name.clone())).collect();
        let run = Run {
            title: format!("workflow {}", workflow.name),
            place: place(catalog, &workflow.application, "Workflows", &workflow.name, 0),
            workflow: Arc::clone(workflow),
            settings,
            bindings,
        };
        let element = Element {
            id: ElementId::derived(&["element", workflow.id.as_str()]),
            name: workflow.name.clone(),
            skip: StageSkip::Never,
            run: Some(run),
        };
        Self {
            application: workflow.application.clone(),
            subject: Subject::Workflow { id: workflow.id.clone(), name: workflow.name.clone() },
            kind: ExecutionType::Workflow,
            stages: vec![Stage { name: "STAGE 1".to_owned(), elements: vec![element] }],
        }
    }

    fn of_pipeline(catalog: &Catalog, pipeline: &Pipeline, complaints: &mut Complaints) -> Self {
        let mut stages: Vec<Stage> = Vec::new();
        for (position, element) in pipeline.elements.iter().enumerate() {
            if !element.parallel || stages.is_empty() {
                let number = stages.len() + 1;
                let name = element.stage_name.clone().filter(|name| !name.trim().is_empty());
                stages.push(Stage {
                    name: name.unwrap_or_else(|| format!("STAGE {number}")),
                    elements: Vec::new(),
                });
            }
            let Some(stage) = stages.last_mut() else { continue };
            let title = format!("stage {} ({})", stage.name, element.name);
            let run = match element.skip {
                StageSkip::Always => None,
                StageSkip::Never | StageSkip::When(_) => {
                    run_of(catalog, pipeline, element, &title, complaints)
                }
            };
            stage.elements.push(Element {
                id: ElementId::derived(&[
                    "element",
                    pipeline.id.as_str(),
                    &element.name,
                    &position.to_string(),
                ]),
                name: element.name.clone(),
                skip: element.skip.clone(),
                run,
            });
        }
        Self {
            application: pipeline.application.clone(),
            subject: Subject::Pipeline {
                id: pipeline.id.clone(),
                name: pipeline.name.clone(),
                description: pipeline.description.clone(),
            },
            kind: ExecutionType::Pipeline,
            stages,
        }
    }

    /// All runs in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.stages.iter().flat_map(|stage| &stage.elements).filter_map(|element| element.run.as_ref())
    }
}

/// The run of an element that is not skipped always, or the reason why it has none.
fn run_of(
    catalog: &Catalog,
    pipeline: &Pipeline,
    element: &PipelineElement,
    title: &str,
    complaints: &mut Complaints,
) -> Option<Run> {
    let place = place(catalog, &pipeline.application, "Pipelines", &pipeline.name, element.line);
    let refuse = |problem: Problem| problem.item(element.name.clone()).at_maybe(place.clone());
    if element.kind == "APPROVAL" {
        complaints.refuse(refuse(
            Problem::new(
                code!("APPROVAL_UNSUPPORTED"),
                format!("{title} is an approval, which cannot run yet"),
            )
            .hint("set the stage to Skip always, or take it out of the pipeline"),
        ));
        return None;
    }
    if element.kind != "ENV_STATE" {
        complaints.refuse(refuse(Problem::new(
            code!("STAGE_KIND_UNKNOWN"),
            format!("{title} has the type {}, which is neither ENV_STATE nor APPROVAL", element.kind),
        )));
        return None;
    }
    if !element.runtime_inputs.is_empty() {
        complaints.refuse(refuse(
            Problem::new(
                code!("RUNTIME_INPUT_UNSUPPORTED"),
                format!("{title} asks for runtime inputs, which cannot be given yet"),
            )
            .detail(format!("runtime inputs: {}", element.runtime_inputs.join(", ")))
            .hint("give the variables a value at start instead"),
        ));
    }
    let named = element.workflow_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let Some(workflow) = named.and_then(|name| catalog.workflow_named(&pipeline.application, name)) else {
        let message = match named {
            Some(name) => format!("{title} runs the workflow {name}, which does not exist"),
            None => format!("{title} names no workflow"),
        };
        complaints.refuse(refuse(Problem::new(code!("PIPELINE_INCOMPLETE"), message)));
        return None;
    };
    let settings = Settings::of(workflow);
    let bindings = settings
        .variables
        .iter()
        .map(|variable| element.variables.iter().find(|given| given.name == variable.name))
        .map(|given| given.map_or(Binding::Default, binding))
        .collect();
    Some(Run { title: title.to_owned(), place, workflow: Arc::clone(workflow), settings, bindings })
}

/// `${name}` as a whole makes an input (`behaviour.md` 4.1); other expressions wait for run time.
fn binding(given: &StageVariable) -> Binding {
    if given.value.trim().is_empty() {
        return Binding::Default;
    }
    match expression::whole_variable(&given.value) {
        Some(name) => Binding::Input(name.to_owned()),
        None => Binding::Stage(given.value.clone()),
    }
}
