//! Looking a store through: the database itself, every journal, and whether rows that belong together say the same.

use std::path::Path;

use manifold_model::ExecutionId;
use manifold_model::event::Event;
use manifold_model::execution::{ExecutionRow, RowState};
use serde::Serialize;

use super::side::{Row, Side, Value};
use super::{DATABASE, Place, Result, TransferError, blocking};
use crate::values::{count, from_json};

/// Complaints kept; beyond they are counted.
const COMPLAINTS: usize = 1000;
/// Complaints that SQLite itself makes at most.
const DAMAGES: usize = 100;
/// A page of executions.
const EXECUTIONS: &str = "SELECT e.number, e.id, r.body, e.state, e.seq, e.resumed_by, e.status, e.final FROM executions e \
     LEFT JOIN execution_rows r ON r.execution = e.number WHERE e.number > $1 ORDER BY e.number LIMIT 100";

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Complaint {
    /// Which row: id of an execution or a task, or `database`.
    pub id: String,
    /// What is wrong with it.
    pub what: String,
}

/// What looking through came to.
#[derive(Clone, PartialEq, Eq, Serialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Executions looked at.
    pub executions: u64,
    /// Events of their journals.
    pub events: u64,
    /// What is wrong; empty: nothing.
    pub complaints: Vec<Complaint>,
    /// Complaints beyond those listed.
    pub left_off: u64,
}

impl Checked {
    fn complain(&mut self, id: &str, what: impl Into<String>) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(Complaint { id: id.to_owned(), what: what.into() });
        } else {
            self.left_off += 1;
        }
    }
}

/// An execution as the store has it.
#[derive(Debug)]
pub struct Found {
    /// Its row.
    pub row: ExecutionRow,
    /// Its whole journal.
    pub events: Vec<Event>,
    /// Its plan, if it is there.
    pub plan: Option<Vec<u8>>,
}

/// Looks a store through, as it was at one moment; servers may run on it meanwhile. `look` sees every execution whose journal can be read and
/// says what else is wrong with it.
///
/// # Errors
/// There is no store, it has another schema, or it cannot be reached. Damage is no error but a complaint.
pub async fn check(place: &Place, look: &mut (dyn FnMut(&Found) -> Vec<String> + Send)) -> Result<Checked> {
    let mut checked = Checked::default();
    if let Place::Folder(folder) = place {
        for damage in damages(folder).await? {
            checked.complain("database", damage);
        }
        // What is read from a damaged database means nothing.
        if !checked.complaints.is_empty() {
            return Ok(checked);
        }
    }
    let side = Side::look(place).await?;
    let mut after = 0;
    loop {
        let page = side.rows(EXECUTIONS, &[Value::Number(after)]).await?;
        let Some(last) = page.last().and_then(|row| row.first()) else { break };
        after = last.number();
        for row in &page {
            check_execution(&side, row, look, &mut checked).await?;
        }
    }
    for (sql, what) in RULES {
        for row in side.rows(sql, &[]).await? {
            let id = row.first().map(Value::text).unwrap_or_default();
            checked.complain(id, *what);
        }
    }
    Ok(checked)
}

/// What SQLite says of the file.
async fn damages(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(DATABASE);
    if !path.is_file() {
        return Err(TransferError::Missing(folder.display().to_string()));
    }
    blocking(move || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let found = rusqlite::Connection::open_with_flags(&path, flags).and_then(|db| {
            let mut statement = db.prepare(&format!("PRAGMA integrity_check({DAMAGES})"))?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        });
        match found {
            Ok(found) => Ok(found.into_iter().filter(|line| line != "ok").collect()),
            Err(error) => Ok(vec![error.to_string()]),
        }
    })
    .await
}

async fn check_execution(
    side: &Side,
    row: &Row,
    look: &mut (dyn FnMut(&Found) -> Vec<String> + Send),
    checked: &mut Checked,
) -> Result<()> {
    let [number, id, body, state, seq, resumed_by, status, ended] = row.as_slice() else { return Ok(()) };
    checked.executions += 1;
    let id = id.text();
    let parsed = from_json::<ExecutionRow>(body.bytes())
        .and_then(|row| from_json::<RowState>(state.bytes()).map(|state| (row, state)));
    let (mut row, state) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            checked.complain(id, format!("its row cannot be read: {}", cause(&error)));
            return Ok(());
        }
    };
    row.state = state;
    row.state.seq = count(seq.number());
    row.resumed_by = Some(resumed_by.text()).filter(|id| !id.is_empty()).map(ExecutionId::from);
    if row.state.status.name() != status.text() || row.state.status.is_final() != (ended.number() != 0) {
        checked
            .complain(id, format!("its row says {}, its column {}", row.state.status.name(), status.text()));
    }
    let Some(events) = journal(side, number, id, &row, checked).await? else { return Ok(()) };
    let digest = Value::Text(row.plan.to_string());
    let plan = side.rows("SELECT body FROM plans WHERE digest = $1", &[digest]).await?;
    let plan = plan.first().and_then(|row| row.first()).map(|body| body.bytes().to_vec());
    if plan.is_none() {
        checked.complain(id, format!("its plan {} is not there", row.plan));
    }
    for what in look(&Found { row, events, plan }) {
        checked.complain(id, what);
    }
    Ok(())
}

/// Reads a journal; `None` when it is not whole, which is complained of.
async fn journal(
    side: &Side,
    number: &Value,
    id: &str,
    row: &ExecutionRow,
    checked: &mut Checked,
) -> Result<Option<Vec<Event>>> {
    let sql = "SELECT last_seq, events FROM journal WHERE execution = $1 ORDER BY last_seq";
    let mut events: Vec<Event> = Vec::new();
    for append in side.rows(sql, std::slice::from_ref(number)).await? {
        let [last, body] = append.as_slice() else { continue };
        let batch: Vec<Event> = match from_json(body.bytes()) {
            Ok(batch) => batch,
            Err(error) => {
                let last = last.number();
                checked.complain(id, format!("events up to {last} cannot be read: {}", cause(&error)));
                return Ok(None);
            }
        };
        for event in batch {
            let expected = events.last().map_or(1, |event| event.seq + 1);
            if event.seq != expected {
                checked.complain(id, format!("event {} stands where {expected} must", event.seq));
                return Ok(None);
            }
            events.push(event);
        }
        let end = events.last().map_or(0, |event| event.seq);
        if end != count(last.number()) {
            checked.complain(id, format!("events end at {end}, their row says {}", last.number()));
        }
    }
    checked.events += events.len() as u64;
    let end = events.last().map_or(0, |event| event.seq);
    if end != row.state.seq {
        checked.complain(id, format!("its journal ends at event {end}, its row at {}", row.state.seq));
        return Ok(None);
    }
    Ok(Some(events))
}

/// An error with what it comes from.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What must not be: ids of rows that break a rule, and the rule. The same text runs on both homes.
const RULES: &[(&str, &str)] = &[
    (
        "SELECT t.id FROM tasks t WHERE t.execution IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.number = t.execution) ORDER BY t.id",
        "the task belongs to an execution that does not exist",
    ),
    (
        "SELECT t.id FROM tasks t JOIN executions e ON e.number = t.execution \
         WHERE e.final AND NOT t.cancelled ORDER BY t.id",
        "the task is wanted by an execution that has ended",
    ),
    (
        "SELECT t.id FROM tasks t WHERE t.state = 1 AND NOT EXISTS \
         (SELECT 1 FROM leases l WHERE l.holder = t.holder AND l.fence = t.fence) ORDER BY t.id",
        "the task is held under a lease that does not exist",
    ),
    (
        "SELECT t.id FROM tasks t WHERE (t.state = 1) <> (t.holder IS NOT NULL AND t.fence IS NOT NULL) ORDER BY t.id",
        "the task's state and its holder do not agree",
    ),
    (
        "SELECT e.id FROM timers t JOIN executions e ON e.number = t.execution WHERE e.final ORDER BY e.id",
        "it has ended and has a timer",
    ),
    (
        "SELECT e.id FROM locks l JOIN executions e ON e.number = l.execution WHERE e.final ORDER BY e.id",
        "it has ended and holds or waits for a lock",
    ),
    (
        "SELECT DISTINCT a.key FROM locks a JOIN locks b ON a.key = b.key AND a.execution < b.execution \
         WHERE a.granted AND b.granted ORDER BY a.key",
        "two executions hold this lock",
    ),
    (
        "SELECT e.id FROM executions e WHERE NOT e.final AND e.status <> 'PAUSED' \
         AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.execution = e.number) \
         AND NOT EXISTS (SELECT 1 FROM timers t WHERE t.execution = e.number) \
         AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.execution = e.number) \
         AND NOT EXISTS (SELECT 1 FROM permits p WHERE p.execution = e.number) \
         AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.execution = e.number) \
         AND NOT EXISTS (SELECT 1 FROM completions c WHERE c.parent = e.number) \
         AND NOT EXISTS (SELECT 1 FROM seats s WHERE s.execution = e.id AND s.place = 1) \
         AND NOT EXISTS (SELECT 1 FROM executions l WHERE l.parent = e.id AND NOT l.final) \
         AND e.seq > 1 ORDER BY e.id",
        "it has not ended, and nothing will wake it: no task, timer, lock, permit, message or leg",
    ),
    (
        "SELECT e.id FROM executions e WHERE e.parent IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM executions p WHERE p.id = e.parent) ORDER BY e.id",
        "it is a leg of an execution that does not exist",
    ),
    (
        "SELECT r.referrer FROM refs r WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = r.referrer) \
         ORDER BY r.referrer",
        "the document does not exist and refers to another",
    ),
];
