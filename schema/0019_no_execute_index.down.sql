-- concurrently
CREATE INDEX CONCURRENTLY timers_execute ON timers (execute_at, id);
