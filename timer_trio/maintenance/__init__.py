"""What goes on beside the work, and may wait.

- ``retention``        ended timers are deleted in time
- ``audit_retention``  what was done long ago is forgotten
- ``index_builds``     indexes that the schema lacks are built
- ``quota_marks``      timers that were there before a limit come to count
- ``cell_union``       a cell that is new, or was away, is told what all know
"""
