-- Which replica claims of the flows in a shard: that one alone. A shard in which no flow has ever had a
-- timer due has no row. A claim locks the row FOR SHARE, so whoever takes it waits for claims under way.
CREATE TABLE flow_terms (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    replica uuid NOT NULL,
    -- How often it was taken.
    term bigint NOT NULL
);
