"""The OpenAPI document and its page.

- ``document``         assembled from the routes, and from the models that read and answer
- ``envelope_schema``  the envelope, and the refusals that many routes share
- ``docs_page``        the document for people
"""
