"""Which pool? Immutable tables, swapped whole."""
