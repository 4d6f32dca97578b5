DROP TABLE breaker_probes;
