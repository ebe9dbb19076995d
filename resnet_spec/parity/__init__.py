"""Compare backends; locate and explain their differences."""
