"""Is the service well, and what does it measure: /health and /metrics."""
