-- concurrently
DROP INDEX CONCURRENTLY timers_counted;
