//! A workflow's steps, their kinds resolved and every reason why one cannot run.

use std::collections::HashSet;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::constraint::RESOURCE_CONSTRAINT;
use manifold_model::entity::{Environment, Phase, Section, Service, Step, Workflow, WorkflowType};
use manifold_model::kind::{KindName, KindSpec, Player, Stand};
use manifold_model::kubernetes::{self, HELM, kind};
use manifold_model::plan::{PhasePlan, SectionPlan, StepKey, StepPlan, WorkflowPlan};
use manifold_model::{Problem, code};
use serde_json::{Map, Value};

use crate::commands;
use crate::complaints::{AtMaybe, Complaints, place};
use crate::constraints::resolve;
use crate::facts::Facts;
use crate::kinds::Kinds;
use crate::manifests::Shelf;

/// Deadline of one attempt of a step that says nothing, milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 10 * 60 * 1_000;

/// Longest deadline of one attempt, milliseconds; a longer one is shortened to it.
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

/// A planned workflow and what its steps ask of the rest.
pub(crate) struct Planned {
    pub(crate) workflow: WorkflowPlan,
    /// Per phase.
    pub(crate) needs: Vec<Needs>,
    /// Whether a barrier stands behind the lock, so that legs of one target could only time out at it.
    pub(crate) barrier_in_lock: bool,
}

/// What the steps of a phase and its rollback need.
#[derive(Default)]
pub(crate) struct Needs {
    /// The service's artifact.
    pub(crate) artifact: bool,
    /// The infrastructure: kind of each step that touches it, and the item types on which it can act (none: any).
    pub(crate) infrastructure: Vec<(KindName, Vec<String>)>,
    /// Hosts: steps that run once per instance.
    pub(crate) hosts: bool,
    /// The infrastructure's SSH credential: steps on hosts that name none of their own.
    pub(crate) credential: bool,
}

/// Where a step stands, for checks and messages.
struct Position<'p> {
    stand: Stand,
    /// `phase Deploy`, `rollback phase Undo`, `the pre-deployment steps`.
    title: String,
    phase: Option<usize>,
    service: Option<&'p Service>,
}

/// What steps are planned on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'g> {
    pub(crate) catalog: &'g Catalog,
    pub(crate) facts: &'g Facts<'g>,
    pub(crate) kinds: &'g Kinds<'g>,
    /// The environment whose values manifests get.
    pub(crate) environment: Option<&'g Environment>,
}

/// Plans the steps of a workflow whose phases deploy these services.
pub(crate) fn plan_steps(
    ground: Ground<'_>,
    workflow: &Workflow,
    services: &[Option<Arc<Service>>],
    shelf: &mut Shelf<'_>,
    complaints: &mut Complaints,
) -> Planned {
    let Ground { catalog, facts, kinds, environment } = ground;
    let mut planner = Planner {
        catalog,
        facts,
        kinds,
        environment,
        workflow,
        shelf,
        complaints,
        next_key: 1,
        barriers: HashSet::new(),
        barrier_in_lock: false,
        needs: workflow.phases.iter().map(|_| Needs::default()).collect(),
    };
    let plan = planner.workflow(services);
    Planned { workflow: plan, needs: planner.needs, barrier_in_lock: planner.barrier_in_lock }
}

struct Planner<'q, 's> {
    catalog: &'q Catalog,
    facts: &'q Facts<'q>,
    kinds: &'q Kinds<'q>,
    environment: Option<&'q Environment>,
    workflow: &'q Workflow,
    shelf: &'q mut Shelf<'s>,
    complaints: &'q mut Complaints,
    next_key: StepKey,
    barriers: HashSet<String>,
    barrier_in_lock: bool,
    needs: Vec<Needs>,
}

impl Planner<'_, '_> {
    fn workflow(&mut self, services: &[Option<Arc<Service>>]) -> WorkflowPlan {
        let workflow = self.workflow;
        let outside =
            |stand, title: &str| Position { stand, title: title.to_owned(), phase: None, service: None };
        let pre_deployment = workflow
            .pre_deployment
            .as_ref()
            .map(|section| self.section(section, &outside(Stand::PreDeployment, "the pre-deployment steps")));
        let (rollbacks, unmatched) = rollbacks(workflow);
        for rollback in unmatched {
            self.complaints.warn(
                Problem::new(
                    code!("ROLLBACK_PHASE_UNMATCHED"),
                    format!(
                        "rollback phase {} of the workflow {} undoes no phase",
                        rollback.name, workflow.name
                    ),
                )
                .item(rollback.name.clone())
                .hint("let phaseNameForRollback name a phase of the workflow"),
            );
        }
        let mut phases = Vec::with_capacity(workflow.phases.len());
        for (index, phase) in workflow.phases.iter().enumerate() {
            let service = services.get(index).and_then(Option::as_deref);
            let rollback = rollbacks.get(index).copied().flatten();
            phases.push(self.phase(index, phase, rollback, service));
        }
        let post_deployment = workflow.post_deployment.as_ref().map(|section| {
            self.section(section, &outside(Stand::PostDeployment, "the post-deployment steps"))
        });
        WorkflowPlan {
            id: workflow.id.clone(),
            name: workflow.name.clone(),
            description: workflow.description.clone(),
            kind: workflow.kind,
            locks: workflow.locks_infrastructure && workflow.kind != WorkflowType::Build,
            pre_deployment,
            phases,
            post_deployment,
            strategies: workflow.failure_strategies.clone(),
        }
    }

    fn phase(
        &mut self,
        index: usize,
        phase: &Phase,
        rollback: Option<&Phase>,
        service: Option<&Service>,
    ) -> PhasePlan {
        let stand = match self.workflow.kind {
            WorkflowType::Build => Stand::Build,
            _ => Stand::Phase,
        };
        let forward = Position { stand, title: format!("phase {}", phase.name), phase: Some(index), service };
        let sections = phase.sections.iter().map(|section| self.section(section, &forward)).collect();
        let rollback_sections = match rollback {
            None => Vec::new(),
            Some(rollback) => {
                let back = Position {
                    stand: Stand::Rollback,
                    title: format!("rollback phase {}", rollback.name),
                    phase: Some(index),
                    service,
                };
                rollback.sections.iter().map(|section| self.section(section, &back)).collect()
            }
        };
        PhasePlan {
            name: phase.name.clone(),
            rollback_name: rollback.map(|rollback| rollback.name.clone()),
            deployment_type: phase.deployment_type.clone(),
            overrides: phase.overrides.clone(),
            sections,
            rollback: rollback_sections,
        }
    }

    fn section(&mut self, section: &Section, position: &Position<'_>) -> SectionPlan {
        SectionPlan {
            name: section.name.clone(),
            kind: section.kind.clone(),
            parallel: section.parallel,
            steps: section.steps.iter().filter_map(|step| self.step(step, position)).collect(),
            skips: section.skips.clone(),
            strategies: section.failure_strategies.clone(),
            rolls_back: section.rolls_back.clone(),
            wait_seconds: section.wait_seconds,
        }
    }

    /// A step; `None` when nothing on offer can run it, which is then a reason why not.
    fn step(&mut self, step: &Step, position: &Position<'_>) -> Option<StepPlan> {
        let key = self.next_key;
        self.next_key += 1;
        let road = Road::of(step);
        let Some(spec) = self.kinds.get(road.task_kind(step)) else {
            self.refuse(
                step,
                position,
                code!("STEP_KIND_NOT_OFFERED"),
                format!("is of the type {}, which nothing here can run", road.task_kind(step)),
                "take the step out, set its stage to Skip always, or connect a delegate that offers the type",
            );
            return None;
        };
        self.check_stand(step, position, spec);
        self.check_properties(step, position, spec);
        self.check_road(step, position, &road);
        let timeout_ms = self.timeout(step, position);
        let mut properties = step.properties.clone();
        let mut needs_artifact = step.properties.values().any(commands::value_mentions_artifact);
        let manifests = self.manifests(step, position, spec);
        needs_artifact |= manifests.needs_artifact;
        match step.kind.as_str() {
            "COMMAND" => needs_artifact |= self.command(step, position),
            "BARRIER" => self.barrier(step, position),
            RESOURCE_CONSTRAINT => self.constraint(step, position, &mut properties),
            _ => {}
        }
        self.note_needs(position, step, spec, &road, needs_artifact);
        Some(StepPlan {
            key,
            name: step.name.clone(),
            kind: KindName::from(step.kind.as_str()),
            task_kind: spec.name.clone(),
            class: spec.class_of(&step.properties),
            player: road.player(spec),
            properties,
            timeout_ms,
            deploys: spec.deploys,
            needs_artifact,
            capabilities: self.capabilities(step, position, spec, manifests.template),
        })
    }

    fn refuse(
        &mut self,
        step: &Step,
        position: &Position<'_>,
        code: manifold_model::Code,
        what: String,
        hint: &str,
    ) {
        let problem = Problem::new(
            code,
            format!("step {} of {} of the workflow {} {what}", step.name, position.title, self.workflow.name),
        )
        .item(step.name.clone())
        .hint(hint);
        self.complain(step, problem);
    }

    fn complain(&mut self, step: &Step, problem: Problem) {
        let workflow = self.workflow;
        let place = place(self.catalog, &workflow.application, "Workflows", &workflow.name, step.line);
        self.complaints.refuse(problem.at_maybe(place));
    }

    fn check_stand(&mut self, step: &Step, position: &Position<'_>, spec: &KindSpec) {
        if !spec.stands.contains(&position.stand) {
            self.refuse(
                step,
                position,
                code!("KIND_MISPLACED"),
                format!("is of the type {}, which may not stand there", spec.name),
                "move the step to a place where its type may stand",
            );
        }
    }

    fn check_properties(&mut self, step: &Step, position: &Position<'_>, spec: &KindSpec) {
        for property in spec.properties.iter().filter(|property| property.required) {
            let missing = match step.properties.get(&property.name) {
                None | Some(Value::Null) => true,
                Some(Value::String(text)) => text.trim().is_empty(),
                Some(_) => false,
            };
            if missing {
                self.refuse(
                    step,
                    position,
                    code!("STEP_PROPERTY_MISSING"),
                    format!("has no {}, without which it cannot run", property.name),
                    "give the property a value",
                );
            }
        }
    }

    /// What scripts on hosts need beyond their properties.
    fn check_road(&mut self, step: &Step, position: &Position<'_>, road: &Road) {
        match road {
            Road::Delegate | Road::Other => return,
            Road::NoHost => self.refuse(
                step,
                position,
                code!("STEP_PROPERTY_MISSING"),
                "runs on a host and has no host".to_owned(),
                "give the property host a value, or set executeOnDelegate",
            ),
            Road::Instances if position.phase.is_none() => self.refuse(
                step,
                position,
                code!("KIND_MISPLACED"),
                "uses an instance, and there is none outside a phase".to_owned(),
                "give the property host an explicit host",
            ),
            Road::Instances | Road::Host => {}
        }
        if text(&step.properties, "connectionType") == Some("WINRM") {
            self.refuse(
                step,
                position,
                code!("STEP_UNSUPPORTED"),
                "connects by WINRM, which cannot be done yet".to_owned(),
                "use connectionType SSH",
            );
        }
        match own_credential(step) {
            Some(name) => self.credential(step, position, name),
            None if position.phase.is_none() => self.refuse(
                step,
                position,
                code!("STEP_PROPERTY_MISSING"),
                "runs on a host and has no SSH credential, which no infrastructure gives it there".to_owned(),
                "name an SSH credential under sshKeyRefName",
            ),
            None => {}
        }
    }

    fn credential(&mut self, step: &Step, position: &Position<'_>, name: &str) {
        if missing_secret(self.facts, name) {
            self.refuse(
                step,
                position,
                code!("CREDENTIAL_UNKNOWN"),
                format!("uses the SSH credential {name}, which does not exist"),
                "create the SSH credential, or name one that exists",
            );
        }
    }

    /// What a step that acts with the service's manifests finds in them.
    fn manifests(&mut self, step: &Step, position: &Position<'_>, spec: &KindSpec) -> Found {
        let Some(service) = position.service.filter(|_| reads_manifests(step, spec)) else {
            return Found::default();
        };
        let manifests = self.shelf.manifests(service, self.complaints);
        let mut needs_artifact = manifests.needs_artifact;
        if let Some(environment) = self.environment {
            needs_artifact |= self.shelf.values(environment, service, self.complaints);
        }
        let plain = flag(&step.properties, "skipRendering") == Some(true);
        let paths = file_paths(step);
        let template = manifests.template(paths.as_deref()).filter(|_| !plain).map(str::to_owned);
        Found { needs_artifact, template }
    }

    /// What a delegate must have for a step; that none has it is a reason why not. `template`: a Go template that the step renders.
    fn capabilities(
        &mut self,
        step: &Step,
        position: &Position<'_>,
        spec: &KindSpec,
        template: Option<String>,
    ) -> Vec<String> {
        let mut wanted = spec.capabilities.clone();
        if template.is_some() && !wanted.iter().any(|one| one == HELM) {
            wanted.push(HELM.to_owned());
        }
        let facts = self.facts;
        for missing in
            wanted.iter().filter(|one| facts.capabilities.is_some_and(|known| !known.contains(*one)))
        {
            let what = match (&template, position.service) {
                (Some(file), Some(service)) => format!(
                    "deploys the service {}, whose manifest {file} is a Go template, and no delegate has {missing}",
                    service.name
                ),
                _ => format!("needs {missing}, which no delegate has"),
            };
            self.refuse(
                step,
                position,
                code!("CAPABILITY_NOT_OFFERED"),
                what,
                &format!("install {missing} where the delegate runs and start it again"),
            );
        }
        wanted
    }

    /// Whether the service command needs the artifact; its faults are complaints about the step.
    fn command(&mut self, step: &Step, position: &Position<'_>) -> bool {
        if flag(&step.properties, "executeOnDelegate") == Some(true) {
            self.refuse(
                step,
                position,
                code!("STEP_UNSUPPORTED"),
                "runs a service command on the delegate, which cannot be done yet".to_owned(),
                "run it on the hosts, or use a SHELL_SCRIPT step",
            );
        }
        // A missing name was complained about with the other properties.
        let Some(name) = text(&step.properties, "commandName") else { return false };
        let Some(service) = position.service else { return false };
        let (needs_artifact, problems) = commands::look(service, name);
        for mut problem in problems {
            problem.detail = Some(match problem.detail.take() {
                Some(detail) => format!("{detail}; {}", self.called_by(step, position)),
                None => self.called_by(step, position),
            });
            self.complain(step, problem);
        }
        needs_artifact
    }

    fn called_by(&self, step: &Step, position: &Position<'_>) -> String {
        format!("called by step {} of {} of the workflow {}", step.name, position.title, self.workflow.name)
    }

    /// A barrier's identifier is literal and unique in the workflow (`behaviour.md` 8.3).
    fn barrier(&mut self, step: &Step, position: &Position<'_>) {
        self.barrier_in_lock |= position.stand != Stand::PreDeployment;
        let Some(identifier) = text(&step.properties, "identifier") else { return };
        let fault = if identifier.contains("${") {
            "has a barrier identifier with an expression, and it must be literal".to_owned()
        } else if !self.barriers.insert(identifier.to_owned()) {
            format!("has the barrier identifier {identifier}, which another step of the workflow has too")
        } else {
            return;
        };
        self.refuse(
            step,
            position,
            code!("BARRIER_IDENTIFIER"),
            fault,
            "give each barrier of a workflow a literal identifier of its own",
        );
    }

    /// The constraint is looked up now, so that renaming it changes nothing that runs (`behaviour.md` 8.2).
    fn constraint(&mut self, step: &Step, position: &Position<'_>, properties: &mut Map<String, Value>) {
        let resolved = resolve(self.facts.constraints, &step.properties);
        if let Some(constraint) = resolved.constraint {
            properties.insert("resourceConstraintId".to_owned(), constraint.id.as_str().into());
            properties.insert("resourceConstraintName".to_owned(), constraint.name.as_str().into());
        }
        for fault in resolved.faults {
            self.refuse(step, position, fault.code, fault.what, fault.hint);
        }
        if let Some(mode) = resolved.ignored_mode {
            let problem = Problem::new(
                code!("CONSTRAINT_ACQUIRE_MODE"),
                format!(
                    "step {} of {} of the workflow {} has the acquireMode {mode}, which is kept but not acted on: its permits come on top of those that the execution holds",
                    step.name, position.title, self.workflow.name
                ),
            );
            self.complaints.warn(problem.item(step.name.clone()).hint("take the key out"));
        }
    }

    fn timeout(&mut self, step: &Step, position: &Position<'_>) -> u64 {
        for (key, unit_ms) in [("timeoutMillis", 1), ("stateTimeoutInMinutes", 60_000)] {
            let number = match step.properties.get(key) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) if text.trim().is_empty() => continue,
                Some(Value::String(text)) => text.trim().parse::<u64>().ok(),
                Some(value) => value.as_u64(),
            };
            match number {
                Some(0) => {}
                Some(number) => return number.saturating_mul(unit_ms).min(MAX_TIMEOUT_MS),
                None => self.refuse(
                    step,
                    position,
                    code!("STEP_TIMEOUT_INVALID"),
                    format!("has a {key} that is not a whole number"),
                    "write the time as a whole number",
                ),
            }
        }
        DEFAULT_TIMEOUT_MS
    }

    fn note_needs(
        &mut self,
        position: &Position<'_>,
        step: &Step,
        spec: &KindSpec,
        road: &Road,
        needs_artifact: bool,
    ) {
        let Some(needs) = position.phase.and_then(|index| self.needs.get_mut(index)) else { return };
        needs.artifact |= needs_artifact;
        let hosts = road.player(spec) == Player::Instances;
        needs.hosts |= hosts;
        needs.credential |= (hosts || matches!(road, Road::Host)) && own_credential(step).is_none();
        // A script with an explicit host leaves the infrastructure alone.
        let touches = spec.touches_infrastructure && !matches!(road, Road::Host);
        if touches && !needs.infrastructure.iter().any(|(kind, _)| *kind == spec.name) {
            needs.infrastructure.push((spec.name.clone(), spec.infrastructure_types.clone()));
        }
    }
}

/// What a step finds in manifests.
#[derive(Default)]
struct Found {
    needs_artifact: bool,
    /// A Go template that it renders.
    template: Option<String>,
}

/// Whether a step acts with the service's manifests: a Delete step only when it names files, none that takes over what another one exported.
pub(crate) fn reads_manifests(step: &Step, spec: &KindSpec) -> bool {
    match step.kind.as_str() {
        kind::DELETE => file_paths(step).is_some(),
        _ => spec.reads_manifests && flag(&step.properties, "inheritManifests") != Some(true),
    }
}

/// The manifest files that a step names; `None`: all that are deployed.
fn file_paths(step: &Step) -> Option<Vec<String>> {
    match step.kind.as_str() {
        kind::APPLY => text(&step.properties, "filePaths").map(kubernetes::list),
        kind::DELETE => text(&step.properties, "filePaths").map(kubernetes::list).or_else(|| {
            let paths = kubernetes::list(text(&step.properties, "resources")?);
            paths.iter().any(|item| kubernetes::is_manifest_path(item)).then_some(paths)
        }),
        _ => None,
    }
}

/// Keys that name the SSH credential of a script, best first.
const CREDENTIALS: [&str; 2] = ["sshKeyRefName", "connectionAttributeName"];

/// Where a step's work is done.
enum Road {
    /// A script on the delegate.
    Delegate,
    /// A script on one explicit host.
    Host,
    /// A script once per instance.
    Instances,
    /// A script for a host that nothing names.
    NoHost,
    /// As the kind says.
    Other,
}

impl Road {
    fn of(step: &Step) -> Self {
        if step.kind != "SHELL_SCRIPT" {
            return Self::Other;
        }
        let host = text(&step.properties, "host");
        let connection = own_credential(step).is_some();
        match flag(&step.properties, "executeOnDelegate") {
            Some(true) => return Self::Delegate,
            None if host.is_none() && !connection => return Self::Delegate,
            Some(false) | None => {}
        }
        let per_instance = ["host", "scriptString", "commandPath"]
            .iter()
            .filter_map(|key| text(&step.properties, key))
            .any(|text| commands::mentions(text, "instance") || commands::mentions(text, "host"));
        match (per_instance, host) {
            (true, _) => Self::Instances,
            (false, Some(_)) => Self::Host,
            (false, None) => Self::NoHost,
        }
    }

    fn player(&self, spec: &KindSpec) -> Player {
        match self {
            Self::Host | Self::NoHost => Player::Delegate,
            Self::Instances => Player::Instances,
            Self::Delegate | Self::Other => spec.player,
        }
    }

    fn task_kind<'s>(&self, step: &'s Step) -> &'s str {
        match self {
            Self::Host | Self::Instances | Self::NoHost => "SHELL_SCRIPT_ON_HOST",
            Self::Delegate | Self::Other => &step.kind,
        }
    }
}

/// The SSH credential that a step names.
fn own_credential(step: &Step) -> Option<&str> {
    CREDENTIALS.iter().find_map(|key| text(&step.properties, key))
}

/// A property that is a text and not blank.
pub(crate) fn text<'p>(properties: &'p Map<String, Value>, key: &str) -> Option<&'p str> {
    properties.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// A property that is a boolean, or the text of one.
fn flag(properties: &Map<String, Value>, key: &str) -> Option<bool> {
    match properties.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// Whether a literal name of a secret is known not to exist.
pub(crate) fn missing_secret(facts: &Facts<'_>, name: &str) -> bool {
    !name.contains("${") && facts.secrets.is_some_and(|secrets| !secrets.contains(name))
}

/// The rollback phase of each phase: by `phaseNameForRollback`; those that name none go to the phases left over, in order.
pub(crate) fn rollbacks(workflow: &Workflow) -> (Vec<Option<&Phase>>, Vec<&Phase>) {
    let mut found: Vec<Option<&Phase>> = vec![None; workflow.phases.len()];
    let mut unmatched = Vec::new();
    let (named, unnamed): (Vec<&Phase>, Vec<&Phase>) =
        workflow.rollback_phases.iter().partition(|rollback| rollback.rolls_back.is_some());
    for rollback in named {
        let slot = workflow
            .phases
            .iter()
            .zip(found.iter_mut())
            .find(|(phase, slot)| slot.is_none() && rollback.rolls_back.as_ref() == Some(&phase.name));
        match slot {
            Some((_, slot)) => *slot = Some(rollback),
            None => unmatched.push(rollback),
        }
    }
    for rollback in unnamed {
        match found.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(rollback),
            None => unmatched.push(rollback),
        }
    }
    (found, unmatched)
}
