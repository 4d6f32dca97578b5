DROP TABLE cell_map;
