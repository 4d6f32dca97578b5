ALTER TABLE replicas
    DROP COLUMN map;

ALTER TABLE cell_map
    DROP COLUMN moving;
