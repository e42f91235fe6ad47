"""A sale's Kubernetes objects as values: what to render, with the arithmetic behind each number. Nothing here does I/O."""
