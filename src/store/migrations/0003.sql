-- What the lists showed, as it changed. A look stands for those after it that showed nothing new.
-- Times are in microseconds since 1970, UTC.
CREATE TABLE look (
    number INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    time INTEGER NOT NULL,
    -- The look before it, and whether the server was away since; NULL for the first of a process.
    before INTEGER,
    away INTEGER NOT NULL,
    flavour TEXT NOT NULL,
    -- In milliseconds.
    skew INTEGER NOT NULL,
    -- A JSON list of kinds.
    unread TEXT NOT NULL,
    -- Whether nothing of it is left but how tasks that are still listed were last seen. What is seen of
    -- such a task next takes the place of that.
    kept INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX look_time ON look (time);

CREATE TABLE seen_task (
    number INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    -- Name, creator and roles, as JSON.
    about TEXT NOT NULL,
    UNIQUE (server, kind, id)
) STRICT;

-- Errors and statuses, each once.
CREATE TABLE seen_text (
    number INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE observation (
    look INTEGER NOT NULL,
    task INTEGER NOT NULL,
    -- NULL when it left the list.
    state TEXT,
    started INTEGER,
    ended INTEGER,
    progress REAL NOT NULL,
    bytes INTEGER NOT NULL,
    error INTEGER,
    status INTEGER,
    still_since INTEGER,
    PRIMARY KEY (look, task)
) STRICT, WITHOUT ROWID;

CREATE INDEX observation_task ON observation (task, look);
CREATE INDEX observation_error ON observation (error) WHERE error IS NOT NULL;
CREATE INDEX observation_status ON observation (status) WHERE status IS NOT NULL;

-- What nothing speaks of any more goes too.
CREATE TRIGGER observation_gone AFTER DELETE ON observation BEGIN
    DELETE FROM seen_task WHERE number = OLD.task
        AND NOT EXISTS (SELECT 1 FROM observation WHERE task = OLD.task);
    DELETE FROM seen_text WHERE number = OLD.error
        AND NOT EXISTS (SELECT 1 FROM observation WHERE error = OLD.error)
        AND NOT EXISTS (SELECT 1 FROM observation WHERE status = OLD.error);
    DELETE FROM seen_text WHERE number = OLD.status
        AND NOT EXISTS (SELECT 1 FROM observation WHERE error = OLD.status)
        AND NOT EXISTS (SELECT 1 FROM observation WHERE status = OLD.status);
END;

-- Actions whose calls went wrong, and how, as JSON.
CREATE TABLE trouble (
    intent INTEGER PRIMARY KEY,
    what TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_gone AFTER DELETE ON audit BEGIN
    DELETE FROM trouble WHERE intent = OLD.id;
END;
