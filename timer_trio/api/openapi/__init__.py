"""The OpenAPI document and its page.

- ``document``         assembled from the routes, and from the models that read and answer
- ``envelope_schema``  the envelope, and the refusals that many routes share
- ``examples``         examples of answers, made of those of their fields
- ``docs_page``        the document for people
- ``renderer``         the script that draws it
"""
