"""The schema of a database, and how it is brought to that of this code.

- ``steps``    the numbered files of ``schema/``, each a *before*, an *after* or a *concurrent* step
- ``migrate``  takes the steps that a database lacks, takes them back, lists them
- ``builds``   the concurrent steps: indexes, built outside any transaction
- ``taken``    which steps a database has, as its table ``timer_trio_migrations`` says
- ``checks``   what must hold before a step is taken
- ``create``   makes the database itself
"""
