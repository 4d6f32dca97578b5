-- concurrently, after 0.2.0
-- Lists are read a project at a time, by other indexes.
DROP INDEX CONCURRENTLY timers_failed;
