"""This replica among the others.

- ``heartbeat``   its lease: beat, fence, sweep
- ``membership``  what follows from each beat: who owns which shards, what is read anew
- ``releases``    whether replicas of older releases are among them
- ``hints``       words from one replica to another about timers that are due soon
"""
