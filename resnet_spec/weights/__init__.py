"""From any file to named arrays that fit a graph, and back."""
