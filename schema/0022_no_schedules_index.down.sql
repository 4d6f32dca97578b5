-- concurrently
CREATE INDEX CONCURRENTLY schedules_created ON schedules (created_at, id);
