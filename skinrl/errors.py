"""Every error that skinrl raises on purpose.

    SkinRLError                 a message for a person
    ├── InputError              the input is wrong; the command line exits with 2
    │   ├── RecipeError         a recipe or an override
    │   ├── TaxonomyError       a taxonomy or label-map file
    │   ├── DataError           images, tables, labels, splits
    │   └── PluginError         an import path, a reward's signature
    └── RunError                the work itself failed; the command line exits with 1

A message says what was found, where, what was expected and what to do.
"""

from __future__ import annotations


class SkinRLError(Exception):
    """Root of all errors that carry a message for a person."""

    exit_code = 1


class InputError(SkinRLError, ValueError):
    """The input is wrong: one clear line, before any expensive work."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe file or a ``key=value`` override is wrong."""


class TaxonomyError(InputError):
    """A taxonomy or label-map file is wrong."""


class DataError(InputError):
    """Images, tables, labels or splits are wrong."""


class PluginError(InputError):
    """An import path does not lead to what was asked for."""


class RunError(SkinRLError, RuntimeError):
    """The work failed though the input was acceptable."""
