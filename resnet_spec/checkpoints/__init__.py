"""Weights files, a module a format: what a file holds, under the names and in the layout that it has there."""
