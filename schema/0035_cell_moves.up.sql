-- While shards move from one database to another: which these are, in both.
ALTER TABLE cell_map
    ADD COLUMN moving text;

-- Of which cells a replica has been told. Releases before this one say nothing.
ALTER TABLE replicas
    ADD COLUMN map text;
