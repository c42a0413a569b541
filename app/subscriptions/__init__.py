"""The audience: browsers subscribe, change their topics, and leave."""
