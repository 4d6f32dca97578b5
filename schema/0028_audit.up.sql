-- Who has done what in which project, from where: kept for some weeks.
CREATE TABLE audit (
    project integer NOT NULL,
    at timestamptz NOT NULL,
    id uuid NOT NULL,
    -- Of several that are told as one, when the last of them was done.
    last_at timestamptz NOT NULL,
    -- NULL: the key of the whole service.
    key_id text,
    address text,
    action text NOT NULL CHECK (action <> ''),
    -- To what; NULL: to several.
    target text,
    count bigint NOT NULL CHECK (count > 0),
    details json CHECK (json_typeof(details) = 'object'),

    PRIMARY KEY (project, at, id),
    CONSTRAINT audit_in_order CHECK (at <= last_at)
);

-- What has become of one thing; what is old.
CREATE INDEX audit_target ON audit (project, target, at, id) WHERE target IS NOT NULL;
CREATE INDEX audit_at ON audit (at);
