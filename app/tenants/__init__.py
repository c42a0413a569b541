"""Tenants: their API keys, the issuers of their tokens, and what each key may do."""
