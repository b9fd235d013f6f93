//! Filters and orders of execution lists as SQL that both homes understand: `executions e` is what is filtered.

use manifold_model::{Millis, Status};

use crate::{Comparison, Condition, ExecutionFilter, IdColumn, Operator, Order, TimeColumn};

/// A clause that no row passes.
const NOTHING: &str = "FALSE";
/// A clause that every row passes.
const EVERYTHING: &str = "TRUE";

/// What the homes call differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// The function that gives the place of its second argument in its first, from 1; 0 when it is not there.
    pub(crate) contains: &'static str,
}

/// A value of a clause.
#[derive(Debug)]
pub(crate) enum Bound {
    /// Text.
    Text(String),
    /// Number.
    Number(i64),
}

/// A WHERE clause in the making.
#[derive(Debug)]
pub(crate) struct Where {
    dialect: Dialect,
    clauses: Vec<String>,
    values: Vec<Bound>,
}

impl Where {
    /// The clause of a filter.
    pub(crate) fn of(filter: &ExecutionFilter, dialect: Dialect) -> Self {
        let mut built = Self { dialect, clauses: Vec::new(), values: Vec::new() };
        if !filter.include_indirect {
            built.clauses.push("e.parent IS NULL".to_owned());
        }
        if !filter.include_superseded {
            built.clauses.push("e.resumed_by IS NULL".to_owned());
        }
        for condition in &filter.conditions {
            let clause = match condition {
                Condition::Id(column, operator, values) => built.id_clause(*column, *operator, values),
                Condition::Time(column, comparison, at) => built.time_clause(*column, *comparison, *at),
            };
            built.clauses.push(clause);
        }
        built
    }

    /// Its text.
    pub(crate) fn sql(&self) -> String {
        if self.clauses.is_empty() { EVERYTHING.to_owned() } else { self.clauses.join(" AND ") }
    }

    /// Its values, of the parameters `$1, $2, …` in this order.
    pub(crate) fn values(&self) -> &[Bound] {
        &self.values
    }

    /// The parameter that stands for a value. Each stands in the text once and in order: so SQLite numbers them too.
    fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn time_clause(&mut self, column: TimeColumn, comparison: Comparison, at: Millis) -> String {
        let column = match column {
            TimeColumn::Created => "created_at",
            TimeColumn::Started => "started_at",
            TimeColumn::Ended => "ended_at",
        };
        let comparison = match comparison {
            Comparison::Equals => "=",
            Comparison::Before => "<",
            Comparison::After => ">",
        };
        format!("e.{column} {comparison} {}", self.bind(Bound::Number(at)))
    }

    fn id_clause(&mut self, column: IdColumn, operator: Operator, values: &[String]) -> String {
        match column {
            IdColumn::Execution => self.compare("e.id", operator, values),
            IdColumn::Application => self.compare("e.application", operator, values),
            IdColumn::Workflow => self.compare_entity("WORKFLOW", operator, values),
            IdColumn::Pipeline => self.compare_entity("PIPELINE", operator, values),
            IdColumn::PipelineExecution => self.compare("e.parent", operator, values),
            IdColumn::Environment => self.compare_environment(operator, values),
            IdColumn::Infrastructure => self.compare("e.infrastructure", operator, values),
            IdColumn::Service => self.compare_service(operator, values),
            IdColumn::Status => statuses(operator, values, Status::public_name),
            IdColumn::InnerStatus => statuses(operator, values, Status::name),
            IdColumn::Element => self.compare("e.element", operator, values),
            IdColumn::InfrastructureName => self.compare_infrastructure_name(operator, values),
            IdColumn::TriggeredBy => self.compare("e.caused_by", operator, values),
        }
    }

    /// A comparison with a column. NOT_IN holds for rows without a value.
    fn compare(&mut self, column: &str, operator: Operator, values: &[String]) -> String {
        match operator {
            Operator::NotNull => format!("{column} IS NOT NULL"),
            Operator::Equals | Operator::In if values.is_empty() => NOTHING.to_owned(),
            Operator::Equals | Operator::In => format!("{column} IN ({})", self.listed(values)),
            Operator::NotIn if values.is_empty() => EVERYTHING.to_owned(),
            Operator::NotIn => format!("({column} IS NULL OR {column} NOT IN ({}))", self.listed(values)),
            Operator::Like => {
                let parts: Vec<String> = values.iter().map(|value| self.contains(column, value)).collect();
                if parts.is_empty() { NOTHING.to_owned() } else { format!("({})", parts.join(" OR ")) }
            }
        }
    }

    fn listed(&mut self, values: &[String]) -> String {
        let bound: Vec<String> = values.iter().map(|value| self.bind(Bound::Text(value.clone()))).collect();
        bound.join(", ")
    }

    fn contains(&mut self, column: &str, value: &str) -> String {
        let value = self.bind(Bound::Text(value.to_lowercase()));
        format!("{}(lower({column}), {value}) > 0", self.dialect.contains)
    }

    /// The entity column is a workflow's or a pipeline's, as the row's kind says.
    fn compare_entity(&mut self, kind: &str, operator: Operator, values: &[String]) -> String {
        let clause = self.compare("e.entity", operator, values);
        if operator == Operator::NotIn {
            return format!("(e.kind <> '{kind}' OR {clause})");
        }
        format!("(e.kind = '{kind}' AND {clause})")
    }

    /// Names are compared with their lower-case twin, which Rust made: the database lowers ASCII only.
    fn compare_infrastructure_name(&mut self, operator: Operator, values: &[String]) -> String {
        let column =
            if operator == Operator::Like { "e.infrastructure_sort" } else { "e.infrastructure_name" };
        self.compare(column, operator, values)
    }

    /// A pipeline has an environment once a workflow in it that uses the environment has ended (`behaviour.md` 13.3).
    fn compare_environment(&mut self, operator: Operator, values: &[String]) -> String {
        let (sign, operator) = positive(operator);
        let own = self.compare("e.environment", operator, values);
        let members = self.compare("m.environment", operator, values);
        format!(
            "{sign} (coalesce({own}, FALSE) OR EXISTS (SELECT 1 FROM executions m WHERE m.parent = e.id AND m.final \
             AND {members}))"
        )
    }

    fn compare_service(&mut self, operator: Operator, values: &[String]) -> String {
        let (sign, operator) = positive(operator);
        let clause = self.compare("s.service", operator, values);
        format!(
            "{sign} EXISTS (SELECT 1 FROM execution_services s WHERE s.execution = e.number AND {clause})"
        )
    }
}

/// Of a thing of which a row may have several, "none of these" is "not any of these".
fn positive(operator: Operator) -> (&'static str, Operator) {
    match operator {
        Operator::NotIn => ("NOT", Operator::In),
        other => ("", other),
    }
}

/// The inner statuses whose name, as `named` gives it, passes; a name nobody knows passes nothing.
fn statuses(operator: Operator, values: &[String], named: fn(Status) -> &'static str) -> String {
    let passes = |name: &str| match operator {
        Operator::Equals | Operator::In => values.iter().any(|value| value == name),
        Operator::NotIn => values.iter().all(|value| value != name),
        Operator::Like => values.iter().any(|value| name.contains(&value.to_uppercase())),
        Operator::NotNull => true,
    };
    let inner: Vec<String> = Status::ALL
        .into_iter()
        .filter(|status| passes(named(*status)))
        .map(|status| format!("'{}'", status.name()))
        .collect();
    if inner.is_empty() { NOTHING.to_owned() } else { format!("e.status IN ({})", inner.join(", ")) }
}

/// ORDER BY of an order; the homes do not agree where rows without a value stand, so it says so.
pub(crate) fn order_sql(order: Order, now: Millis) -> String {
    const PLACE: &str = "e.stage NULLS FIRST, e.stage_element NULLS FIRST, e.leg NULLS FIRST, e.number";
    match order {
        Order::Newest => "e.number DESC".to_owned(),
        Order::Place => PLACE.to_owned(),
        Order::Status => format!(
            "CASE e.status WHEN 'FAILED' THEN 0 WHEN 'ERROR' THEN 0 WHEN 'ABORTED' THEN 1 WHEN 'EXPIRED' THEN 2 \
             WHEN 'REJECTED' THEN 3 WHEN 'PAUSED' THEN 4 WHEN 'ABORTING' THEN 5 WHEN 'PAUSING' THEN 6 \
             WHEN 'WAITING' THEN 7 WHEN 'RUNNING' THEN 8 WHEN 'STARTING' THEN 9 WHEN 'QUEUED' THEN 10 \
             WHEN 'SUCCESS' THEN 11 ELSE 12 END, {PLACE}"
        ),
        Order::Name => {
            format!("e.infrastructure_sort NULLS FIRST, e.infrastructure_name NULLS FIRST, {PLACE}")
        }
        Order::Duration => {
            format!("coalesce(e.ended_at, {now}) - e.started_at DESC NULLS LAST, {PLACE}")
        }
    }
}
