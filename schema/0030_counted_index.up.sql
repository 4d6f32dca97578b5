-- concurrently
-- The live timers of projects that limit them. No other timer has an entry.
CREATE INDEX CONCURRENTLY timers_counted ON timers (project)
    WHERE is_counted AND status IN ('pending', 'executing', 'retrying');
