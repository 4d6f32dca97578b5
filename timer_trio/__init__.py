"""A durable timer service: tell it when and where, and it makes that HTTP callback at that instant.

The rooms of the house, in the order of the flow:

- ``cli``          the commands
- ``run``          wires the parts together: the root nursery, processes, one replica
- ``server``       HTTP/1.1 connections of clients
- ``api``          REST: JSON to domain and back
- ``access``       who may use the service, and whose things are
- ``intake``       what a consumer changes: create, update, cancel, import
- ``cluster``      this replica among the others: its lease and its shards
- ``delivery``     from the table to the receiver: load, claim, launch, fire, settle
- ``maintenance``  what may wait: old timers are deleted, indexes built
- ``transport``    callbacks over HTTP/1.1
- ``storage``      protocols by consumer, PostgreSQL and in memory
- ``embedded``     a PostgreSQL of its own
- ``telemetry``    log and metrics
- ``domain``       pure rules: what a timer is, what falls due, what becomes of it
- ``testing``      services on virtual clocks for anybody's tests
- ``client``       a client for consumers' code, which is there without what the others need

``config`` and ``env_file`` are the settings, ``clock`` knows what time it is, ``threads`` is the
one door to worker threads, ``backoff`` says how long to wait before something is tried again,
``lifecycle`` tells all parts how far their process is between its start and its end,
``pytest_plugin`` is the fixture that runs a service for tests.
"""

__version__ = "0.2.0.dev0"
