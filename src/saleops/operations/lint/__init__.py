"""Lint: reads files, runs the rules of domain/lint and its own over them, mends what can be mended."""
