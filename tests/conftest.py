"""What holds for all tests."""

from __future__ import annotations

import signal

# A job in the background is started with Ctrl-C ignored, and so would be all that it starts: tests of it would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)
