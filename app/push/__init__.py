"""The push engine: from a message to what the push service answered. No database, settings or web."""
