-- The oldest release that can work on a database with this step; NULL: any can.
ALTER TABLE timer_trio_migrations ADD COLUMN oldest_release text;
