"""Timings beside the libraries that users have now; ``python -m benchmarks`` runs them and writes docs/benchmarks.md."""
