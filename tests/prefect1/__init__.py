"""A test double of a Prefect 1 server, and the real client of Prefect 1 beside it."""
