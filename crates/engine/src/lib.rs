//! The heart: (state, event) → state; (state, inputs, now) → events and commands, or why not yet. Pure: no async, clock, randomness or I/O.
//!
//! An execution is its journal (`design.md` 4): a [`Leg`] or a [`PipelineRun`] is made by folding its events, and [`Leg::advance`] walks
//! the frozen plan from its start to see what comes next. There is no cursor: what has been decided stands in the folded events alone.
//!
//! The caller writes the events and the commands of one [`Advance`] in one transaction. Commands are never repeated after that, but for
//! those of `recover`, whose answers may have been lost with the process.

mod advance;
mod attempt;
mod barrier;
mod calendar;
mod command;
mod decide;
mod finish;
mod fold;
mod hosts;
mod instances;
mod kinds;
mod kubernetes;
mod leg;
mod permits;
mod pipeline;
mod place;
mod render;
mod requests;
mod rollback;
mod row;
mod scope;
mod state;
mod strategy;
mod targets;
mod view;

pub use advance::{Advance, Command, Deployed, Input};
pub use instances::HOSTS_IN_FLIGHT;
pub use kinds::kinds;
pub use leg::Leg;
pub use pipeline::{LEGS_PER_ADVANCE, PipelineRun};
pub use view::{
    AttemptView, ElementView, InstanceView, LegStatus, LegView, PhaseView, PipelineView, SectionView,
    StageView, StepView,
};
