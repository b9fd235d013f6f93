//! The tables of a store as both homes have them. Leases and servers are left out: nobody holds anything after a copy.

use manifold_model::Millis;

use crate::DELEGATE_DEAD_MS;

/// How a column's values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// 64-bit integer.
    Number,
    /// BOOLEAN on PostgreSQL, 0 or 1 on SQLite and in between.
    Truth,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What is read instead of the column itself; `@now` and `@later` stand for times.
    read: Option<&'static str>,
    /// As `read`, on PostgreSQL alone.
    read_postgres: Option<&'static str>,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, read: None, read_postgres: None }
}
const fn number(name: &'static str) -> Column {
    column(name, Kind::Number)
}
const fn truth(name: &'static str) -> Column {
    column(name, Kind::Truth)
}
const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}
const fn bytes(name: &'static str) -> Column {
    column(name, Kind::Bytes)
}
const fn read_as(column: Column, read: &'static str) -> Column {
    Column { read: Some(read), ..column }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    /// Columns by which its rows have one order.
    order: &'static str,
    /// Which rows there are; the rest of them stands elsewhere in the other home.
    only: Option<&'static str>,
    /// As `only`, on SQLite alone.
    only_sqlite: Option<&'static str>,
    /// The sequence of its numbers on PostgreSQL, when numbers must not come again or must go on.
    pub(super) sequence: Option<&'static str>,
}

const fn table(name: &'static str, columns: &'static [Column], order: &'static str) -> Table {
    Table { name, columns, order, only: None, only_sqlite: None, sequence: None }
}
const fn numbered(table: Table, sequence: &'static str) -> Table {
    Table { sequence: Some(sequence), ..table }
}

impl Table {
    /// Reads all its rows in order.
    pub(super) fn select(&self, postgres: bool, now: Millis) -> String {
        let columns: Vec<&str> = self
            .columns
            .iter()
            .map(|column| {
                let special = column.read_postgres.filter(|_| postgres).or(column.read);
                special.unwrap_or(column.name)
            })
            .collect();
        let conditions: Vec<&str> =
            self.only.into_iter().chain(self.only_sqlite.filter(|_| !postgres)).collect();
        let only = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        let later = now.saturating_add(DELEGATE_DEAD_MS).to_string();
        format!("SELECT {} FROM {} WHERE {only} ORDER BY {}", columns.join(", "), self.name, self.order)
            .replace("@now", &now.to_string())
            .replace("@later", &later)
    }

    /// Names of its columns.
    pub(super) fn names(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }
}

/// The counter of tickets on SQLite, a sequence on PostgreSQL.
pub(super) const TICKET: &str = "ticket";
/// The sequence of tickets on PostgreSQL.
pub(super) const TICKETS: &str = "tickets";
/// Tables that are not copied: who holds the store now, and what the schema's migrations keep.
#[cfg(test)]
pub(super) const NOT_COPIED: [&str; 3] = ["leases", "servers", "refinery_schema_history"];

/// All of them.
pub(super) const TABLES: &[Table] = &[
    Table { only: Some("name <> 'ticket'"), ..table("counters", &[text("name"), number("value")], "name") },
    table(
        "catalog_revisions",
        &[number("revision"), text("author"), text("source"), text("reason"), number("at")],
        "revision",
    ),
    table(
        "documents",
        &[
            text("id"),
            text("path"),
            text("application"),
            text("kind"),
            bytes("body"),
            truth("is_file"),
            number("revision"),
            number("created_at"),
        ],
        "id",
    ),
    table(
        "document_revisions",
        &[text("id"), number("revision"), text("path"), bytes("body")],
        "id, revision",
    ),
    table("refs", &[text("referrer"), text("referred")], "referrer, referred"),
    table("settings", &[text("name"), text("value")], "name"),
    table("api_keys", &[text("id"), text("name"), text("hash"), number("created_at")], "id"),
    table("secrets", &[text("id"), text("kind"), text("name"), bytes("record"), bytes("sealed")], "id"),
    numbered(
        table(
            "artifacts",
            &[number("number"), text("id"), text("source"), number("collected_at"), bytes("body")],
            "number",
        ),
        "artifacts_number_seq",
    ),
    numbered(
        table(
            "delegates",
            &[
                number("number"),
                text("id"),
                text("name"),
                text("status"),
                text("key"),
                text("token"),
                bytes("announced"),
                bytes("scopes"),
                number("created_at"),
                number("seen"),
            ],
            "number",
        ),
        "delegates_number_seq",
    ),
    table(
        "delegate_tokens",
        &[
            text("id"),
            text("name"),
            text("hash"),
            truth("approval_required"),
            number("created_at"),
            number("revoked_at"),
        ],
        "id",
    ),
    table(
        "constraints",
        &[text("id"), text("name"), number("capacity"), text("strategy"), number("created_at")],
        "id",
    ),
    table("plans", &[text("digest"), bytes("body")], "digest"),
    table("plan_uses", &[text("plan"), number("execution")], "plan, execution"),
    numbered(table("executions", EXECUTION, "number"), "executions_number_seq"),
    table("execution_rows", &[number("execution"), bytes("body")], "execution"),
    table("execution_services", &[number("execution"), text("service")], "execution, service"),
    table("idempotency", &[text("key"), text("execution")], "key"),
    table("journal", &[number("execution"), number("last_seq"), bytes("events")], "execution, last_seq"),
    Table {
        // That completions are there is a row on SQLite alone.
        only_sqlite: Some("completes = 0"),
        ..numbered(
            table("inbox", &[number("number"), number("execution"), bytes("item")], "number"),
            "inbox_number_seq",
        )
    },
    numbered(
        table("completions", &[COMPLETION, number("parent"), text("leg"), bytes("body")], "leg"),
        "completion_numbers",
    ),
    numbered(
        table(
            "deployments",
            &[number("number"), text("mapping"), text("status"), text("execution"), bytes("body")],
            "number",
        ),
        "deployments_number_seq",
    ),
    table("timers", &[number("execution"), text("key"), number("due")], "execution, key"),
    table("locks", &[number("execution"), text("key"), number("ticket"), truth("granted")], "execution, key"),
    table(
        "barriers",
        &[
            text("scope"),
            text("identifier"),
            number("seats"),
            number("arrived"),
            truth("crossed"),
            text("broken_by"),
        ],
        "scope, identifier",
    ),
    table(
        "seats",
        &[text("scope"), text("identifier"), text("execution"), number("place")],
        "scope, identifier, execution",
    ),
    table("permits", PERMIT, "execution, step"),
    numbered(table("tasks", TASK, "number"), "tasks_number_seq"),
    table("bars", &[text("task"), text("holder"), number("barred_until")], "task, holder"),
];

const EXECUTION: &[Column] = &[
    number("number"),
    text("id"),
    text("kind"),
    text("application"),
    text("entity"),
    text("parent"),
    text("element"),
    number("stage"),
    number("stage_element"),
    number("leg"),
    text("environment"),
    text("infrastructure"),
    text("infrastructure_name"),
    text("infrastructure_sort"),
    text("caused_by"),
    text("resumed_by"),
    number("created_at"),
    text("status"),
    truth("final"),
    number("started_at"),
    number("ended_at"),
    number("seq"),
    bytes("state"),
];

const PERMIT: &[Column] = &[
    number("execution"),
    number("step"),
    number("attempt"),
    text("step_name"),
    text("constraint_id"),
    text("unit"),
    number("permits"),
    text("scope"),
    number("owner"),
    number("ticket"),
    truth("granted"),
    number("since"),
];

/// A completion that nobody has read yet has no number on PostgreSQL; it gets the next ones.
const COMPLETION: Column = Column {
    read_postgres: Some(
        "coalesce(number, (SELECT last_value FROM completion_numbers) \
         + row_number() OVER (PARTITION BY number IS NULL ORDER BY written))",
    ),
    ..number("number")
};

/// Leased tasks go back to the queue, as after a crash of their holders.
const TASK: &[Column] = &[
    number("number"),
    text("id"),
    number("execution"),
    text("kind"),
    text("needs"),
    read_as(number("state"), "CASE WHEN state = 1 THEN 0 ELSE state END"),
    read_as(text("holder"), "CASE WHEN state = 1 THEN NULL ELSE holder END"),
    read_as(number("fence"), "CASE WHEN state = 1 THEN NULL ELSE fence END"),
    truth("cancelled"),
    read_as(number("deliveries"), "CASE WHEN state = 1 THEN deliveries + 1 ELSE deliveries END"),
    read_as(number("queued_at"), "CASE WHEN state = 1 THEN @now ELSE queued_at END"),
    number("ended_at"),
    bytes("body"),
    bytes("outcome"),
    read_as(text("held_by"), "CASE WHEN state = 1 THEN holder ELSE held_by END"),
    read_as(
        number("reserved_until"),
        "CASE WHEN state <> 1 THEN reserved_until WHEN on_delegate THEN @later END",
    ),
    truth("on_delegate"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_table_and_every_column_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (_lock, db) = crate::sqlite::open(&folder.path().join("manifold.db")).unwrap();
        let mut tables = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let tables: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        for name in tables.iter().filter(|name| !NOT_COPIED.contains(&name.as_str())) {
            let table = TABLES.iter().find(|table| table.name == name);
            let table = table.unwrap_or_else(|| panic!("the table {name} is not copied"));
            let mut columns = db.prepare(&format!("SELECT name FROM pragma_table_info('{name}')")).unwrap();
            let columns: Vec<String> =
                columns.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
            for column in columns {
                // Each home has these by itself.
                let own = matches!(
                    (name.as_str(), column.as_str()),
                    ("journal", "number") | ("inbox", "completes")
                );
                let copied = table.columns.iter().any(|known| known.name == column);
                assert!(own || copied, "the column {column} of {name} is not copied");
            }
        }
    }
}
