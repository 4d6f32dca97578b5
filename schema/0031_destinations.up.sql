-- How callbacks to the destinations of a project ended, as each replica has counted them by spans of
-- five minutes.
CREATE TABLE destination_outcomes (
    project integer NOT NULL,
    -- In the order of a list, whatever the database's own is.
    destination text COLLATE "C" NOT NULL,
    -- Who counted: the replica by the first of its ids.
    replica uuid NOT NULL,
    -- When the span began.
    since timestamptz NOT NULL,
    delivered integer NOT NULL CHECK (delivered >= 0),
    rejected integer NOT NULL CHECK (rejected >= 0),
    unreachable integer NOT NULL CHECK (unreachable >= 0),
    timed_out integer NOT NULL CHECK (timed_out >= 0),
    other integer NOT NULL CHECK (other >= 0),
    -- How many took up to each limit: classes from half a millisecond to five minutes.
    durations integer [] NOT NULL CHECK (cardinality(durations) = 24),

    PRIMARY KEY (project, destination, replica, since)
) WITH (
    -- Each row is written again and again, and no indexed column of it: the new one finds room.
    fillfactor = 70
);

-- What is old enough to be deleted.
CREATE INDEX destination_outcomes_since ON destination_outcomes (since);

-- What each replica has in hand of a destination; a row counts while the replica has one in `replicas`.
CREATE TABLE destination_now (
    project integer NOT NULL,
    destination text COLLATE "C" NOT NULL,
    replica uuid NOT NULL,
    -- Timers that are due and held back, and those that are claimed and not answered.
    waiting integer NOT NULL CHECK (waiting >= 0),
    in_flight integer NOT NULL CHECK (in_flight >= 0),
    -- When its circuit breaker is half open; NULL: it is closed, or there is none.
    breaker_open_until timestamptz,
    -- When this was so.
    at timestamptz NOT NULL,

    PRIMARY KEY (project, destination, replica)
) WITH (
    fillfactor = 70
);
