-- What replicas tell each other, and people, beside that they live.
ALTER TABLE replicas
    -- It owns no shard any more: it is about to stop.
    ADD COLUMN leaving boolean NOT NULL DEFAULT false,
    ADD COLUMN host text NOT NULL DEFAULT '',
    ADD COLUMN pid integer NOT NULL DEFAULT 0,
    ADD COLUMN version text NOT NULL DEFAULT '',
    -- As of the last heartbeat. Nothing is decided by these.
    ADD COLUMN beaten_at timestamptz,
    ADD COLUMN in_flight integer NOT NULL DEFAULT 0,
    ADD COLUMN cached integer NOT NULL DEFAULT 0,
    ADD COLUMN clock_offset_s double precision;
