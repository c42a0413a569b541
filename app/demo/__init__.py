"""The demo page: development only."""
