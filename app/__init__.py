"""The Push Notification Service: keeps push subscriptions, delivers notifications, logs every delivery."""

__version__ = "0.1.0"
