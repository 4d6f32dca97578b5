DROP TABLE timers;
DROP TABLE replicas;
DROP TABLE timer_trio_migrations;
