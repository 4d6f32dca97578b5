-- concurrently
-- What is due of a flow. A timer that is in none costs no entry.
CREATE INDEX CONCURRENTLY timers_flow_due ON timers (project, flow_key, due_at, id)
    WHERE flow_key IS NOT NULL AND due_at IS NOT NULL;
