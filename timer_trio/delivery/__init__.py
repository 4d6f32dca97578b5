"""From the table to the receiver, and back.

- ``loader``    reads what falls due soon into the cache
- ``claimer``   claims what the cache says is due
- ``locked``    asks again for what somebody's transaction keeps locked
- ``launcher``  starts each claimed timer at its instant
- ``firer``     one task a timer, from its instant to its outcome
- ``callback``  one request, and how it can end
- ``settler``   writes what became of each timer
"""
