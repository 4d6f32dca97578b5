"""What wires the parts together, starts and stops them.

- ``supervisor``  the root nursery of a service of one process
- ``workers``     several processes under a parent
- ``worker``      one of them
- ``lifeline``    what parent and worker say to each other
- ``process``     what one process takes of the system, and the signals that it obeys
- ``replica``     one replica: its parts, and the order in which they start and stop
- ``open_files``  how the files that a process may open are divided
- ``welcome``     the first lines for whoever tries the service
- ``probe``       the container's health check
"""
