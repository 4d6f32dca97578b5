ALTER TABLE timers
    DROP COLUMN signing;
DROP TABLE signing_secrets;
