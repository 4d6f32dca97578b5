-- concurrently
-- The other order of a list.
CREATE INDEX CONCURRENTLY timers_project_execute ON timers (project, execute_at, id);
