-- Reads the table once, while others write.
ALTER TABLE timers
    VALIDATE CONSTRAINT timers_retry_check,
    VALIDATE CONSTRAINT timers_store_response_check,
    VALIDATE CONSTRAINT timers_failures_check,
    VALIDATE CONSTRAINT timers_status_check,
    VALIDATE CONSTRAINT timers_retrying_is_not_claimed,
    VALIDATE CONSTRAINT timers_instants_in_range;
