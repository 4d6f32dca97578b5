"""The schema of a database, and how it is brought to that of this code.

- ``steps``    the numbered files of ``schema/``, each a *before* or an *after* step
- ``migrate``  takes the steps that a database lacks, takes them back, lists them
- ``taken``    which steps a database has, as its table ``timer_trio_migrations`` says
- ``checks``   what must hold before a step is taken
- ``create``   makes the database itself
"""
