"""Timings beside the libraries that users have now; ``python -m benchmarks`` writes them to docs/benchmarks.md."""
