"""Who may use the service, and whose it is what he uses.

- ``recent``       what was read of late, and by whom it is being read
- ``key_ring``     the keys and projects that consumers name
- ``key_uses``     when keys were last used
- ``audit_log``    who has done what
- ``project_end``  how a project is deleted
"""
