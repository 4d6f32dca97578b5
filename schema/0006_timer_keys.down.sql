DROP TABLE timer_keys;
