"""The command line: the only place where trainer and medicine meet. One file per command family.

Exit codes: 0 done, 1 the work failed, 2 the input is wrong.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``skinrl`` command: errors meant for people become one clear message."""
    from skinrl.cli.app import app
    from skinrl.errors import SkinRLError

    try:
        app()
    except SkinRLError as error:
        print(f"skinrl: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
