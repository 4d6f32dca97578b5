-- concurrently
-- The order of a list of schedules, a project at a time, with the id that breaks ties.
CREATE INDEX CONCURRENTLY schedules_project_created ON schedules (project, created_at, id);
