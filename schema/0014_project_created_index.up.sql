-- concurrently
-- The two orders of a list, a project at a time, with the id that breaks ties.
CREATE INDEX CONCURRENTLY timers_project_created ON timers (project, created_at, id);
