"""The fields of a timer as consumers write them.

- ``timer``     all of them, each with its check and its schema
- ``callback``  where a callback may go and which headers it may carry
- ``retry``     when a failed callback is tried again, and which answers are kept
- ``instants``  RFC 3339 and ISO 8601, read strictly
- ``rules``     what the operator lays down
"""
