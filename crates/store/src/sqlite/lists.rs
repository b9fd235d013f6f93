//! Lists of executions: filtered, sorted and counted by the database.

use std::collections::BTreeMap;

use manifold_model::execution::ExecutionRow;
use manifold_model::{Millis, Status};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::{count, int, rows};
use crate::{Comparison, Condition, ExecutionFilter, IdColumn, Operator, Order, Page, Result, TimeColumn};

/// A clause that no row passes.
const NOTHING: &str = "0";

/// A WHERE clause in the making.
#[derive(Default)]
struct Where {
    clauses: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn of(filter: &ExecutionFilter) -> Self {
        let mut built = Self::default();
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

    fn sql(&self) -> String {
        if self.clauses.is_empty() { "1".to_owned() } else { self.clauses.join(" AND ") }
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
        self.values.push(Value::Integer(at));
        format!("e.{column} {comparison} ?")
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
            IdColumn::Status => statuses(operator, values, public_status),
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
            Operator::NotIn if values.is_empty() => "1".to_owned(),
            Operator::NotIn => format!("({column} IS NULL OR {column} NOT IN ({}))", self.listed(values)),
            Operator::Like => {
                let parts: Vec<String> = values.iter().map(|value| self.contains(column, value)).collect();
                if parts.is_empty() { NOTHING.to_owned() } else { format!("({})", parts.join(" OR ")) }
            }
        }
    }

    fn listed(&mut self, values: &[String]) -> String {
        self.values.extend(values.iter().cloned().map(Value::Text));
        vec!["?"; values.len()].join(", ")
    }

    fn contains(&mut self, column: &str, value: &str) -> String {
        self.values.push(Value::Text(value.to_lowercase()));
        format!("instr(lower({column}), ?) > 0")
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
            "{sign} (coalesce({own}, 0) OR EXISTS (SELECT 1 FROM executions m WHERE m.parent = e.id AND m.final = 1 \
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

/// What FirstGen clients see of a status (`behaviour.md` 13.1).
fn public_status(status: Status) -> &'static str {
    match status {
        Status::Starting | Status::Aborting | Status::Pausing | Status::Waiting => "RUNNING",
        other => other.name(),
    }
}

const STATUSES: [Status; 14] = [
    Status::Queued,
    Status::Starting,
    Status::Running,
    Status::Waiting,
    Status::Pausing,
    Status::Paused,
    Status::Aborting,
    Status::Success,
    Status::Failed,
    Status::Aborted,
    Status::Rejected,
    Status::Expired,
    Status::Skipped,
    Status::Error,
];

/// The inner statuses whose name, as `named` gives it, passes; a name nobody knows passes nothing.
fn statuses(operator: Operator, values: &[String], named: fn(Status) -> &'static str) -> String {
    let passes = |name: &str| match operator {
        Operator::Equals | Operator::In => values.iter().any(|value| value == name),
        Operator::NotIn => values.iter().all(|value| value != name),
        Operator::Like => values.iter().any(|value| name.contains(&value.to_uppercase())),
        Operator::NotNull => true,
    };
    let inner: Vec<String> = STATUSES
        .into_iter()
        .filter(|status| passes(named(*status)))
        .map(|status| format!("'{}'", status.name()))
        .collect();
    format!("e.status IN ({})", inner.join(", "))
}

fn order_sql(order: Order, now: Millis) -> String {
    const PLACE: &str = "e.stage, e.stage_element, e.leg, e.number";
    match order {
        Order::Newest => "e.number DESC".to_owned(),
        Order::Place => PLACE.to_owned(),
        Order::Status => format!(
            "CASE e.status WHEN 'FAILED' THEN 0 WHEN 'ERROR' THEN 0 WHEN 'ABORTED' THEN 1 WHEN 'EXPIRED' THEN 2 \
             WHEN 'REJECTED' THEN 3 WHEN 'PAUSED' THEN 4 WHEN 'ABORTING' THEN 5 WHEN 'PAUSING' THEN 6 \
             WHEN 'WAITING' THEN 7 WHEN 'RUNNING' THEN 8 WHEN 'STARTING' THEN 9 WHEN 'QUEUED' THEN 10 \
             WHEN 'SUCCESS' THEN 11 ELSE 12 END, {PLACE}"
        ),
        Order::Name => format!("e.infrastructure_sort, e.infrastructure_name, {PLACE}"),
        Order::Duration => {
            format!("coalesce(e.ended_at, {now}) - e.started_at DESC NULLS LAST, {PLACE}")
        }
    }
}

pub(super) fn page(
    db: &Connection,
    filter: &ExecutionFilter,
    order: Order,
    offset: u64,
    limit: u32,
    now: Millis,
) -> Result<Page<ExecutionRow>> {
    let built = Where::of(filter);
    let total: i64 = db
        .prepare(&format!("SELECT count(*) FROM executions e WHERE {}", built.sql()))?
        .query_row(params_from_iter(&built.values), |row| row.get(0))?;
    let sql = format!(
        "SELECT {} FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE {} ORDER BY {} \
         LIMIT {limit} OFFSET {}",
        rows::COLUMNS,
        built.sql(),
        order_sql(order, now),
        int(offset)
    );
    let items = db
        .prepare(&sql)?
        .query_and_then(params_from_iter(&built.values), rows::execution)?
        .collect::<Result<_>>()?;
    Ok(Page { items, total: count(total) })
}

pub(super) fn counts(db: &Connection, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
    let built = Where::of(filter);
    let mut statement = db.prepare(&format!(
        "SELECT e.status, count(*) FROM executions e WHERE {} GROUP BY e.status",
        built.sql()
    ))?;
    let mut counted = BTreeMap::new();
    let mut found = statement.query(params_from_iter(&built.values))?;
    while let Some(row) = found.next()? {
        if let Some(status) = Status::parse(&row.get::<_, String>(0)?) {
            counted.insert(status, count(row.get(1)?));
        }
    }
    Ok(counted)
}
