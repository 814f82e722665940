"""Our front door: a WSGI server on gevent that knows nothing of proxying."""
