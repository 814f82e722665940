"""Talk to one backend; never choose one."""
