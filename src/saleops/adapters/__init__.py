"""How Redis, the databases, the brokers and the processes do what the ports ask. ``<technology>_<port>.py``."""
