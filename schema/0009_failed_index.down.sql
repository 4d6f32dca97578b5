-- concurrently
DROP INDEX CONCURRENTLY timers_failed;
