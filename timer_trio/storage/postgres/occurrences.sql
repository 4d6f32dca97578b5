-- Occurrences, where they are more than timers.

-- name: claimed_occurrence
-- What a claim of occurrences returns besides: what each is an occurrence of, and whether it is to be
-- skipped before its first attempt, since the next one is due as well and nobody has canceled that one
-- by itself. Jitter, or a change, that has moved this one moves the instant that counts with it.
t.schedule_id, t.occurs_at,
        coalesce(
            t.may_be_skipped AND t.attempt = 1
            AND t.superseded_at + (t.execute_at - t.occurs_at) <= %(now)s
            AND NOT EXISTS (
                SELECT FROM timers AS n
                WHERE
                    n.schedule_id = t.schedule_id AND n.status = 'canceled'
                    AND n.occurs_at = t.superseded_at AND n.last_error IS NULL
            ),
            false
        ) AS is_superseded;

-- name: claim_exclusive
-- Claims occurrences of which none may begin while another one of its schedule is under way. Two
-- statements in one message, and so one transaction that needs nobody's word to end: the first locks
-- the replica and the schedules, and the second sees, with a snapshot of its own, what others did under
-- these locks. Of each schedule at most one that has not begun is claimed; others that are due are
-- named with their due time, as what has moved is. What is skipped ends here: a claim that is about to
-- be skipped would itself be under way. An occurrence whose schedule is gone is claimed as any timer.
-- (If we have waited for a row, constraints are first checked on it as it was before: hence what is set
-- although it is so already.)
SELECT set_config('timer_trio.schedules', coalesce(string_agg(held.id::text, ','), ''), true)
FROM (
    SELECT s.id
    FROM (SELECT id FROM replicas WHERE id = %(replica)s FOR KEY SHARE) AS me
    CROSS JOIN schedules AS s
    WHERE
        (s.shard, s.id) IN (
            SELECT get_byte(uuid_send(t.schedule_id), 15), t.schedule_id
            FROM unnest(%(ids)s::uuid[]) AS a (id)
            JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
        )
    ORDER BY s.shard, s.id
    FOR NO KEY UPDATE OF s
) AS held;
WITH me AS (
    SELECT id FROM replicas WHERE id = %(replica)s FOR KEY SHARE
),
asked AS (
    SELECT
        t.shard, t.id, t.due_at, t.destination, t.project, t.flow_key, t.claim, t.schedule_id,
        t.claim = %(claim)s AND t.claimed_by = me.id AS is_ours,
        t.flow_key IS NULL AS may_be_taken,
        coalesce(t.may_be_skipped AND t.attempt = 0, false) AS is_fresh,
        t.superseded_at + (t.execute_at - t.occurs_at) <= %(now)s
        AND NOT EXISTS (
            SELECT FROM timers AS n
            WHERE
                n.schedule_id = t.schedule_id AND n.status = 'canceled'
                AND n.occurs_at = t.superseded_at AND n.last_error IS NULL
        ) AS is_superseded
    FROM me
    CROSS JOIN unnest(%(ids)s::uuid[]) AS a (id)
    JOIN timers AS t ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id
    WHERE
        t.schedule_id = ANY (
            string_to_array(current_setting('timer_trio.schedules'), ',')::uuid[]
        )
        OR NOT EXISTS (
            SELECT FROM schedules AS s
            WHERE s.shard = get_byte(uuid_send(t.schedule_id), 15) AND s.id = t.schedule_id
        )
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t
),
judged AS (
    SELECT
        asked.*,
        CASE
            WHEN NOT asked.is_fresh THEN NULL
            WHEN asked.is_superseded THEN %(superseded)s
            WHEN EXISTS (
                SELECT FROM timers AS o
                WHERE
                    o.schedule_id = asked.schedule_id AND o.status IN ('executing', 'retrying')
            ) THEN %(overlapped)s
        END AS skipped
    FROM asked
    WHERE
        asked.is_ours
        OR (
            asked.due_at <= %(until)s
            AND asked.claim IS DISTINCT FROM -%(claim)s
            AND asked.may_be_taken
        )
),
ranked AS (
    SELECT
        judged.*,
        row_number() OVER (
            PARTITION BY judged.schedule_id ORDER BY judged.is_fresh, judged.due_at, judged.id
        ) AS place
    FROM judged
    WHERE judged.skipped IS NULL
),
taken AS (
    UPDATE timers AS t
    SET
        status = 'executing',
        due_at = NULL,
        claim = %(claim)s,
        claimed_by = %(replica)s,
        attempt = CASE WHEN ranked.is_ours THEN greatest(t.attempt, 1) ELSE t.attempt + 1 END,
        updated_at = CASE WHEN ranked.is_ours THEN t.updated_at ELSE %(now)s END
    FROM ranked
    WHERE
        t.shard = ranked.shard
        AND t.id = ranked.id
        AND (NOT ranked.is_fresh OR ranked.place = 1)
    RETURNING
        t.id, t.attempt, t.attempt - 1 - t.settled_attempts AS unknown_attempts,
        t.failures, t.next_attempt_at, t.first_due_at, t.requested_at, {t.spec:text},
        coalesce(t.on_completed, t.on_failed) IS NOT NULL AS has_results,
        t.created_at, t.executed_at, t.http_status, t.duration_ms, t.key, t.flow_key,
        t.traceparent, t.project, t.schedule_id, t.occurs_at
),
skipped AS (
    UPDATE timers AS t
    SET
        status = 'canceled', due_at = NULL, claimed_by = NULL, last_error = judged.skipped,
        updated_at = %(now)s
    FROM judged
    WHERE t.shard = judged.shard AND t.id = judged.id AND judged.skipped IS NOT NULL
    RETURNING t.id
),
moved AS (
    SELECT id, due_at, destination, project, flow_key, NOT may_be_taken AND due_at <= %(until)s AS is_foreign
    FROM asked
    WHERE due_at > %(until)s OR (due_at IS NOT NULL AND NOT may_be_taken)
    UNION ALL
    SELECT id, due_at, destination, project, flow_key, false
    FROM ranked
    WHERE is_fresh AND place > 1
)
SELECT
    coalesce(taken.id, moved.id, skipped.id), moved.due_at, moved.destination,
    coalesce(taken.project, moved.project), coalesce(taken.flow_key, moved.flow_key),
    moved.is_foreign, taken.attempt, taken.unknown_attempts, taken.failures, taken.next_attempt_at,
    taken.first_due_at, taken.requested_at,
    CASE WHEN taken.has_results THEN taken.created_at END,
    CASE WHEN taken.has_results THEN taken.executed_at END,
    CASE WHEN taken.has_results THEN taken.http_status END,
    CASE WHEN taken.has_results THEN taken.duration_ms END,
    CASE WHEN taken.has_results THEN taken.key END,
    taken.traceparent, {taken.spec},
    taken.schedule_id, taken.occurs_at, false,
    skipped.id IS NOT NULL
FROM me
LEFT JOIN (
    taken
    FULL JOIN moved ON taken.id = moved.id
    FULL JOIN skipped ON moved.id = skipped.id
) ON true;
