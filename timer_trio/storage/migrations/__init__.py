"""The schema of a database, and how it is brought to that of this code.

- ``steps``    the numbered files of ``schema/``, each a *before*, an *after* or a *concurrent* step
- ``migrate``  takes the steps that a database lacks, takes them back, lists them
- ``builds``   the concurrent steps: indexes, built outside any transaction
- ``partitioning``  puts the table `timers` into partitions, or back into one
- ``copying``  the copy of `timers` that takes its place, from its beginning to the swap
- ``paging``   long work on the blocks of a table, by pages
- ``shape``    what the table `timers` is, and the statements that make its copy
- ``indexes``  an index built beside the work, of each partition where there are any
- ``patience`` what is waited for under a lock that holds others up
- ``taken``    which steps a database has, as its table ``timer_trio_migrations`` says
- ``checks``   what must hold before a step is taken
- ``splitting``  moves shards to the database of another cell, in steps that can be gone on with
- ``division``  which database is to be divided, and between which cells
- ``divisible``  what must hold before it is
- ``replication``  how rows get from one to the other while they change
- ``partition_days``  the partitions of `attempts`, in the one that is filled
- ``moving``   the moment at which the shards leave
- ``handover``  what the new cell is given beside them
- ``leftovers``  what each has of the other afterwards
- ``create``   makes the database itself
"""
