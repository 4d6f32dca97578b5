-- concurrently
DROP INDEX CONCURRENTLY schedules_project_created;
