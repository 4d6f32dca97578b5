-- Whose a timer is. A column with a constant default is added at once, however many rows there are.
ALTER TABLE timers
    ADD COLUMN project integer NOT NULL DEFAULT 0;
