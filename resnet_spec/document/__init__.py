"""YAML as plain data with the position of every key and value: parsed, merged, overridden, written; results as JSON."""
