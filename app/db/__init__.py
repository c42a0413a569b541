"""The database: the base of all models, sessions and transactions, and the embedded PostgreSQL."""
