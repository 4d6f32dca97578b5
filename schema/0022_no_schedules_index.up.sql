-- concurrently
-- Lists of schedules are read a project at a time, by another index.
DROP INDEX CONCURRENTLY schedules_created;
