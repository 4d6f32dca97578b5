-- How many live timers those projects have that limit them.
CREATE TABLE project_quotas (
    project integer PRIMARY KEY,
    -- The project has no more of them that are counted: as many as were found then, and all since.
    live integer NOT NULL CHECK (live >= 0),
    -- When they were counted last; NULL: they must be.
    counted_at timestamptz,
    -- Those are counted as well that were there before it had a limit; false: they are to be looked for.
    is_marked boolean NOT NULL DEFAULT false
);

-- A new column that all rows have no value in, and no check: nothing is read.
ALTER TABLE timers
    ADD COLUMN is_counted boolean;
