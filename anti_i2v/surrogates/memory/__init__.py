"""Will training against a surrogate fit: its memory, counted without loading a weight."""
