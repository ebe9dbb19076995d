"""A parity report for people and machines: tables, HTML and JUnit XML."""
