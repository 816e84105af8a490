"""`anti-i2v …` and `python -m anti_i2v …`: parse, call, print; exit with 0, 1 (some inputs failed) or 2 (unusable)."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from anti_i2v.errors import UsageError, needs_train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; `sys.argv` by default.

    Returns:
        The exit status. Unknown options end in `SystemExit(2)`, as argparse does.
    """
    from anti_i2v.cli import parser

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Δ must not end a call; standard error does this already
    try:
        options = parser().parse_args(arguments)
        with needs_train(options.subject):
            return int(options.run(options))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished files are complete, run the same command again to go on", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # The reader has closed the pipe, as `head` does, or the disk is full. What is left to print is dropped, or Python would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
