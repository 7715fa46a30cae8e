"""Placeholder docstring."""

if __name__ != "skinrl.rewards":  # `import rewards` from the repository root would make a second copy of every class
    raise ModuleNotFoundError("import skinrl.rewards instead of rewards", name=__name__)
