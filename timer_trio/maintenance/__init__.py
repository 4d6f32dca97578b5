"""What keeps the tables small: ended timers are dropped in time."""
