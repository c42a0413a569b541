"""Notifications: accepted, sent inline or by the workers, and looked up afterwards."""
