"""``python -m tests.site``: builds the site in build/site from docs/, the docstrings and the specs."""

import sys

from tests.site.building import build

if __name__ == "__main__":
    sys.exit(build())
