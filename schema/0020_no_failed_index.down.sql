-- concurrently
CREATE INDEX CONCURRENTLY timers_failed ON timers (status, updated_at, id)
    WHERE status IN ('failed', 'canceled');
