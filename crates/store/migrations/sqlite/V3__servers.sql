-- Servers that share the store, delegates that join by token, and what a task remembers of who had it.

CREATE TABLE servers (
    node       TEXT PRIMARY KEY,
    program    TEXT NOT NULL,
    since      INTEGER NOT NULL,
    -- The fence of its lease; the same stands in `leases`.
    fence      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Leases of connections that an earlier release wrote end here: nobody holds them after an upgrade.
UPDATE tasks SET state = 0, holder = NULL, fence = NULL, deliveries = deliveries + 1 WHERE state = 1;
DELETE FROM leases;
CREATE INDEX leases_node ON leases(node);

-- Who had it last, and until when only that holder gets it again.
ALTER TABLE tasks ADD COLUMN held_by TEXT;
ALTER TABLE tasks ADD COLUMN reserved_until INTEGER;
-- 1: what it begins lives on the delegate that has it.
ALTER TABLE tasks ADD COLUMN on_delegate INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tasks_leased ON tasks(fence) WHERE state = 1;

-- Holders that cannot do a task for a while.
CREATE TABLE bars (
    task         TEXT NOT NULL,
    holder       TEXT NOT NULL,
    barred_until INTEGER NOT NULL,
    PRIMARY KEY (task, holder)
) WITHOUT ROWID;

-- Which executions that somebody started have which plan; their legs have the same.
CREATE TABLE plan_uses (
    plan      TEXT NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (plan, execution)
) WITHOUT ROWID;
CREATE INDEX plan_uses_execution ON plan_uses(execution);
INSERT OR IGNORE INTO plan_uses (plan, execution)
    SELECT json_extract(CAST(r.body AS TEXT), '$.plan'), e.number
    FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE e.parent IS NULL;
CREATE INDEX executions_ended ON executions(ended_at) WHERE final = 1;
CREATE INDEX idempotency_execution ON idempotency(execution);

DROP TABLE delegates;
CREATE TABLE delegates (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    status     TEXT NOT NULL,
    key        TEXT NOT NULL,
    token      TEXT NOT NULL,
    announced  BLOB NOT NULL,
    scopes     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    seen       INTEGER NOT NULL
);

CREATE TABLE delegate_tokens (
    id                TEXT PRIMARY KEY,
    name              TEXT NOT NULL UNIQUE,
    hash              TEXT NOT NULL,
    approval_required INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    revoked_at        INTEGER
) WITHOUT ROWID;
