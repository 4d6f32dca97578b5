"""What a consumer changes: create, update, cancel."""
