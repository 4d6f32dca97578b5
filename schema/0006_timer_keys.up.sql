-- Keys that consumers choose. An `idempotency` key stands for a request and what it was answered, until
-- it expires.
CREATE TABLE timer_keys (
    project integer NOT NULL DEFAULT 0,
    kind text NOT NULL CHECK (kind IN ('idempotency', 'name')),
    key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    -- What it stands for, in the order of the request; a name stands for one.
    timer_ids uuid[] NOT NULL,
    -- Of the request: its route and its body as parsed.
    fingerprint bytea,
    -- What it was answered: the HTTP status, and the data of the envelope as JSON.
    status smallint,
    answer text,
    -- NULL: it stands until somebody takes it over.
    expires_at timestamptz,

    PRIMARY KEY (project, kind, key),
    CONSTRAINT timer_keys_idempotency_has_its_answer CHECK (
        kind <> 'idempotency'
        OR num_nulls(fingerprint, status, answer, expires_at) = 0
    ),
    CONSTRAINT timer_keys_name_is_of_one CHECK (kind <> 'name' OR cardinality(timer_ids) = 1)
);

-- What has expired.
CREATE INDEX timer_keys_expires ON timer_keys (expires_at) WHERE expires_at IS NOT NULL;

-- The name that its consumer gave it. While the timer lives its row in `timer_keys` names it, and no
-- other timer; afterwards until another one takes the name.
ALTER TABLE timers ADD COLUMN key text;
