DROP TABLE destination_now;
DROP TABLE destination_outcomes;
