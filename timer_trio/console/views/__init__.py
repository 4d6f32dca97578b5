"""What is shown and done, one module a subject, each with a function `routes`."""
