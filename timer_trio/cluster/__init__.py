"""This replica among the others.

- ``heartbeat``  its lease: beat, fence, sweep, and the shards that it owns
- ``hints``      words from one replica to another about timers that are due soon
"""
