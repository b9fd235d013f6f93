-- The store's home on SQLite. Times are milliseconds since 1970 UTC; JSON is UTF-8 in BLOBs; `number` orders rows by creation.

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- ---------------------------------------------------------------- catalog

CREATE TABLE catalog_revisions (
    revision INTEGER PRIMARY KEY,
    author   TEXT NOT NULL,
    source   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    at       INTEGER NOT NULL
);

CREATE TABLE documents (
    id          TEXT PRIMARY KEY,
    path        TEXT NOT NULL,
    application TEXT,
    kind        TEXT NOT NULL,
    body        BLOB NOT NULL,
    is_file     INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
);
-- Not unique: a change may swap two paths; the transaction checks uniqueness when all its rows are written.
CREATE INDEX documents_path ON documents(path);
CREATE INDEX documents_revision ON documents(revision);

CREATE TABLE document_revisions (
    id       TEXT NOT NULL,
    revision INTEGER NOT NULL,
    path     TEXT NOT NULL,
    body     BLOB,
    PRIMARY KEY (id, revision)
);
CREATE INDEX document_revisions_path ON document_revisions(path, revision);
CREATE INDEX document_revisions_revision ON document_revisions(revision);

-- Derived from the documents' text: who refers to whom.
CREATE TABLE refs (
    referrer TEXT NOT NULL,
    referred TEXT NOT NULL,
    PRIMARY KEY (referrer, referred)
) WITHOUT ROWID;
CREATE INDEX refs_referred ON refs(referred, referrer);

-- ---------------------------------------------------------------- account records

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    hash       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE secrets (
    id     TEXT PRIMARY KEY,
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    record BLOB NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (name, kind)
);

CREATE TABLE artifacts (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    source       TEXT NOT NULL,
    collected_at INTEGER NOT NULL,
    body         BLOB NOT NULL
);
CREATE INDEX artifacts_source ON artifacts(source, collected_at DESC, number);

CREATE TABLE delegates (
    id        TEXT PRIMARY KEY,
    announced BLOB NOT NULL,
    seen      INTEGER NOT NULL
);

-- ---------------------------------------------------------------- executions

CREATE TABLE plans (
    digest TEXT PRIMARY KEY,
    body   BLOB NOT NULL
);

CREATE TABLE executions (
    number              INTEGER PRIMARY KEY AUTOINCREMENT,
    id                  TEXT NOT NULL UNIQUE,
    kind                TEXT NOT NULL,
    application         TEXT NOT NULL,
    entity              TEXT NOT NULL,
    parent              TEXT,
    element             TEXT,
    stage               INTEGER,
    stage_element       INTEGER,
    leg                 INTEGER,
    environment         TEXT,
    infrastructure      TEXT,
    infrastructure_name TEXT,
    -- Lower case, for search and order.
    infrastructure_sort TEXT,
    caused_by           TEXT NOT NULL,
    resumed_by          TEXT,
    created_at          INTEGER NOT NULL,
    status              TEXT NOT NULL,
    final               INTEGER NOT NULL,
    started_at          INTEGER,
    ended_at            INTEGER,
    seq                 INTEGER NOT NULL,
    -- RowState.
    state               BLOB NOT NULL
);
CREATE UNIQUE INDEX executions_leg ON executions(parent, element, leg) WHERE parent IS NOT NULL;
CREATE INDEX executions_status ON executions(parent, status);
CREATE INDEX executions_unfinished ON executions(number) WHERE final = 0;
CREATE INDEX executions_entity ON executions(entity);
CREATE INDEX executions_top ON executions(number) WHERE parent IS NULL;
CREATE INDEX executions_application ON executions(application, number) WHERE parent IS NULL;

-- The part that never changes, kept apart so that an append rewrites few bytes.
CREATE TABLE execution_rows (
    execution INTEGER PRIMARY KEY,
    body      BLOB NOT NULL
);

CREATE TABLE execution_services (
    execution INTEGER NOT NULL,
    service   TEXT NOT NULL,
    PRIMARY KEY (execution, service)
) WITHOUT ROWID;
CREATE INDEX execution_services_service ON execution_services(service, execution);

CREATE TABLE idempotency (
    key       TEXT PRIMARY KEY,
    execution TEXT NOT NULL
) WITHOUT ROWID;

-- One row an append, holding its events as one JSON list.
CREATE TABLE journal (
    number    INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    events    BLOB NOT NULL
);
CREATE UNIQUE INDEX journal_execution ON journal(execution, last_seq);

CREATE TABLE inbox (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    execution INTEGER NOT NULL,
    -- Whether it says only that completions are there; at most one of these an execution.
    completes INTEGER NOT NULL,
    item      BLOB NOT NULL
);
CREATE INDEX inbox_execution ON inbox(execution, number);

CREATE TABLE completions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    leg    TEXT NOT NULL UNIQUE,
    body   BLOB NOT NULL
);
CREATE INDEX completions_parent ON completions(parent, number);

CREATE TABLE deployments (
    number    INTEGER PRIMARY KEY,
    mapping   TEXT NOT NULL,
    status    TEXT NOT NULL,
    execution TEXT NOT NULL,
    body      BLOB NOT NULL,
    UNIQUE (execution, mapping)
);
CREATE INDEX deployments_mapping ON deployments(mapping, status, number);

-- ---------------------------------------------------------------- waiting: timers, locks, barriers

CREATE TABLE timers (
    execution INTEGER NOT NULL,
    key       TEXT NOT NULL,
    due       INTEGER NOT NULL,
    PRIMARY KEY (execution, key)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers(due);

-- A row per execution and key, for holders and for those in the queue. An execution holds its keys when its ticket is the lowest on each.
CREATE TABLE locks (
    execution INTEGER NOT NULL,
    key       TEXT NOT NULL,
    ticket    INTEGER NOT NULL,
    granted   INTEGER NOT NULL,
    PRIMARY KEY (execution, key)
) WITHOUT ROWID;
CREATE INDEX locks_key ON locks(key, ticket);

CREATE TABLE barriers (
    scope      TEXT NOT NULL,
    identifier TEXT NOT NULL,
    -- Participants, and those that arrived or ended well without it.
    seats      INTEGER NOT NULL DEFAULT 0,
    arrived    INTEGER NOT NULL DEFAULT 0,
    crossed    INTEGER NOT NULL DEFAULT 0,
    broken_by  TEXT,
    PRIMARY KEY (scope, identifier)
) WITHOUT ROWID;

CREATE TABLE seats (
    scope      TEXT NOT NULL,
    identifier TEXT NOT NULL,
    execution  TEXT NOT NULL,
    -- 0 not yet there, 1 arrived, 2 ended well without it, 3 failed before it was crossed.
    place      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, identifier, execution)
) WITHOUT ROWID;
CREATE INDEX seats_execution ON seats(execution);

-- ---------------------------------------------------------------- tasks and leases

CREATE TABLE leases (
    holder TEXT PRIMARY KEY,
    -- What a new lease fences: the node of the holder, or the holder itself.
    node   TEXT NOT NULL,
    fence  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tasks (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    execution  INTEGER,
    kind       TEXT NOT NULL,
    -- Selectors and capabilities wanted, as JSON; equal needs are equal text.
    needs      TEXT NOT NULL,
    -- 0 queued, 1 leased, 2 ended (only without an execution).
    state      INTEGER NOT NULL,
    holder     TEXT,
    fence      INTEGER,
    cancelled  INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    queued_at  INTEGER NOT NULL,
    ended_at   INTEGER,
    body       BLOB NOT NULL,
    outcome    BLOB
);
CREATE INDEX tasks_queued ON tasks(kind, needs, number) WHERE state = 0;
CREATE INDEX tasks_cancelled ON tasks(fence) WHERE cancelled = 1;
CREATE INDEX tasks_ended ON tasks(ended_at) WHERE state = 2;
