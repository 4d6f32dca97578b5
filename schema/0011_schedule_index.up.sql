-- concurrently
-- The occurrences of a schedule. A timer that is none costs no entry.
CREATE INDEX CONCURRENTLY timers_schedule ON timers (schedule_id, status, occurs_at, id)
    WHERE schedule_id IS NOT NULL;
