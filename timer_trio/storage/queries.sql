-- Every statement of the service but one: listing.py puts the list together.
--
-- All run autocommitted under READ COMMITTED: a statement that has waited for a row goes on with
-- the row's newest version, but finds rows as of its own start. So what judges a row first locks it,
-- by nothing but its id, and then looks at the locked version.

-- name: session
-- Makes a new connection ready, and reads what durability the server offers. By statement, since a
-- pooler in between passes no start-up options on. Where tables are looked for is pinned as it was
-- when the session began, since another client of a pooler may have changed it meanwhile.
SELECT
    (
        SELECT count(set_config(name, value, false))
        FROM unnest(%(names)s::text[], %(values)s::text[]) AS s (name, value)
    ) AS settings,
    set_config('search_path', coalesce(%(search_path)s, path.reset_val), false) AS search_path,
    current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit
FROM pg_catalog.pg_settings AS path
WHERE path.name = 'search_path';

-- name: missing_grants
-- Which of these rights the role lacks, of the tables that are there.
SELECT needed.name, needed.privilege
FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS needed (name, privilege)
WHERE
    to_regclass(needed.name) IS NOT NULL
    AND NOT has_table_privilege(to_regclass(needed.name), needed.privilege);

-- name: backend
SELECT pg_backend_pid() AS pid;

-- name: create
-- Writes a batch of new timers, sent as one JSON text: half the cost of fifteen arrays.
INSERT INTO timers (
    shard, id, status, due_at, execute_at, created_at, updated_at, requested_at,
    destination, callback_url, callback_method, callback_headers, callback_payload,
    metadata, timeout_s, delivery, misfire_grace_s
)
SELECT
    get_byte(uuid_send(id), 15), id, 'pending', execute_at, execute_at, created_at, %(now)s, %(now)s,
    destination, callback_url, callback_method, callback_headers, callback_payload,
    metadata, timeout_s, delivery, misfire_grace_s
FROM json_populate_recordset(NULL::timers, %(timers)s::json)
ON CONFLICT (shard, id) DO NOTHING;

-- name: create_many
-- Writes many new timers in a transaction of its own. Most of the cost is in the indexes, as with
-- JSON; but its lines can be put together bit by bit, so that the event loop goes on.
COPY timers (
    shard, id, status, due_at, execute_at, created_at, updated_at, requested_at,
    destination, callback_url, callback_method, callback_headers, callback_payload,
    metadata, timeout_s, delivery, misfire_grace_s
) FROM STDIN;

-- name: is_there
SELECT 1 FROM timers WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s;

-- name: get
-- JSON comes as text, so that a value which Python cannot parse spoils no other row.
SELECT
    id, status, execute_at, created_at, updated_at, executed_at,
    callback_url, callback_method, callback_headers::text, callback_payload,
    metadata::text, timeout_s, delivery, misfire_grace_s, attempt, last_error
FROM timers
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s;

-- name: update
-- Changes a pending timer, and says what its status was when we had it locked. What `change` does
-- not name stays as it is.
WITH asked AS (
    SELECT shard, id, status
    FROM timers
    WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s
    FOR NO KEY UPDATE
),
changed AS (
    UPDATE timers AS t
    SET
        (
            execute_at, due_at, destination, callback_url, callback_method, callback_headers,
            callback_payload, metadata, timeout_s, delivery, misfire_grace_s
        ) = (
            SELECT
                execute_at, execute_at, destination, callback_url, callback_method,
                callback_headers, callback_payload, metadata, timeout_s, delivery, misfire_grace_s
            FROM json_populate_record(t, %(change)s::json)
        ),
        updated_at = %(now)s,
        requested_at = %(now)s
    FROM asked
    WHERE t.shard = asked.shard AND t.id = asked.id AND asked.status = 'pending'
    RETURNING t.id, t.status, t.created_at, t.execute_at, t.callback_url, t.executed_at
)
SELECT asked.status AS status_before, changed.*
FROM asked LEFT JOIN changed ON true;

-- name: cancel
-- Cancels a pending timer, and says what its status was when we had it locked.
WITH asked AS (
    SELECT shard, id, status, created_at, execute_at, callback_url, executed_at
    FROM timers
    WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s
    FOR NO KEY UPDATE
),
canceled AS (
    UPDATE timers AS t
    SET status = 'canceled', due_at = NULL, updated_at = %(now)s
    FROM asked
    WHERE t.shard = asked.shard AND t.id = asked.id AND asked.status = 'pending'
)
SELECT
    status AS status_before, id, 'canceled' AS status,
    created_at, execute_at, callback_url, executed_at
FROM asked;

-- name: load
-- Reads the next page of each shard. One index scan a shard: an ANY(shards) with an ORDER BY would
-- sort the whole window for each page. Where a destination is cut off is looked up by its place among
-- those that are, since a join could be planned in an order that sorts as well.
SELECT t.due_at, t.id, t.destination
FROM unnest(%(shards)s::smallint[], %(instants)s::timestamptz[], %(ids)b::uuid[])
    AS behind (shard, due_at, id)
CROSS JOIN LATERAL (
    SELECT due_at, id, destination
    FROM timers
    WHERE
        timers.shard = behind.shard
        AND (timers.due_at, timers.id) > (behind.due_at, behind.id)
        AND timers.due_at <= %(until)s
        AND coalesce(
            timers.due_at < (%(cut_offs)s::timestamptz[])[
                array_position(%(destinations)s::text[], timers.destination)
            ],
            true
        )
    ORDER BY timers.due_at, timers.id
    LIMIT %(per_shard)s
) AS t;

-- name: claim
-- Claims what is due by `until` and nobody holds, and finds again what this very claim holds.
-- No row at all: the replica is gone. A row without an id: nothing to tell. A row without an
-- attempt: that timer is due later.
-- The replica's row is locked first, so that a sweep either waits for us and then sees what we took,
-- or makes us take nothing. What this claim has given back it never takes again: that would be a
-- statement that comes late, whose answer nobody waits for.
WITH me AS (
    SELECT id FROM replicas WHERE id = %(replica)s FOR KEY SHARE
),
asked AS (
    SELECT
        t.shard, t.id, t.due_at, t.destination, t.claim,
        t.claim = %(claim)s AND t.claimed_by = me.id AS is_ours
    FROM me
    CROSS JOIN unnest(%(ids)b::uuid[]) AS a (id)
    JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t
),
taken AS (
    UPDATE timers AS t
    SET
        status = 'executing',
        due_at = NULL,
        claim = %(claim)s,
        claimed_by = %(replica)s,
        attempt = CASE WHEN asked.is_ours THEN t.attempt ELSE t.attempt + 1 END,
        updated_at = CASE WHEN asked.is_ours THEN t.updated_at ELSE %(now)s END
    FROM asked
    WHERE
        t.shard = asked.shard
        AND t.id = asked.id
        AND (
            asked.is_ours
            OR (asked.due_at <= %(until)s AND asked.claim IS DISTINCT FROM -%(claim)s)
        )
    RETURNING
        t.id, t.attempt, t.attempt - 1 - t.settled_attempts AS unknown_attempts, t.requested_at, t.execute_at,
        t.callback_url, t.callback_method, t.callback_headers::text, t.callback_payload,
        t.metadata::text, t.timeout_s, t.delivery, t.misfire_grace_s
),
moved AS (
    SELECT id, due_at, destination FROM asked WHERE due_at > %(until)s
)
SELECT
    coalesce(taken.id, moved.id) AS id,
    taken.attempt, taken.unknown_attempts, taken.requested_at, taken.execute_at,
    taken.callback_url, taken.callback_method, taken.callback_headers, taken.callback_payload,
    taken.metadata, taken.timeout_s, taken.delivery, taken.misfire_grace_s,
    moved.due_at, moved.destination
FROM me
LEFT JOIN (taken FULL JOIN moved ON taken.id = moved.id) ON true;

-- name: still_due
-- Which of these a claim that skips locked rows should have found: somebody locks them. What else it
-- did not find has ended, or is held under another claim.
SELECT t.id
FROM unnest(%(ids)b::uuid[]) AS a (id)
JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
WHERE t.due_at IS NOT NULL OR (t.claim = %(claim)s AND t.claimed_by = %(replica)s);

-- name: look_again
-- Tells which of these rows nobody locks any more: they have a due time if nobody holds them. A row
-- that is locked shows as it was before whoever locks it began.
WITH asked AS (
    SELECT t.shard, t.id, a.claim
    FROM unnest(%(ids)b::uuid[], %(claims)s::bigint[]) AS a (id, claim)
    JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
    WHERE t.due_at IS NOT NULL OR (t.claim = a.claim AND t.claimed_by = %(replica)s)
),
free AS (
    SELECT
        t.id, t.due_at, t.destination,
        t.claim = asked.claim AND t.claimed_by = %(replica)s AS is_held
    FROM asked JOIN timers AS t ON t.shard = asked.shard AND t.id = asked.id
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
SELECT asked.id, free.due_at, free.destination, free.is_held, free.id IS NULL AS is_locked
FROM asked LEFT JOIN free ON free.id = asked.id;

-- name: lock_holders
-- Names the sessions and prepared transactions that hold, or queue for, a lock on our tables under
-- which a row or a table may be kept from us for longer than our own statements take. What a role may
-- not see is NULL here.
SELECT
    a.pid, a.usename AS user, a.application_name, a.state, a.xact_start AS since,
    l.mode, l.granted, pg_blocking_pids(a.pid) AS waits_for, NULL AS prepared
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE
    l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation IN ('timers'::regclass, 'replicas'::regclass)
    AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
    AND a.pid <> pg_backend_pid()
    AND coalesce(a.xact_start < clock_timestamp() - make_interval(secs => %(held_s)s), true)
UNION ALL
SELECT
    NULL, p.owner, NULL, 'prepared', p.prepared, l.mode, l.granted, '{}', p.gid
FROM pg_locks AS l
JOIN pg_prepared_xacts AS p ON l.virtualtransaction = '-1/' || p.transaction
WHERE
    l.locktype = 'relation'
    AND p.database = current_database()
    AND l.relation IN ('timers'::regclass, 'replicas'::regclass)
    AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
ORDER BY since NULLS LAST
LIMIT %(limit)s;

-- name: settle
-- Writes what has been decided of claimed timers, and answers with the places in the batch whose
-- claim stood. Whoever gives a timer back changes its claim, so that the same statement, should it
-- come again, finds its work done and lowers nothing twice.
WITH given AS (
    SELECT *
    FROM json_to_recordset(%(settlements)s::json) AS s (
        place integer, id uuid, claim bigint, claim_after bigint, status text,
        due_at timestamptz, is_begun boolean, executed_at timestamptz, last_error text
    )
),
asked AS (
    SELECT
        t.shard, given.*,
        t.claim = given.claim AND t.status = 'executing' AS is_open,
        t.claim IN (given.claim, given.claim_after) AS stands
    FROM given
    JOIN timers AS t ON t.shard = get_byte(uuid_send(given.id), 15) AND t.id = given.id
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t
),
written AS (
    UPDATE timers AS t
    SET
        status = asked.status,
        due_at = asked.due_at,
        claim = asked.claim_after,
        claimed_by = NULL,
        attempt = CASE WHEN asked.is_begun THEN t.attempt ELSE t.attempt - 1 END,
        settled_attempts = CASE WHEN asked.is_begun THEN t.attempt ELSE t.settled_attempts END,
        executed_at = coalesce(asked.executed_at, t.executed_at),
        last_error = asked.last_error,
        updated_at = %(now)s
    FROM asked
    WHERE t.shard = asked.shard AND t.id = asked.id AND asked.is_open
)
SELECT place FROM asked WHERE stands;

-- name: still_claimed
-- The claims of these rows, for a settle that skips locked rows and did not find them.
SELECT t.id, t.claim
FROM unnest(%(ids)b::uuid[]) AS a (id)
JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id;

-- name: prune
-- Looks at the next page of timers in the order of their creation, and deletes those of them that
-- ended before the cutoff. A row that somebody holds is left for another time: whoever claims waits
-- for us, we wait for nobody. Where there are turns, nothing is looked at while it is another's.
-- By ctid: whatever the statistics say, no row is looked up that is not on the page.
WITH turn AS MATERIALIZED (
    SELECT coalesce(pg_try_advisory_xact_lock(%(turn)s::bigint), true) AS is_ours
),
page AS MATERIALIZED (
    SELECT ctid AS place, created_at, id
    FROM timers
    WHERE
        (SELECT is_ours FROM turn)
        AND created_at < %(cutoff)s
        AND (created_at, id) > (%(instant)s, %(id)s)
    ORDER BY created_at, id
    LIMIT %(limit)s
),
ended AS MATERIALIZED (
    SELECT ctid AS place
    FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM page))
        AND status IN ('completed', 'failed', 'canceled')
        AND updated_at < %(cutoff)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM timers WHERE ctid = ANY (ARRAY(SELECT place FROM ended))
    RETURNING id
)
SELECT
    (SELECT count(*) FROM page) AS looked_at,
    (SELECT count(*) FROM deleted) AS deleted,
    last.created_at,
    last.id
FROM (VALUES (1)) AS always
LEFT JOIN (
    SELECT created_at, id FROM page ORDER BY created_at DESC, id DESC LIMIT 1
) AS last ON true;

-- name: count_ended
-- Counts what a prune with this cutoff would delete.
SELECT count(*) AS ended
FROM timers
WHERE
    created_at < %(cutoff)s
    AND status IN ('completed', 'failed', 'canceled')
    AND updated_at < %(cutoff)s;

-- name: join
INSERT INTO replicas (id, started_at, host, pid, version)
VALUES (%(replica)s, %(now)s, %(host)s, %(pid)s, %(version)s)
ON CONFLICT (id) DO NOTHING;

-- name: beat
-- The clock is read last: a reading counts as of the arrival of the answer.
WITH own AS (
    UPDATE replicas
    SET
        counter = counter + 1,
        beaten_at = clock_timestamp(),
        in_flight = %(in_flight)s,
        cached = %(cached)s,
        clock_offset_s = %(clock_offset_s)s
    WHERE id = %(replica)s
    RETURNING id, counter, leaving
),
everybody AS (
    SELECT id, counter, leaving FROM own
    UNION ALL
    SELECT id, counter, leaving FROM replicas WHERE id <> %(replica)s
)
SELECT
    coalesce(array_agg(id), '{}') AS replicas,
    coalesce(array_agg(counter), '{}') AS counters,
    coalesce(array_agg(id) FILTER (WHERE leaving), '{}') AS leaving,
    clock_timestamp() AS now
FROM everybody;

-- name: leave
UPDATE replicas SET leaving = true WHERE id = %(replica)s;

-- name: replicas
SELECT
    id, host, pid, version, in_flight, cached, clock_offset_s, started_at, beaten_at, leaving
FROM replicas
ORDER BY started_at, id;

-- name: end_unread
-- Ends the sessions of the service whose answer nobody has read for so long. An answer that no buffer
-- takes in is sent before its statement commits: who freezes in the middle of it keeps the locks.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE
    datname = current_database()
    AND usename = current_user
    AND application_name = current_setting('application_name')
    AND wait_event = 'ClientWrite'
    AND query_start < clock_timestamp() - make_interval(secs => %(unread_s)s);

-- name: sweep
-- Four statements in one message, and so one transaction that needs nobody's word to end: who is
-- frozen in the middle of it holds no lock. The first waits for claims under way, and lets no more
-- in; the second, with a snapshot of its own, sees what they took, and what others whose rows are
-- gone had to leave because somebody locked it. Whose they are is found first: a row that has
-- changed meanwhile is judged by that list again, and not by replicas that this snapshot cannot see.
SELECT id FROM replicas
WHERE id = %(replica)s AND (%(counter)s::bigint IS NULL OR counter = %(counter)s)
FOR UPDATE;
WITH gone AS MATERIALIZED (
    SELECT %(replica)s::uuid AS id
    UNION
    SELECT claimed_by
    FROM timers
    WHERE
        claimed_by IS NOT NULL
        AND NOT EXISTS (SELECT FROM replicas WHERE replicas.id = timers.claimed_by)
),
held AS (
    SELECT shard, id FROM timers
    WHERE
        claimed_by IS NOT NULL
        AND claimed_by = ANY (ARRAY(SELECT id FROM gone))
        AND (
            %(counter)s::bigint IS NULL
            OR EXISTS (SELECT FROM replicas WHERE id = %(replica)s AND counter = %(counter)s)
        )
    ORDER BY shard, id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE timers AS t
SET claimed_by = NULL, due_at = %(now)s
FROM held
WHERE t.shard = held.shard AND t.id = held.id;
DELETE FROM replicas
WHERE id = %(replica)s AND (%(counter)s::bigint IS NULL OR counter = %(counter)s);
SELECT count(*) AS count
FROM timers
WHERE
    claimed_by IS NOT NULL
    AND NOT EXISTS (SELECT FROM replicas WHERE replicas.id = timers.claimed_by);

-- name: hint
SELECT pg_notify('timer_trio', %(hint)s);
