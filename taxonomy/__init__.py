"""Placeholder docstring."""

if __name__ != "skinrl.taxonomy":  # `import taxonomy` from the repository root would make a second copy of every class
    raise ModuleNotFoundError("import skinrl.taxonomy instead of taxonomy", name=__name__)
