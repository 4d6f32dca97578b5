"""The rules of timers: plain functions and frozen values, no I/O and no clock reading."""
