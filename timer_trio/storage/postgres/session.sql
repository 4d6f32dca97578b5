-- Every session's first statements, and what a role may do.

-- name: session
-- Makes a new connection ready, and reads what durability the server offers. By statement, since a
-- pooler in between passes no start-up options on. Where tables are looked for is pinned as it was
-- when the session began, since another client of a pooler may have changed it meanwhile. Citus has to see
-- the values of a statement to know where it leads: it gets no plan that would do for all of them.
SELECT
    (
        SELECT
            count(
                set_config(
                    name,
                    CASE
                        WHEN
                            name = 'plan_cache_mode'
                            AND EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')
                            THEN 'auto'
                        ELSE value
                    END,
                    false
                )
            )
        FROM unnest(%(names)s::text[], %(values)s::text[]) AS s (name, value)
    ) AS settings,
    set_config('search_path', coalesce(%(search_path)s, path.reset_val), false) AS search_path,
    current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS synchronous_standby_names{of_server}
FROM pg_catalog.pg_settings AS path
WHERE path.name = 'search_path';

-- name: of_server
-- Which history the server writes, and whether a standby follows it that no commit waits for; what a
-- role may not see of those is NULL. Logical subscribers and copies are no standbys.
,
    {history_columns},
    EXISTS (
        SELECT FROM pg_catalog.pg_stat_replication AS standby
        WHERE
            standby.state = 'streaming'
            AND standby.sync_state = 'async'
            AND standby.application_name NOT IN ('pg_basebackup', 'pg_receivewal')
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_replication_slots AS slot
                WHERE slot.active_pid = standby.pid AND slot.slot_type = 'logical'
            )
    ) AS has_async_standby

-- name: history_columns
-- Which cluster it is, and the timeline that the server writes; NULL in recovery. Each promotion
-- begins another timeline.
    CASE
        WHEN NOT pg_is_in_recovery()
            THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    END AS timeline,
    (SELECT system_identifier FROM pg_control_system()) AS system

-- name: history
SELECT {history_columns};

-- name: backend
SELECT pg_backend_pid() AS pid;

-- name: missing_grants
-- Which of these rights the role lacks, of the tables that are there.
SELECT needed.name, needed.privilege
FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS needed (name, privilege)
WHERE
    to_regclass(needed.name) IS NOT NULL
    AND NOT has_table_privilege(to_regclass(needed.name), needed.privilege);
