"""Choose a backend; never speak HTTP to it."""
