-- Resource constraints of the account, and who holds or wants their permits.

CREATE TABLE constraints (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    capacity   INTEGER NOT NULL,
    strategy   TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- A row per execution and step, for holders and for those in the queue of their constraint and unit.
CREATE TABLE permits (
    execution     INTEGER NOT NULL,
    step          INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    step_name     TEXT NOT NULL,
    constraint_id TEXT NOT NULL,
    unit          TEXT NOT NULL,
    permits       INTEGER NOT NULL,
    scope         TEXT NOT NULL,
    -- The execution whose end frees them: the parent for the scope PIPELINE.
    owner         INTEGER NOT NULL,
    ticket        INTEGER NOT NULL,
    granted       INTEGER NOT NULL,
    -- When it came to stand as it stands: asked, or granted.
    since         INTEGER NOT NULL,
    PRIMARY KEY (execution, step)
) WITHOUT ROWID;
CREATE INDEX permits_queue ON permits(constraint_id, unit, granted, ticket, permits);
CREATE INDEX permits_owner ON permits(owner);
