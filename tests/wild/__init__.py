"""Checkpoints as people have them, made by the code that makes them, and the table of them in docs/checkpoints.md."""
