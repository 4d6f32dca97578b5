-- How often rules have changed: pauses, limits of flows, projects and their settings. Whoever changes
-- one raises this first, and holds its row until he commits: so what is older than a version that can
-- be read can be read as well.
CREATE TABLE rule_changes (
    version bigint NOT NULL
);

-- 0 is what a replica knows that has read nothing yet.
INSERT INTO rule_changes (version) VALUES (1);

-- The settings of flows. A flow may have timers and none.
CREATE TABLE flows (
    project integer NOT NULL,
    -- In the order of its bytes, as lists have it: beside timers.flow_key it needs a COLLATE.
    flow_key text COLLATE "C" NOT NULL CHECK (char_length(flow_key) BETWEEN 1 AND 255),
    -- Callbacks at once; NULL: no limit.
    max_in_flight integer CHECK (max_in_flight > 0),
    -- At most so many callbacks begin within so many seconds; NULL: no limit.
    rate_count integer CHECK (rate_count > 0),
    rate_per_s integer CHECK (rate_per_s > 0),
    -- NULL: it is not paused.
    paused_at timestamptz,
    -- When its last pause ended.
    resumed_at timestamptz,
    -- Its settings are deleted, which replicas are still to hear of.
    deleted_at timestamptz,
    -- The version of its last change.
    changed bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,

    PRIMARY KEY (project, flow_key),
    CONSTRAINT flows_rate_is_whole CHECK ((rate_count IS NULL) = (rate_per_s IS NULL)),
    CONSTRAINT flows_deleted_hold_nothing_back CHECK (
        deleted_at IS NULL OR num_nonnulls(max_in_flight, rate_count, paused_at) = 0
    )
);

CREATE INDEX flows_changed ON flows (changed);
CREATE INDEX flows_paused ON flows (project, flow_key) WHERE paused_at IS NOT NULL;
CREATE INDEX flows_deleted ON flows (deleted_at) WHERE deleted_at IS NOT NULL;

-- The destinations of a project whose callbacks are held back, and those where they were of late.
CREATE TABLE paused_destinations (
    project integer NOT NULL,
    destination text NOT NULL,
    -- NULL: it is paused no more.
    paused_at timestamptz,
    resumed_at timestamptz,
    changed bigint NOT NULL,

    PRIMARY KEY (project, destination)
);

CREATE INDEX paused_destinations_changed ON paused_destinations (changed);

-- All callbacks of a project are held back; its settings may do so as well.
ALTER TABLE projects
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN resumed_at timestamptz,
    ADD COLUMN changed bigint NOT NULL DEFAULT 0;
