"""What is told of the service.

- ``metrics``       counters and gauges for Prometheus
- ``record``        one line of the log, and the counts, for each callback
- ``destinations``  what is known of destinations, told to other replicas
- ``log``           how lines of the log look
- ``output``        the thread that writes them
"""
