-- concurrently
-- The timers of a flow by what has become of them and when they were last sent. A timer that is in none
-- costs no entry.
CREATE INDEX CONCURRENTLY timers_flow_sent ON timers (project, flow_key, status, executed_at)
    WHERE flow_key IS NOT NULL;
