"""A reverse proxy and load balancer for WSGI shops."""
