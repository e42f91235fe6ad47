"""Lint: what is wrong on sale day with what is deployed. Rules are pure; somebody else reads files and runs engines."""
