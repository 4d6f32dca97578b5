"""Other services of this kind, which run the same timers: pg-boss and graphile-worker, on Node."""
