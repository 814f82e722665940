"""The YAML: text in, frozen data out."""
