-- What failed or was canceled, by when it ended. A timer that completes costs no entry.
CREATE INDEX timers_failed ON timers (status, updated_at, id)
    WHERE status IN ('failed', 'canceled');
