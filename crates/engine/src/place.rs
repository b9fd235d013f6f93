//! Finding one's way in the frozen plan.

use manifold_model::artifact::Artifact;
use manifold_model::event::LastGood;
use manifold_model::plan::{
    ElementPlan, EnvironmentPlan, FleetPlan, InfrastructurePlan, LegPlan, PhaseBinding, PhaseInfrastructure,
    PhasePlan, Plan, SectionPlan, ServicePlan, SourcePlan, StepKey, StepPlan, WorkflowPlan,
};

use crate::state::State;

/// A part of a workflow, in the order in which parts run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Pre-deployment steps.
    Pre,
    /// A phase.
    Phase(u32),
    /// The rollback phase of a phase.
    Rollback(u32),
    /// Post-deployment steps.
    Post,
}

impl Part {
    /// Index of the phase, rolled back or not.
    pub(crate) fn phase(self) -> Option<u32> {
        match self {
            Self::Phase(phase) | Self::Rollback(phase) => Some(phase),
            Self::Pre | Self::Post => None,
        }
    }

    pub(crate) fn is_rollback(self) -> bool {
        matches!(self, Self::Rollback(_))
    }
}

/// A step where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'p> {
    pub part: Part,
    pub section: &'p SectionPlan,
    pub step: &'p StepPlan,
}

/// The plan of one leg.
#[derive(Clone, Copy)]
pub(crate) struct Map<'p> {
    pub plan: &'p Plan,
    pub element: &'p ElementPlan,
    pub fleet: &'p FleetPlan,
    pub leg: &'p LegPlan,
    pub workflow: &'p WorkflowPlan,
}

impl<'p> Map<'p> {
    /// The map of a leg; `None` when its place is not in the plan.
    pub(crate) fn of(plan: &'p Plan, state: &State) -> Option<Self> {
        let place = state.start.as_ref()?.place;
        let element = plan.element(place.stage, place.element)?;
        let fleet = element.fleet.as_ref()?;
        let leg = fleet.legs.get(place.leg as usize)?;
        let workflow = plan.workflows.get(fleet.workflow as usize)?;
        Some(Self { plan, element, fleet, leg, workflow })
    }

    pub(crate) fn environment(&self) -> Option<&'p EnvironmentPlan> {
        self.plan.environments.get(self.fleet.environment? as usize)
    }

    pub(crate) fn phase(&self, phase: u32) -> Option<&'p PhasePlan> {
        self.workflow.phases.get(phase as usize)
    }

    fn binding(&self, phase: u32) -> Option<&'p PhaseBinding> {
        self.fleet.phases.get(phase as usize)
    }

    /// Index of the service of a part. Pre- and post-deployment steps have one when all phases have the same.
    pub(crate) fn service_index(&self, part: Option<u32>) -> Option<u32> {
        match part {
            Some(phase) => self.binding(phase)?.service,
            None => {
                let first = self.fleet.phases.first()?.service?;
                self.fleet.phases.iter().all(|binding| binding.service == Some(first)).then_some(first)
            }
        }
    }

    pub(crate) fn service(&self, part: Option<u32>) -> Option<&'p ServicePlan> {
        self.plan.services.get(self.service_index(part)? as usize)
    }

    /// The infrastructure of a phase; of the leg for pre- and post-deployment steps.
    pub(crate) fn infrastructure(&self, part: Option<u32>) -> Option<&'p InfrastructurePlan> {
        let index = match part.map(|phase| self.binding(phase)) {
            None => self.leg.infrastructure?,
            Some(None) => return None,
            Some(Some(binding)) => match binding.infrastructure {
                PhaseInfrastructure::None => return None,
                PhaseInfrastructure::Leg => self.leg.infrastructure?,
                PhaseInfrastructure::Fixed(index) => index,
            },
        };
        self.plan.infrastructures.get(index as usize)
    }

    /// Sections of a part in order.
    pub(crate) fn sections(&self, part: Part) -> &'p [SectionPlan] {
        match part {
            Part::Pre => self.workflow.pre_deployment.as_slice(),
            Part::Post => self.workflow.post_deployment.as_slice(),
            Part::Phase(phase) => {
                self.phase(phase).map(|phase| phase.sections.as_slice()).unwrap_or_default()
            }
            Part::Rollback(phase) => {
                self.phase(phase).map(|phase| phase.rollback.as_slice()).unwrap_or_default()
            }
        }
    }

    /// All parts in the order of the plan, rollback phases behind their phases.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + use<'p> {
        let phases = u32::try_from(self.workflow.phases.len()).unwrap_or(u32::MAX);
        std::iter::once(Part::Pre)
            .chain((0..phases).flat_map(|phase| [Part::Phase(phase), Part::Rollback(phase)]))
            .chain(std::iter::once(Part::Post))
    }

    /// Steps of all parts.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Spot<'p>> + use<'p> {
        let map = *self;
        map.parts().flat_map(move |part| {
            map.sections(part)
                .iter()
                .flat_map(move |section| section.steps.iter().map(move |step| Spot { part, section, step }))
        })
    }

    /// A step by its key.
    pub(crate) fn step(&self, key: StepKey) -> Option<Spot<'p>> {
        self.steps().find(|spot| spot.step.key == key)
    }

    /// What was last deployed well on the target of a part.
    pub(crate) fn last_good<'s>(&self, state: &'s State, part: Option<u32>) -> Option<&'s LastGood> {
        let phase = part.unwrap_or_default();
        let mapping = state.targets.as_ref()?.get(phase as usize)?.as_ref()?.mapping.as_ref()?;
        state.last_good.as_ref()?.get(mapping)
    }

    /// The artifact that steps of a part act with: the service's, or the last good one when rolling back.
    pub(crate) fn artifact<'s>(&self, state: &'s State, part: Part) -> Option<&'s Artifact>
    where
        'p: 's,
    {
        if part.is_rollback() {
            self.last_good(state, part.phase())?.artifact.as_ref()
        } else {
            self.service(part.phase())?.artifact.as_ref()
        }
    }

    /// Where an artifact comes from.
    pub(crate) fn source(&self, part: Option<u32>, artifact: &Artifact) -> Option<&'p SourcePlan> {
        let sources = &self.service(part)?.sources;
        sources
            .iter()
            .find(|source| source.id == artifact.source)
            .or_else(|| sources.iter().find(|source| source.name == artifact.source_name))
    }
}
