"""Files and settings as frozen models: parsed once, wrong keys refused, every error with its place."""
