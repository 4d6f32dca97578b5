-- The flow that a timer is in, and that the occurrences of a schedule are in; NULL: none. NOT VALID
-- spares reading the timers under the lock: all pass the check by having no value.
ALTER TABLE timers
    ADD COLUMN flow_key text,
    ADD CONSTRAINT timers_flow_key_check CHECK (char_length(flow_key) BETWEEN 1 AND 255) NOT VALID;
ALTER TABLE schedules
    ADD COLUMN flow_key text CHECK (char_length(flow_key) BETWEEN 1 AND 255);
