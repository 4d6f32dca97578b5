-- Where replicas whose circuit breakers are half open probe, one at a time, and how their probes ended.
-- While no breaker is open it is empty, or has what is about to be deleted.
CREATE TABLE breaker_probes (
    project integer NOT NULL,
    destination text NOT NULL,
    -- Who probes, as long as its row is in `replicas`; NULL: nobody.
    replica uuid,
    -- When its right ends at the latest; where nobody probes, when the last probe was answered, or until
    -- when nobody shall probe since it has failed.
    until timestamptz NOT NULL,
    is_answered boolean NOT NULL DEFAULT false,

    PRIMARY KEY (project, destination),
    CONSTRAINT breaker_probes_answered_have_ended CHECK (replica IS NULL OR NOT is_answered)
);
