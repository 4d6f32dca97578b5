-- Reads the table once, while others write.
ALTER TABLE timers
    VALIDATE CONSTRAINT timers_flow_key_check;
