"""The web console: pages for whoever operates the service, each answered by the API it shows.

A page asks the API from within the process, on behalf of the key that somebody has signed in with:
it sees what that key sees, and what it changes is checked, limited and told in the audit as if a
program had sent it. Nothing of a session is kept here, so any replica answers any request.

- ``site``       all pages
- ``views``      what is shown and done, one module a subject
- ``desk``       from a request to a view, and from what went wrong to a page
- ``visit``      one request of somebody who has signed in
- ``live``       a part of a page that is sent again when it changes
- ``session``    who has signed in, as the cookie says it
- ``forms``      what a form says, as the JSON of the API
- ``filters``    from the filters of a list to the parameters of the API
- ``lists``      a page of what the API lists in pages
- ``charts``     from numbers to the bars of a chart
- ``receiver``   a receiver to try callbacks with
- ``rendering``  templates, and what stands in the head of each answer
"""

from timer_trio.console.rendering import ROOT
from timer_trio.console.site import routes

__all__ = ["ROOT", "routes"]
