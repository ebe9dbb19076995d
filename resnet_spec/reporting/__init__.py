"""Reports of comparisons for whoever reads them: a table for a terminal, JUnit XML for a CI, HTML for a person."""
