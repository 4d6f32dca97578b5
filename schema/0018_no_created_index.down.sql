-- concurrently
CREATE INDEX CONCURRENTLY timers_created ON timers (created_at, id);
