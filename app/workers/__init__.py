"""What runs beside the requests: periodic work, and the loops that send."""
