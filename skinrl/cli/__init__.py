"""The command line: the only place where trainer and medicine meet. One file per command family.

Exit codes: 0 done, 1 the work failed, 2 the input is wrong.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the ``skinrl`` command: errors meant for people become one clear message."""
    from skinrl.cli.app import app
    from skinrl.errors import SkinRLError

    code: object = 0
    try:
        app()
    except SkinRLError as error:
        print(f"skinrl: {error}", file=sys.stderr)
        code = error.exit_code
    except SystemExit as stop:  # how typer ends
        code = stop.code
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and (code is None or isinstance(code, int)):
        # Threads of the collectives abort an interpreter that ends before them, now and then: a run that had
        # succeeded would end with code -6. All is written by now, so the interpreter's own end is left out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)  # type: ignore[arg-type]  # a code, or a text that Python prints
