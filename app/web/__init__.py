"""The edge: what every router needs between HTTP and the services. Only routers and main import it."""
