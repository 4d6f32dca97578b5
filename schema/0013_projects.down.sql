DROP TABLE key_seal;
DROP TABLE api_keys;
DROP TABLE projects;
