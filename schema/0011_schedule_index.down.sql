-- concurrently
DROP INDEX CONCURRENTLY timers_schedule;
