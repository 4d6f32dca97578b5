-- The whole schema of today, as the numbered files make it: for reading. A test proves that they agree.

-- One row a timer. Almost all of its life a row rests; it is updated twice when it fires.
CREATE TABLE timers (
    -- The id's last byte, so that every look-up by id is one by primary key as well.
    shard smallint NOT NULL CHECK (shard = get_byte(uuid_send(id), 15)),
    id uuid NOT NULL,
    status text NOT NULL
        CHECK (
            status IN ('pending', 'executing', 'retrying', 'completed', 'failed', 'canceled')
        ),
    -- When somebody must pick this row up; NULL while it is claimed and once it has ended.
    due_at timestamptz,
    execute_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When the last create or update was written: lateness counts from it.
    requested_at timestamptz NOT NULL,
    executed_at timestamptz,
    -- Scheme, host and port of callback_url, so that the loader need not read and parse that.
    destination text NOT NULL,
    callback_url text NOT NULL,
    callback_method text NOT NULL
        CHECK (callback_method IN ('POST', 'PUT', 'PATCH', 'GET', 'DELETE')),
    callback_headers json NOT NULL CHECK (json_typeof(callback_headers) = 'object'),
    -- Text, since jsonb would forget the order of keys and refuse some characters.
    callback_payload text,
    metadata jsonb CHECK (jsonb_typeof(metadata) = 'object'),
    timeout_s double precision NOT NULL CHECK (timeout_s > 0 AND timeout_s < 'infinity'),
    delivery text NOT NULL CHECK (delivery IN ('at_least_once', 'at_most_once')),
    -- NULL: it may fire however late it is.
    misfire_grace_s double precision CHECK (misfire_grace_s >= 0 AND misfire_grace_s < 'infinity'),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- The last claim, kept when the timer has ended so that a repeated settle finds its own work.
    -- Negative once that claim has given the timer back, for the same reason.
    claim bigint CHECK (claim <> 0),
    -- The replica that holds the timer now.
    claimed_by uuid,
    last_error text,
    -- Attempts up to the last one that was settled: of those after it, `attempt - settled_attempts`,
    -- nobody knows the outcome.
    settled_attempts integer NOT NULL DEFAULT 0,
    -- The policy of further attempts; NULL: one attempt.
    retry json CHECK (json_typeof(retry) = 'object'),
    -- Which answers are kept; NULL: those of failures.
    store_response text CHECK (store_response IN ('all', 'none')),
    -- Failed attempts since the create or the redrive: the budget, and the exponent of the delay.
    failures smallint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    -- When the attempt after a failure is due. A claim leaves it, since lateness counts from it.
    next_attempt_at timestamptz,
    -- When the first attempt of this budget was due, only where the policy gives up some time after it.
    first_due_at timestamptz,
    -- Of the last attempt whose outcome is known.
    http_status smallint,
    duration_ms integer,
    -- The name that its consumer gave it. While the timer lives its row in `timer_keys` names it, and no
    -- other timer; afterwards until another one takes the name.
    key text,
    -- Who is told how it has ended, by a timer of its own: URL and headers; NULL: nobody.
    on_completed json,
    on_failed json,
    -- The timer whose result this one is. It may be gone.
    parent_id uuid,
    -- The schedule whose occurrence it is; all that follows is of an occurrence alone.
    schedule_id uuid,
    -- The version that it was planned under; NULL: somebody asked for it beside the rule.
    schedule_version integer,
    -- The instant of the rule, which jitter or a change of the timer may have moved it away from.
    occurs_at timestamptz,
    -- The next instant of the rule, at which this one is skipped if it has not begun; NULL: it never is.
    superseded_at timestamptz,
    -- It may be skipped, before its first attempt; NULL once it was redriven.
    may_be_skipped boolean,
    -- Whose it is.
    project integer NOT NULL DEFAULT 0,
    -- Its callbacks carry no signature; NULL: they do.
    signing text CHECK (signing IN ('none')),
    -- The flow that it is in, all of whose timers are in this shard; NULL: in none.
    flow_key text CHECK (char_length(flow_key) BETWEEN 1 AND 255),
    -- It counts towards `max_live_timers` of its project while it lives; NULL: it does not.
    is_counted boolean,
    -- The span in which it was created, as W3C Trace Context spells it; NULL: nobody told.
    traceparent text,

    PRIMARY KEY (shard, id),
    CONSTRAINT timers_due_unless_held_or_ended CHECK (
        (due_at IS NULL)
        = (claimed_by IS NOT NULL OR status IN ('completed', 'failed', 'canceled'))
    ),
    CONSTRAINT timers_held_while_executing CHECK (
        claimed_by IS NULL OR (status = 'executing' AND claim > 0 AND attempt > 0)
    ),
    CONSTRAINT timers_pending_is_not_claimed CHECK (status <> 'pending' OR coalesce(claim, -1) < 0),
    CONSTRAINT timers_retrying_is_not_claimed CHECK (
        status <> 'retrying' OR (claim < 0 AND next_attempt_at IS NOT NULL)
    ),
    CONSTRAINT timers_executing_was_claimed CHECK (status <> 'executing' OR claim IS NOT NULL),
    CONSTRAINT timers_completed_was_sent CHECK (status <> 'completed' OR executed_at IS NOT NULL),
    -- What Python's datetime can hold: one row beyond it would make a whole batch unreadable.
    CONSTRAINT timers_instants_in_range CHECK (
        least(
            due_at, execute_at, created_at, updated_at, requested_at, executed_at, next_attempt_at,
            first_due_at
        ) >= '1970-01-01 00:00:00+00'
        AND greatest(
            due_at, execute_at, created_at, updated_at, requested_at, executed_at, next_attempt_at,
            first_due_at
        ) < '10000-01-01 00:00:00+00'
    )
) WITH (
    -- Both updates change an indexed column, so none is HOT, and room left on a page buys nothing.
    fillfactor = 100,
    -- Each fired timer leaves two dead rows; the default of 20 % would let a table of ten million
    -- resting timers gather two million of them, at the head of the index that the loader reads.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    -- Old statistics know nothing of what is due now.
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

-- The one index of the hot path: what is due next in a shard.
CREATE INDEX timers_due ON timers (shard, due_at, id) WHERE due_at IS NOT NULL;

-- What a dead replica held.
CREATE INDEX timers_claimed_by ON timers (claimed_by) WHERE claimed_by IS NOT NULL;

-- The two orders of a list, a project at a time, with the id that breaks ties.
CREATE INDEX timers_project_created ON timers (project, created_at, id);
CREATE INDEX timers_project_execute ON timers (project, execute_at, id);

-- Equality on a key of the metadata. Without fastupdate no insert has to tidy up after many others.
CREATE INDEX timers_metadata ON timers USING gin (metadata jsonb_path_ops)
    WITH (fastupdate = off) WHERE metadata IS NOT NULL;

-- What failed or was canceled of a project, by when it ended. A timer that completes costs no entry.
CREATE INDEX timers_project_failed ON timers (project, status, updated_at, id)
    WHERE status IN ('failed', 'canceled');

-- The occurrences of a schedule. A timer that is none costs no entry.
CREATE INDEX timers_schedule ON timers (schedule_id, status, occurs_at, id)
    WHERE schedule_id IS NOT NULL;

-- What is due of a flow, and its timers by what has become of them and when they were last sent. A timer
-- that is in none costs no entry.
CREATE INDEX timers_flow_due ON timers (project, flow_key, due_at, id)
    WHERE flow_key IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX timers_flow_sent ON timers (project, flow_key, status, executed_at)
    WHERE flow_key IS NOT NULL;

-- The live timers of projects that limit them. No other timer has an entry.
CREATE INDEX timers_counted ON timers (project)
    WHERE is_counted AND status IN ('pending', 'executing', 'retrying');

-- One row an attempt that tells more than its timer's own row: not for a first attempt that was
-- delivered, unless its answer is kept. A partition a day of `ended_at`, so that old ones are dropped
-- and not deleted; the default one takes what no other does.
CREATE TABLE attempts (
    shard smallint NOT NULL,
    timer_id uuid NOT NULL,
    attempt integer NOT NULL,
    -- NULL: nobody knows, as the replica that began it has died.
    started_at timestamptz,
    ended_at timestamptz NOT NULL,
    outcome text NOT NULL,
    http_status smallint,
    error text,
    -- Pairs of name and value; NULL: no answer is kept.
    response_headers json,
    response_body bytea,
    is_truncated boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (ended_at);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;
CREATE INDEX attempts_timer ON attempts (timer_id, attempt);

-- One row a living replica; the counter is its heartbeat. A claim locks the row FOR KEY SHARE, which
-- a heartbeat does not wait for, and a sweep does.
CREATE TABLE replicas (
    id uuid PRIMARY KEY,
    counter bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    -- It owns no shard any more: it is about to stop.
    leaving boolean NOT NULL DEFAULT false,
    host text NOT NULL DEFAULT '',
    pid integer NOT NULL DEFAULT 0,
    version text NOT NULL DEFAULT '',
    -- As of the last heartbeat. Nothing is decided by these.
    beaten_at timestamptz,
    in_flight integer NOT NULL DEFAULT 0,
    cached integer NOT NULL DEFAULT 0,
    clock_offset_s double precision,
    -- Of which cells it has been told; NULL: its release knows of none.
    map text
);

-- Keys that consumers choose. An `idempotency` key stands for a request and what it was answered, until
-- it expires.
CREATE TABLE timer_keys (
    project integer NOT NULL DEFAULT 0,
    kind text NOT NULL CHECK (kind IN ('idempotency', 'name')),
    key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    -- What it stands for, in the order of the request; a name stands for one.
    timer_ids uuid[] NOT NULL,
    -- Of the request: its route and its body as parsed.
    fingerprint bytea,
    -- What it was answered: the HTTP status, and the data of the envelope as JSON.
    status smallint,
    answer text,
    -- NULL: it stands until somebody takes it over.
    expires_at timestamptz,

    PRIMARY KEY (project, kind, key),
    CONSTRAINT timer_keys_idempotency_has_its_answer CHECK (
        kind <> 'idempotency'
        OR num_nulls(fingerprint, status, answer, expires_at) = 0
    ),
    CONSTRAINT timer_keys_name_is_of_one CHECK (kind <> 'name' OR cardinality(timer_ids) = 1)
);

-- What has expired.
CREATE INDEX timer_keys_expires ON timer_keys (expires_at) WHERE expires_at IS NOT NULL;

-- What signs callbacks: of each project one secret that has no end, and those that were rotated.
CREATE TABLE signing_secrets (
    id uuid PRIMARY KEY,
    project integer NOT NULL,
    -- `whsec_` and base64.
    secret text NOT NULL CHECK (secret <> ''),
    created_at timestamptz NOT NULL,
    -- NULL: it is the current one, valid until it is rotated.
    expires_at timestamptz
);

-- However many replicas make the first secret of a project at once, there is one.
CREATE UNIQUE INDEX signing_secrets_current ON signing_secrets (project) WHERE expires_at IS NULL;
CREATE INDEX signing_secrets_project ON signing_secrets (project, created_at);

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

-- Where replicas whose circuit breakers are half open probe, one at a time, and how their probes ended.
-- While no breaker is open it is empty, or has what is about to be deleted.
CREATE TABLE breaker_probes (
    project integer NOT NULL,
    destination text NOT NULL,
    -- Who probes, as long as its row is in `replicas`; NULL: nobody.
    replica uuid,
    -- When its right ends at the latest; where nobody probes, when the last probe was answered, or until
    -- when nobody shall probe since it has failed.
    until timestamptz NOT NULL,
    is_answered boolean NOT NULL DEFAULT false,

    PRIMARY KEY (project, destination),
    CONSTRAINT breaker_probes_answered_have_ended CHECK (replica IS NULL OR NOT is_answered)
);

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
    -- The flow that its occurrences are in; NULL: in none.
    flow_key text CHECK (char_length(flow_key) BETWEEN 1 AND 255),

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

-- The order of a list, a project at a time, with the id that breaks ties; equality on a key of the
-- metadata.
CREATE INDEX schedules_project_created ON schedules (project, created_at, id);
CREATE INDEX schedules_metadata
    ON schedules USING gin (((template ->> 'metadata')::jsonb) jsonb_path_ops);

-- Whose things are: all that the keys of one consumer see, and nothing of the others'.
CREATE TABLE projects (
    id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    -- NULL once it is deleted: the name is free, and what was still on its way into the project is
    -- looked for.
    name text UNIQUE CHECK (name ~ '^[a-z0-9-]{1,63}$'),
    created_at timestamptz NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    -- Since when nobody may use it any more.
    closed_at timestamptz,
    -- Since when all its callbacks are held back; NULL: it is not paused.
    paused_at timestamptz,
    -- When its last pause ended.
    resumed_at timestamptz,
    -- The version of its last change.
    changed bigint NOT NULL DEFAULT 0,

    CONSTRAINT projects_closed_before_deleted CHECK (name IS NOT NULL OR closed_at IS NOT NULL)
);

-- All that was written before there were projects is in it.
INSERT INTO projects (id, name, created_at) VALUES (0, 'default', now());

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

-- Which replica claims of the flows in a shard: that one alone. A shard in which no flow has ever had a
-- timer due has no row. A claim locks the row FOR SHARE, so whoever takes it waits for claims under way.
CREATE TABLE flow_terms (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    replica uuid NOT NULL,
    -- How often it was taken.
    term bigint NOT NULL
);

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

CREATE TABLE api_keys (
    id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    project integer NOT NULL REFERENCES projects ON DELETE CASCADE,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    scopes text [] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ '{read,write,admin,metrics}'),
    -- Of the secret, which nobody keeps.
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    -- To the minute.
    last_used_at timestamptz
);

CREATE INDEX api_keys_project ON api_keys (project, created_at, id);

-- What the ids of all keys are sealed with, so that a made-up one is known without a look here.
CREATE TABLE key_seal (
    seal bytea NOT NULL CHECK (octet_length(seal) = 32)
);

INSERT INTO key_seal (seal)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- Who has done what in which project, from where: kept for some weeks.
CREATE TABLE audit (
    project integer NOT NULL,
    at timestamptz NOT NULL,
    id uuid NOT NULL,
    -- Of several that are told as one, when the last of them was done.
    last_at timestamptz NOT NULL,
    -- NULL: the key of the whole service.
    key_id text,
    address text,
    action text NOT NULL CHECK (action <> ''),
    -- To what; NULL: to several.
    target text,
    count bigint NOT NULL CHECK (count > 0),
    details json CHECK (json_typeof(details) = 'object'),

    PRIMARY KEY (project, at, id),
    CONSTRAINT audit_in_order CHECK (at <= last_at)
);

-- What has become of one thing; what is old.
CREATE INDEX audit_target ON audit (project, target, at, id) WHERE target IS NOT NULL;
CREATE INDEX audit_at ON audit (at);

-- Which cells there are, and which of them this is: whoever says otherwise must not write here.
-- Without a row there is one cell.
CREATE TABLE cell_map (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    map text NOT NULL,
    own text NOT NULL,
    -- The shards that are on their way: from here to another database, if that has the rest of `own`, or
    -- to here, if they are all of it. NULL: none are.
    moving text
);

-- Which of these files have been applied, and what they said.
CREATE TABLE timer_trio_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    -- The oldest release that can work on a database with this step; NULL: any can.
    oldest_release text
);
