"""Pure rules of a flash sale: no I/O, no clock, no randomness."""
