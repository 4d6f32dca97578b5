"""What a consumer changes: it is durable when the caller is answered.

- ``intake``        creates, updates, cancels; near timers are offered to the cache
- ``places``        the shard of a new timer, and so its cell
- ``create_queue``  light and heavy creates, each written together
- ``counted_queue`` creates of projects that limit their live timers
- ``used_up``       what is known to be refused
- ``names``         timers by the names that consumers give them
- ``redrive``       ended timers made live again
- ``bulk``          many timers changed at once, page by page
- ``imports``       an import's chunks, and what has become of each line
"""
