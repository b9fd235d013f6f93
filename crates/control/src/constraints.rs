//! Resource constraints of the account (`behaviour.md` 8.2): records, who names them, who holds and waits for their permits.

use manifold_model::catalog::Catalog;
use manifold_model::constraint::{CAPACITY_LIMIT, ConstraintRecord, ConstraintStrategy, RESOURCE_CONSTRAINT};
use manifold_model::entity::{Section, Step, Workflow};
use manifold_model::{ConstraintId, Problem, code};
use manifold_store::Page;
pub use manifold_store::PermitRow;
use serde_json::Value;

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// Longest name of a resource constraint, characters.
const LONGEST_NAME: usize = 256;
/// Resource constraints of the account.
const MOST_CONSTRAINTS: usize = 1_000;
/// Workflows named in a refusal.
const USERS_NAMED: usize = 10;

/// What is said about a resource constraint; `None` leaves it as it is.
#[derive(Clone, Default, Debug)]
pub struct ConstraintChange {
    /// Name.
    pub name: Option<String>,
    /// Permits at once.
    pub capacity: Option<i64>,
    /// Who gets permits that come free.
    pub strategy: Option<ConstraintStrategy>,
}

impl Control {
    /// Makes a resource constraint.
    ///
    /// # Errors
    /// When its name is bad or taken, its capacity out of range, or there are too many.
    pub async fn create_constraint(
        &self,
        actor: &Actor,
        change: ConstraintChange,
    ) -> Result<ConstraintRecord> {
        authorise(actor, Action::ManageConstraints, Resource::Account)?;
        if self.store.constraints().await?.len() >= MOST_CONSTRAINTS {
            return Err(Error::refused(
                Problem::new(
                    code!("CONSTRAINTS_TOO_MANY"),
                    format!("there are {MOST_CONSTRAINTS} resource constraints already"),
                )
                .hint("delete some that nothing uses; one constraint with units often does for many"),
            ));
        }
        let name = change.name.unwrap_or_default();
        let mut problems: Vec<Problem> = check_name(&name).into_iter().collect();
        let capacity = match change.capacity.map(check_capacity) {
            Some(Ok(capacity)) => capacity,
            Some(Err(problem)) => {
                problems.push(*problem);
                0
            }
            None => {
                problems.push(Problem::new(code!("INPUT_MISSING"), "capacity is missing").item("capacity"));
                0
            }
        };
        if !problems.is_empty() {
            return Err(Error::Refused { problems });
        }
        let record = ConstraintRecord {
            id: ConstraintId::random(),
            name,
            capacity,
            strategy: change.strategy.unwrap_or_default(),
            created_at: self.now(),
        };
        self.store.create_constraint(record.clone()).await?;
        Ok(record)
    }

    /// Changes a resource constraint; what is not said stays. Those who wait and fit then get their permits at once.
    ///
    /// # Errors
    /// As [`Control::create_constraint`], when there is none, when it would be renamed though workflows name it, or when somebody waits for
    /// more permits than it would have.
    pub async fn update_constraint(
        &self,
        actor: &Actor,
        id: &ConstraintId,
        change: ConstraintChange,
    ) -> Result<ConstraintRecord> {
        authorise(actor, Action::ManageConstraints, Resource::Account)?;
        let mut record = self.constraint(actor, id).await?;
        let mut problems = Vec::new();
        // An empty name means "unchanged" to clients that send every key.
        if let Some(name) = change.name.filter(|name| !name.is_empty() && *name != record.name) {
            problems.extend(check_name(&name));
            problems.extend(self.users_of_constraint(&record, "renamed").await?);
            record.name = name;
        }
        match change.capacity.map(check_capacity) {
            Some(Ok(capacity)) => record.capacity = capacity,
            Some(Err(problem)) => problems.push(*problem),
            None => {}
        }
        record.strategy = change.strategy.unwrap_or(record.strategy);
        if !problems.is_empty() {
            return Err(Error::Refused { problems });
        }
        self.store.update_constraint(record.clone()).await?;
        Ok(record)
    }

    /// Deletes a resource constraint.
    ///
    /// # Errors
    /// When there is none, a workflow names it, or somebody holds or waits for its permits.
    pub async fn delete_constraint(&self, actor: &Actor, id: &ConstraintId) -> Result<()> {
        authorise(actor, Action::ManageConstraints, Resource::Account)?;
        let record = self.constraint(actor, id).await?;
        if let Some(problem) = self.users_of_constraint(&record, "deleted").await? {
            return Err(Error::refused(problem));
        }
        Ok(self.store.delete_constraint(id).await?)
    }

    /// All resource constraints, by name.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn constraints(&self, actor: &Actor) -> Result<Vec<ConstraintRecord>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.constraints().await?)
    }

    /// A resource constraint by id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn constraint(&self, actor: &Actor, id: &ConstraintId) -> Result<ConstraintRecord> {
        let found = self.constraints(actor).await?.into_iter().find(|record| record.id == *id);
        found.ok_or_else(|| Error::not_found(format!("No resource constraint exists with the id {id}")))
    }

    /// A resource constraint by name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn constraint_named(&self, actor: &Actor, name: &str) -> Result<ConstraintRecord> {
        let found = self.constraints(actor).await?.into_iter().find(|record| record.name == name);
        found.ok_or_else(|| Error::not_found(format!("No resource constraint exists with the name {name}")))
    }

    /// Who holds and who waits for permits now: unit by unit, holders first, each in the order of their requests.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn permits(
        &self,
        actor: &Actor,
        id: &ConstraintId,
        offset: u64,
        limit: u32,
    ) -> Result<Page<PermitRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.permits(id, offset, limit).await?)
    }

    /// Why a constraint that workflows name cannot be renamed or deleted; `None` when none names it.
    async fn users_of_constraint(&self, record: &ConstraintRecord, done: &str) -> Result<Option<Problem>> {
        let snapshot = self.snapshot().await?;
        let mut users = workflows_naming(&snapshot.catalog, record);
        if users.is_empty() {
            return Ok(None);
        }
        let more = users.len().saturating_sub(USERS_NAMED);
        users.truncate(USERS_NAMED);
        if more > 0 {
            users.push(format!("and {more} more"));
        }
        let message =
            format!("the resource constraint {:?} is named by workflows and cannot be {done}", record.name);
        Ok(Some(
            Problem::new(code!("CONSTRAINT_USED"), message)
                .item(record.name.clone())
                .detail(users.join(", "))
                .hint("take it out of these workflows first"),
        ))
    }
}

/// Workflows with a step that names the constraint, as `APPLICATION / WORKFLOW`, sorted.
fn workflows_naming(catalog: &Catalog, record: &ConstraintRecord) -> Vec<String> {
    let mut users: Vec<String> = catalog
        .workflows
        .values()
        .filter(|workflow| sections(workflow).any(|section| section.steps.iter().any(|s| names(s, record))))
        .map(|workflow| {
            let application = catalog.applications.get(&workflow.application);
            let application = application.map_or("", |application| application.name.as_str());
            format!("{application} / {}", workflow.name)
        })
        .collect();
    users.sort();
    users
}

fn sections(workflow: &Workflow) -> impl Iterator<Item = &Section> {
    let phases = workflow.phases.iter().chain(&workflow.rollback_phases);
    phases.flat_map(|phase| &phase.sections).chain(&workflow.pre_deployment).chain(&workflow.post_deployment)
}

/// Whether a step names the constraint; a name counts before an id, as when a start is planned.
fn names(step: &Step, record: &ConstraintRecord) -> bool {
    let text = |key: &str| {
        let value = step.properties.get(key).and_then(Value::as_str).map(str::trim);
        value.filter(|text| !text.is_empty())
    };
    step.kind == RESOURCE_CONSTRAINT
        && match text("resourceConstraintName") {
            Some(name) => name == record.name,
            None => text("resourceConstraintId") == Some(record.id.as_str()),
        }
}

fn check_name(name: &str) -> Option<Problem> {
    let good = !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= LONGEST_NAME
        && !name.contains("${")
        && !name.chars().any(char::is_control);
    (!good).then(|| {
        Problem::new(
            code!("NAME_INVALID"),
            format!(
                "a resource constraint's name has 1 to {LONGEST_NAME} characters, no blanks at its ends, no control characters and no expression"
            ),
        )
        .item(name.chars().take(LONGEST_NAME).collect::<String>())
    })
}

fn check_capacity(capacity: i64) -> std::result::Result<u32, Box<Problem>> {
    u32::try_from(capacity).ok().filter(|capacity| (1..=CAPACITY_LIMIT).contains(capacity)).ok_or_else(|| {
        let message = format!("the capacity of a resource constraint lies between 1 and {CAPACITY_LIMIT}");
        Box::new(Problem::new(code!("CONSTRAINT_CAPACITY"), message).item(capacity.to_string()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_names_by_name_before_id() {
        let record = ConstraintRecord {
            id: "c1".into(),
            name: "licences".to_owned(),
            capacity: 2,
            strategy: ConstraintStrategy::Fifo,
            created_at: 0,
        };
        let step = |kind: &str, properties: Value| Step {
            name: "guard".to_owned(),
            kind: kind.to_owned(),
            properties: properties.as_object().unwrap().clone(),
            line: 0,
        };
        let named = |properties| names(&step(RESOURCE_CONSTRAINT, properties), &record);
        assert!(named(json!({ "resourceConstraintName": " licences " })));
        assert!(named(json!({ "resourceConstraintId": "c1" })));
        assert!(named(json!({ "resourceConstraintName": null, "resourceConstraintId": "c1" })));
        assert!(!named(json!({ "resourceConstraintName": "other", "resourceConstraintId": "c1" })));
        assert!(!named(json!({})));
        assert!(!names(&step("BARRIER", json!({ "resourceConstraintName": "licences" })), &record));
    }

    #[test]
    fn names_and_capacities_have_bounds() {
        assert!(check_name("prod clusters (eu)").is_none());
        for bad in ["", " a", "a ", "a\nb", "${x}", &"x".repeat(257)] {
            assert!(check_name(bad).is_some(), "{bad}");
        }
        assert_eq!(check_capacity(1).unwrap(), 1);
        assert_eq!(check_capacity(i64::from(CAPACITY_LIMIT)).unwrap(), CAPACITY_LIMIT);
        for bad in [0, -1, i64::from(CAPACITY_LIMIT) + 1, i64::MAX] {
            assert!(check_capacity(bad).is_err());
        }
    }
}
