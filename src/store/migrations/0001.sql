-- What the engine remembers: one row an entry, the entry itself as JSON, so that a field added to it
-- needs no migration.
CREATE TABLE task (
    server TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (server, kind, id)
) STRICT, WITHOUT ROWID;

-- `subject` is JSON: {"task":[kind,id]} or {"name":[kind,hash]}.
CREATE TABLE progress (
    server TEXT NOT NULL,
    subject TEXT NOT NULL,
    rule TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (server, subject, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE rule (
    server TEXT NOT NULL,
    rule TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (server, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE server (
    server TEXT NOT NULL PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `time` is in microseconds since 1970, UTC.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    server TEXT NOT NULL,
    rule TEXT,
    action TEXT NOT NULL,
    kind TEXT,
    task_id TEXT,
    task_name TEXT,
    attempt INTEGER,
    reason TEXT NOT NULL,
    error TEXT,
    class TEXT,
    mode TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    rules_revision TEXT NOT NULL
) STRICT;

CREATE INDEX audit_time ON audit (time);

-- Without `server`: an index that began with it would be taken for questions about one server, which
-- with a single server means sorting everything.
CREATE INDEX audit_task ON audit (task_id) WHERE task_id IS NOT NULL;

CREATE INDEX audit_open ON audit (server) WHERE mode = 'live' AND outcome = 'planned';
