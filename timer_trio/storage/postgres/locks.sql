-- Who locks our rows.

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
    AND l.relation IN ('timers'::regclass, 'timer_keys'::regclass, 'replicas'::regclass)
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
    AND l.relation IN ('timers'::regclass, 'timer_keys'::regclass, 'replicas'::regclass)
    AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
ORDER BY since NULLS LAST
LIMIT %(limit)s;
