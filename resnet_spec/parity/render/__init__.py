"""Parity reports as tables, HTML and JUnit XML."""
