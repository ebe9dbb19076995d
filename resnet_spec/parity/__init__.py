"""Do two backends compute the same? Where not, and why."""
