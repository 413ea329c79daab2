-- How many tasks the lists had, now and then. A row stands until the next one of its server.
CREATE TABLE queue (
    server TEXT NOT NULL,
    -- In microseconds since 1970, UTC.
    time INTEGER NOT NULL,
    -- By kind and state, as JSON; NULL while the server could not be read.
    tasks TEXT,
    PRIMARY KEY (server, time)
) STRICT, WITHOUT ROWID;

CREATE INDEX queue_time ON queue (time);
