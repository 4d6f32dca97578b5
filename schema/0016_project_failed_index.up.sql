-- concurrently
-- What failed or was canceled of a project, by when it ended. A timer that completes costs no entry.
CREATE INDEX CONCURRENTLY timers_project_failed ON timers (project, status, updated_at, id)
    WHERE status IN ('failed', 'canceled');
