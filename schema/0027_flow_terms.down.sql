DROP TABLE flow_terms;
