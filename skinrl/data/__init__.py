"""Datasets as records: sources, splits, duplicates, questions, rows for the trainers."""
