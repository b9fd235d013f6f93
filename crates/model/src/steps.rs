//! Where the steps of a workflow document stand.

use crate::node::{Node, Segment};

/// One step of a workflow document.
#[derive(Clone, Debug)]
pub struct StepNode<'n> {
    /// The step.
    pub node: &'n Node,
    /// The way to it from the root.
    pub way: Vec<Segment>,
}

impl StepNode<'_> {
    /// `type` of the step.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.node.get("type").and_then(Node::as_str)
    }
}

/// All steps of a workflow document: before and after the phases, in phases and in rollback phases.
#[must_use]
pub fn steps(root: &Node) -> Vec<StepNode<'_>> {
    let mut found = Vec::new();
    for key in ["preDeploymentSteps", "postDeploymentSteps"] {
        let Some(node) = root.get(key) else { continue };
        let way = vec![key_segment(key)];
        if node.as_mapping().is_some() {
            list(node, &way, "steps", &mut |step| found.push(step));
        } else {
            list(root, &[], key, &mut |step| found.push(step));
        }
    }
    for key in ["phases", "rollbackPhases"] {
        list(root, &[], key, &mut |phase| {
            list(phase.node, &phase.way, "phaseSteps", &mut |section| {
                list(section.node, &section.way, "steps", &mut |step| found.push(step));
            });
        });
    }
    found
}

pub(crate) fn key_segment(key: &str) -> Segment {
    Segment::Key(key.to_owned())
}

/// Calls with every item of a list under a key.
pub(crate) fn list<'n>(node: &'n Node, way: &[Segment], key: &str, with: &mut dyn FnMut(StepNode<'n>)) {
    let Some(items) = node.get(key).and_then(Node::as_sequence) else { return };
    for (index, item) in items.iter().enumerate() {
        let mut way = way.to_vec();
        way.push(key_segment(key));
        way.push(Segment::Index(index));
        with(StepNode { node: item, way });
    }
}
