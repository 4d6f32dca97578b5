-- Reads the table once, while others write.
ALTER TABLE timers VALIDATE CONSTRAINT timers_retry_check;
ALTER TABLE timers VALIDATE CONSTRAINT timers_store_response_check;
ALTER TABLE timers VALIDATE CONSTRAINT timers_failures_check;
ALTER TABLE timers VALIDATE CONSTRAINT timers_status_check;
ALTER TABLE timers VALIDATE CONSTRAINT timers_retrying_is_not_claimed;
ALTER TABLE timers VALIDATE CONSTRAINT timers_instants_in_range;
