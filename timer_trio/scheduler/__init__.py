"""The stage that writes the occurrences of schedules ahead of their instants."""
