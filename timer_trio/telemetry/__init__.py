"""What is told of the service.

- ``metrics``              counters and gauges for Prometheus
- ``requests``             those of requests to the API
- ``destination_metrics``  those of destinations, the busiest by name
- ``process``              those of the process and its Python
- ``batches``              histograms that take many values at once
- ``exposition``           how they are spelled, and sent from process to process
- ``together``             several processes as if they were one
- ``ended_callback``       what is known of a callback that has ended
- ``tracing``              spans of what the service does
- ``otlp``                 their way to a collector
- ``record``               one line of the log, and the counts, for each callback
- ``destinations``         what is known of destinations, told to other replicas
- ``log``                  how lines of the log look
- ``json_lines``           how they look as JSON
- ``output``               the thread that writes them
"""
