"""The files that the core reads and writes itself: one module a format."""
