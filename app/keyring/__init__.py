"""The VAPID keys: kept encrypted, one active per tenant, each subscription sent with the one it was made with."""
