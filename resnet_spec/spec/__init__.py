"""From YAML to a graph: the language, the shipped specs, loading and lowering."""
