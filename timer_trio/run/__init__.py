"""What wires the parts together, starts and stops them.

- ``main``            the service from its start to its end, in one process or several
- ``process``         what one process takes of the system, and the signals that it handles
- ``replica``         one replica: the stages of its cells, what they share, and its API
- ``stages``          the stages over one database, and the order in which they end
- ``supervisor``      the root nursery of a replica: what runs, and in which order it ends
- ``presence``        a replica's place among the others: taken, handed over, given up
- ``holding``         which shards a database has, while some are moved out of it
- ``database_wait``   what a start asks of a database that may be away
- ``start_paused``    a start that holds back what is due
- ``parent``          the process that starts workers and keeps them running
- ``worker``          one of them
- ``lifeline``        the messages between parent and worker
- ``metrics_of_all``  what all workers show together: the parent's side of it
- ``worker_metrics``  the side of a worker
- ``metrics_line``    the messages between these two
- ``open_files``      how the files that a process may open are divided
- ``tracing``         whoever collects its spans, if anybody does
- ``welcome``         the first lines for whoever tries the service
- ``probe``           the container's health check
"""
