"""From what a person writes to a graph: the language, the shipped specs, loading and lowering."""
