"""What browsers report of single deliveries: displayed, clicked, closed."""
