DROP INDEX timers_failed;
