"""Statistics of subscriptions and deliveries, counted in the database."""
