-- What the stages ask for, from the table to the receiver and back.
--
-- All statements of the service run autocommitted under READ COMMITTED: one that has waited for a row
-- goes on with the row's newest version, but finds rows as of its own start. So what judges a row first
-- locks it, by nothing but its id, and then looks at the locked version.

-- name: load
-- Reads the next page of each shard. One index scan a shard: an ANY(shards) with an ORDER BY would
-- sort the whole window for each page. Where a destination or a flow is cut off is looked up by its place
-- among those that are, since a join could be planned in an order that sorts as well.
SELECT t.due_at, t.id, t.destination, t.project, t.flow_key
FROM unnest(%(shards)s::smallint[], %(instants)s::timestamptz[], %(ids)b::uuid[])
    AS behind (shard, due_at, id)
CROSS JOIN LATERAL (
    SELECT due_at, id, destination, project, flow_key
    FROM timers
    WHERE
        timers.shard = behind.shard
        AND (timers.due_at, timers.id) > (behind.due_at, behind.id)
        AND timers.due_at <= %(until)s
        AND coalesce(
            timers.due_at < (%(cut_offs)s::timestamptz[])[
                array_position(
                    %(backlogs)s::text[],
                    CASE
                        WHEN timers.flow_key IS NOT NULL
                            THEN timers.project || ' flow ' || timers.flow_key
                        WHEN timers.project <> 0 THEN timers.project || ' ' || timers.destination
                        ELSE timers.destination
                    END
                )
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
-- What is ours has an attempt; but if we have waited for the row, constraints are first checked on it as
-- it was before.
-- What is in a flow is not claimed by this statement, whoever asks for it, and is told as it is; there
-- is a form of it for flows, and the first lines of what is not taken say whether it is foreign there.
-- What the row said before is for results alone, and NULL where nobody asks for any.
-- Columns are read by their places: those of a spec are the last, but for an occurrence's own.
WITH me AS (
    SELECT id FROM replicas WHERE id = %(replica)s FOR KEY SHARE
),
asked AS (
    SELECT
        t.shard, t.id, t.due_at, t.destination, t.project, t.flow_key, t.claim,
        t.claim = %(claim)s AND t.claimed_by = me.id AS is_ours,
        t.flow_key IS NULL AS may_be_taken
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
        attempt = CASE WHEN asked.is_ours THEN greatest(t.attempt, 1) ELSE t.attempt + 1 END,
        updated_at = CASE WHEN asked.is_ours THEN t.updated_at ELSE %(now)s END
    FROM asked
    WHERE
        t.shard = asked.shard
        AND t.id = asked.id
        AND (
            asked.is_ours
            OR (
                asked.due_at <= %(until)s
                AND asked.claim IS DISTINCT FROM -%(claim)s
                AND asked.may_be_taken
            )
        )
    RETURNING
        t.id, t.attempt, t.attempt - 1 - t.settled_attempts AS unknown_attempts,
        t.failures, t.next_attempt_at, t.first_due_at, t.requested_at, {t.spec:text},
        coalesce(t.on_completed, t.on_failed) IS NOT NULL AS has_results,
        t.created_at, t.executed_at, t.http_status, t.duration_ms, t.key, t.flow_key, t.traceparent,
        t.project
),
moved AS (
    SELECT id, due_at, destination, project, flow_key, NOT may_be_taken AND due_at <= %(until)s AS is_foreign
    FROM asked
    WHERE due_at > %(until)s OR (due_at IS NOT NULL AND NOT may_be_taken)
)
SELECT
    coalesce(taken.id, moved.id), moved.due_at, moved.destination,
    coalesce(taken.project, moved.project), coalesce(taken.flow_key, moved.flow_key),
    moved.is_foreign, taken.attempt, taken.unknown_attempts, taken.failures, taken.next_attempt_at,
    taken.first_due_at, taken.requested_at,
    CASE WHEN taken.has_results THEN taken.created_at END,
    CASE WHEN taken.has_results THEN taken.executed_at END,
    CASE WHEN taken.has_results THEN taken.http_status END,
    CASE WHEN taken.has_results THEN taken.duration_ms END,
    CASE WHEN taken.has_results THEN taken.key END,
    taken.traceparent, {taken.spec}
FROM me
LEFT JOIN (taken FULL JOIN moved ON taken.id = moved.id) ON true;

-- name: held_terms
-- The shards of what is asked for whose terms are those that were asked in: whoever takes one waits for
-- this statement, and this one for him. A statement that comes late finds another number.
terms AS (
    SELECT f.shard
    FROM me
    CROSS JOIN unnest(%(shards)s::smallint[], %(terms)s::bigint[]) AS own (shard, term)
    JOIN flow_terms AS f ON f.shard = own.shard AND f.term = own.term
    WHERE f.replica = me.id
    ORDER BY f.shard
    FOR SHARE OF f
)

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
        t.id, t.due_at, t.destination, t.project, t.flow_key,
        t.claim = asked.claim AND t.claimed_by = %(replica)s AS is_held
    FROM asked JOIN timers AS t ON t.shard = asked.shard AND t.id = asked.id
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
SELECT
    asked.id, free.due_at, free.destination, free.project, free.flow_key, free.is_held,
    free.id IS NULL AS is_locked
FROM asked LEFT JOIN free ON free.id = asked.id;

-- name: held_claims
-- A page of what a replica holds, by the index of `claimed_by`: there is as much of it as a replica may
-- have in hand.
SELECT id, claim
FROM timers
WHERE claimed_by = %(replica)s AND (%(behind)b::uuid IS NULL OR id > %(behind)b)
ORDER BY id
LIMIT %(limit)s;

-- name: free
-- Frees as a sweep does what its replica knows nothing of. Whoever has settled it or claimed it anew in
-- the meantime has changed what it is held by.
WITH asked AS (
    SELECT t.shard, t.id, t.claim = a.claim AND t.claimed_by = %(replica)s AS is_held
    FROM unnest(%(ids)b::uuid[], %(claims)s::bigint[]) AS a (id, claim)
    JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE timers AS t
SET
    claimed_by = NULL,
    due_at = {due_again}
FROM asked
WHERE t.shard = asked.shard AND t.id = asked.id AND asked.is_held
RETURNING t.due_at, t.id, t.destination, t.project, t.flow_key;

-- name: settle
-- Writes what has been decided of claimed timers, and answers with the places in the batch whose
-- claim stood. Whoever gives a timer back changes its claim, so that the same statement, should it
-- come again, finds its work done and lowers nothing twice. What a settlement leaves out stays.
WITH given AS (
    SELECT *
    FROM json_to_recordset(%(settlements)s::json) AS s (
        place integer, id uuid, claim bigint, claim_after bigint, status text,
        due_at timestamptz, is_begun boolean, executed_at timestamptz, last_error text,
        http_status smallint, duration_ms integer
    )
),
asked AS (
    SELECT
        t.shard, given.*,
        t.claim = given.claim AND t.status = 'executing' AS is_open,
        t.claim IN (given.claim, -given.claim) AS stands
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
        last_error = CASE
            WHEN asked.due_at IS NULL THEN asked.last_error
            ELSE coalesce(asked.last_error, t.last_error)
        END,
        http_status = CASE
            WHEN asked.duration_ms IS NULL THEN t.http_status ELSE asked.http_status
        END,
        duration_ms = coalesce(asked.duration_ms, t.duration_ms),
        updated_at = %(now)s
    FROM asked
    WHERE t.shard = asked.shard AND t.id = asked.id AND asked.is_open
)
SELECT place FROM asked WHERE stands;

-- name: settle_failures
-- What settle writes of a failure besides, in the middle of the rest; what is delivered does not pay
-- for it.
        failures = coalesce(asked.failures, t.failures),
        next_attempt_at = CASE
            WHEN asked.status = 'retrying' THEN asked.due_at ELSE t.next_attempt_at
        END,
        first_due_at = coalesce(asked.first_due_at, t.first_due_at),
        updated_at = %(now)s;

-- name: beside_settle
-- What settle writes beside the timers' rows, where there is any: plain timers do not pay for it, which
-- is a fifth of a millisecond a statement. `attempts` are those that tell more than their timers' rows;
-- `results` are timers that tell how others have ended, under ids that are the same for the same ending.
recorded AS (
    INSERT INTO attempts (
        shard, timer_id, attempt, started_at, ended_at, outcome, http_status, error,
        response_headers, response_body, is_truncated
    )
    SELECT
        asked.shard, asked.id, a.attempt, a.started_at, a.ended_at, a.outcome, a.http_status,
        a.error, a.response_headers, decode(a.response_body, 'base64'), a.is_truncated
    FROM json_to_recordset(%(attempts)s::json) AS a (
        place integer, attempt integer, started_at timestamptz, ended_at timestamptz, outcome text,
        http_status smallint, error text, response_headers json, response_body text,
        is_truncated boolean
    )
    JOIN asked ON asked.place = a.place
    WHERE asked.is_open
),
told AS (
    INSERT INTO timers (
        shard, id, status, due_at, created_at, updated_at, requested_at, destination, project,
        parent_id, traceparent, {spec}
    )
    SELECT
        get_byte(uuid_send(r.id), 15), r.id, 'pending', r.execute_at, r.created_at, %(now)s,
        %(now)s, r.destination, parent.project, asked.id, parent.traceparent,
        {r.spec}
    FROM json_to_recordset(%(results)s::json) AS given_result (place integer, timer json)
    JOIN asked ON asked.place = given_result.place
    JOIN timers AS parent ON parent.shard = asked.shard AND parent.id = asked.id
    CROSS JOIN LATERAL json_populate_record(NULL::timers, given_result.timer) AS r
    WHERE asked.is_open
    ON CONFLICT (shard, id) DO NOTHING
);

-- name: still_claimed
-- The claims of these rows, for a settle that skips locked rows and did not find them.
SELECT t.id, t.claim
FROM unnest(%(ids)b::uuid[]) AS a (id)
JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id;
