"""The wire grammar of HTTP/1.1: no sockets, no configuration."""
