ALTER TABLE timer_trio_migrations DROP COLUMN oldest_release;
