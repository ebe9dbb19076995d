"""Comparisons with other libraries; ``python -m benchmarks`` writes them to docs/benchmarks.md."""
