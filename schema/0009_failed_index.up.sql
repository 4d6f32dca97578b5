-- concurrently
-- What failed or was canceled, by when it ended. A timer that completes costs no entry.
CREATE INDEX CONCURRENTLY timers_failed ON timers (status, updated_at, id)
    WHERE status IN ('failed', 'canceled');
