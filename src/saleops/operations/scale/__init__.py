"""Grow a sale's cluster before it opens, hold it while it is open, give back what it was afterwards."""
