-- concurrently
DROP INDEX CONCURRENTLY timers_flow_due;
