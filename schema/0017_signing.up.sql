-- What signs callbacks: of each project one secret that has no end, and those that were rotated.
CREATE TABLE signing_secrets (
    id uuid PRIMARY KEY,
    project integer NOT NULL,
    -- `whsec_` and base64.
    secret text NOT NULL CHECK (secret <> ''),
    created_at timestamptz NOT NULL,
    -- NULL: it is the current one, valid until it is rotated.
    expires_at timestamptz
);

-- However many replicas make the first secret of a project at once, there is one.
CREATE UNIQUE INDEX signing_secrets_current ON signing_secrets (project) WHERE expires_at IS NULL;
CREATE INDEX signing_secrets_project ON signing_secrets (project, created_at);

-- A column with a check that all rows pass by having no value: NOT VALID spares reading them under the
-- lock.
ALTER TABLE timers
    ADD COLUMN signing text,
    ADD CONSTRAINT timers_signing_check CHECK (signing IN ('none')) NOT VALID;
