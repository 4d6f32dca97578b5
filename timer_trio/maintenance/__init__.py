"""What goes on beside the work, and may wait.

- ``retention``     ended timers are deleted in time
- ``index_builds``  indexes that the schema lacks are built
"""
