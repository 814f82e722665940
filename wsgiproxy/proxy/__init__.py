"""One request's journey, as a WSGI application."""
