"""The site: the documents, the Python API and a page for each shipped network, which ``make site`` builds."""
