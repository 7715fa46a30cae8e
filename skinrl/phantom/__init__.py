"""Synthetic lesions with a known morphology, and a tiny model that learns to see them: the embedded default."""
