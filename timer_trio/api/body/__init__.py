"""Bodies of requests: from bytes, however many and however slow, to checked members.

- ``media``       a whole body, if its head says that it is what the route reads
- ``nothing``     a body of a route that takes no fields
- ``whole``       a body that is received when it is read
- ``stream``      a body that is read as it comes
- ``lines``       a stream cut into lines
- ``rate``        how fast a sender sends
- ``slices``      long work on the event loop, in turns
- ``json_body``   a JSON object to its members
- ``json_array``  an object of one array to the objects in it
- ``json_walk``   where a JSON value ends, found in steps
- ``json_text``   what these share
"""
