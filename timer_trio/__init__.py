"""A durable timer service: tell it when and where, and it makes that HTTP callback at that instant.

The package in the order of the flow:

- ``domain``      pure rules: what a timer is, what falls due, what becomes of it
- ``api``         REST: JSON to domain and back
- ``storage``     the Storage protocol, PostgreSQL and in memory
- ``loader``, ``executor``, ``callback``, ``settle``   the stages of a timer's life
- ``heartbeat``   this replica's lease: beat, fence, sweep
- ``supervisor``  the root nursery, on one screen
- ``workers``     several processes under a parent
- ``testing``     a service on a virtual clock for anybody's tests
"""

__version__ = "0.1.0"
