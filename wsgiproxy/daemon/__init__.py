"""The process around the server: start, signals, logs, stop."""
