-- concurrently
DROP INDEX CONCURRENTLY timers_project_created;
