//! Collects every reason why not, and every warning, each once.

use std::collections::BTreeSet;

use manifold_model::catalog::Catalog;
use manifold_model::{EntityId, Place, Problem, code};

/// Refusals and warnings listed at most, each; a request that is wrong in more ways is told how many were left out.
const MAX_LISTED: usize = 1_000;

/// All complaints of one question.
#[derive(Default)]
pub(crate) struct Complaints {
    refusals: Bounded,
    warnings: Bounded,
}

impl Complaints {
    /// A reason why not.
    pub(crate) fn refuse(&mut self, problem: Problem) {
        self.refusals.add(problem);
    }

    /// Something to know.
    pub(crate) fn warn(&mut self, problem: Problem) {
        self.warnings.add(problem);
    }

    /// The warnings, unless there is a reason why not.
    pub(crate) fn settle(self) -> Result<Vec<Problem>, Vec<Problem>> {
        if self.refusals.list.is_empty() {
            Ok(self.warnings.into_list())
        } else {
            Err(self.refusals.into_list())
        }
    }
}

#[derive(Default)]
struct Bounded {
    list: Vec<Problem>,
    seen: BTreeSet<(String, String, Option<String>)>,
    left_out: usize,
}

impl Bounded {
    fn add(&mut self, problem: Problem) {
        if self.list.len() >= MAX_LISTED {
            self.left_out += 1;
            return;
        }
        let key = (problem.code.0.to_string(), problem.message.clone(), problem.item.clone());
        if self.seen.insert(key) {
            self.list.push(problem);
        }
    }

    fn into_list(mut self) -> Vec<Problem> {
        if self.left_out > 0 {
            self.list.push(
                Problem::new(
                    code!("PROBLEMS_LEFT_OUT"),
                    format!("{} more problems are not listed", self.left_out),
                )
                .hint("solve the listed ones and ask again"),
            );
        }
        self.list
    }
}

/// The place of a line in the document of a workflow or pipeline. `folder`: `Workflows` or `Pipelines`.
pub(crate) fn place(
    catalog: &Catalog,
    application: &EntityId,
    folder: &str,
    name: &str,
    line: u32,
) -> Option<Place> {
    let application = catalog.applications.get(application)?;
    Some(Place {
        path: format!("Setup/Applications/{}/{folder}/{name}.yaml", application.name),
        line: line.max(1),
        column: 1,
    })
}

/// Adds a place when it is known.
pub(crate) trait AtMaybe {
    /// As [`Problem::at`], for a place that may be unknown.
    fn at_maybe(self, place: Option<Place>) -> Self;
}

impl AtMaybe for Problem {
    fn at_maybe(mut self, place: Option<Place>) -> Self {
        self.place = place.or(self.place);
        self
    }
}
