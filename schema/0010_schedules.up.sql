-- Rules that make timers, again and again: each occurrence of a schedule is a timer.
CREATE TABLE schedules (
    -- The id's last byte, which its occurrences have as well.
    shard smallint NOT NULL CHECK (shard = get_byte(uuid_send(id), 15)),
    id uuid NOT NULL,
    project integer NOT NULL DEFAULT 0,
    name text CHECK (char_length(name) BETWEEN 1 AND 255),
    status text NOT NULL CHECK (status IN ('active', 'paused', 'ended')),
    -- Raised by each change of what says when: occurrences of an older one are none any more.
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- One of `cron`, `rrule` (each with its `timezone`) and `every`, in seconds.
    rule json NOT NULL CHECK (json_typeof(rule) = 'object'),
    start_at timestamptz,
    end_at timestamptz,
    max_occurrences integer CHECK (max_occurrences > 0),
    catch_up text NOT NULL CHECK (catch_up IN ('latest', 'all')),
    overlap text NOT NULL CHECK (overlap IN ('allow', 'skip')),
    jitter_s double precision NOT NULL CHECK (jitter_s >= 0 AND jitter_s < 'infinity'),
    -- What each occurrence has of a timer: its columns, but for `execute_at`.
    template json NOT NULL CHECK (json_typeof(template) = 'object'),
    -- The instants of the rule up to here have been dealt with: planned, or skipped.
    planned_to timestamptz NOT NULL,
    -- When the next ones must be planned; NULL while there is nothing to plan.
    plan_at timestamptz,
    -- How many instants have been dealt with; how many of them have no timer, since they were skipped.
    instants bigint NOT NULL DEFAULT 0 CHECK (instants >= 0),
    unplanned bigint NOT NULL DEFAULT 0 CHECK (unplanned >= 0),
    -- The version of the zone data that what is pending was planned with; NULL: the rule knows no zone.
    zone_data text,
    -- Why the service has paused it.
    last_error text,

    PRIMARY KEY (shard, id),
    CONSTRAINT schedules_planned_while_active CHECK (plan_at IS NULL OR status = 'active'),
    CONSTRAINT schedules_instants_in_range CHECK (
        least(created_at, updated_at, start_at, end_at, planned_to, plan_at)
        >= '1970-01-01 00:00:00+00'
        AND greatest(created_at, updated_at, start_at, end_at, planned_to, plan_at)
        < '10000-01-01 00:00:00+00'
    )
);

-- What is to be planned next in a shard.
CREATE INDEX schedules_plan ON schedules (shard, plan_at, id) WHERE plan_at IS NOT NULL;

-- A name is of one schedule that has not ended.
CREATE UNIQUE INDEX schedules_name ON schedules (project, name)
    WHERE name IS NOT NULL AND status <> 'ended';

-- The order of a list, with the id that breaks ties; equality on a key of the metadata.
CREATE INDEX schedules_created ON schedules (created_at, id);
CREATE INDEX schedules_metadata
    ON schedules USING gin (((template ->> 'metadata')::jsonb) jsonb_path_ops);

-- Of an occurrence alone. Columns without a check are added at once, however many rows there are.
ALTER TABLE timers
    ADD COLUMN schedule_id uuid,
    -- The version that it was planned under; NULL: somebody asked for it beside the rule.
    ADD COLUMN schedule_version integer,
    -- The instant of the rule, which jitter or a change of the timer may have moved it away from.
    ADD COLUMN occurs_at timestamptz,
    -- The next instant of the rule, at which this one is skipped if it has not begun; NULL: it never is.
    ADD COLUMN superseded_at timestamptz,
    -- It may be skipped, before its first attempt; NULL once it was redriven.
    ADD COLUMN may_be_skipped boolean;
