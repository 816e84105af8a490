"""`anti-i2v …` and `python -m anti_i2v …`: parse, call, print; exit with 0, 1 (some inputs failed), 2 (unusable) or 3 (see `protect`)."""

from __future__ import annotations

import errno
import io
import itertools
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from anti_i2v.errors import UsageError, UsageWarning, needs_train, printable


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
        _refuse_files_that_look_like_options(sys.argv[1:] if arguments is None else arguments)
        options = parser().parse_args(arguments)
        with needs_train(options.subject), _plain_warnings():
            return int(options.run(options))
    except UsageError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
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


def _refuse_files_that_look_like_options(arguments: Sequence[str]) -> None:
    """A shell puts the names of files in the place of `*`, and one of them may be `-a.jpg`, or `--overwrite`.

    Raises:
        UsageError: It is one, and not behind `--`.
    """
    for argument in itertools.takewhile(lambda argument: argument != "--", arguments):
        if argument.startswith("-") and argument != "-" and os.path.lexists(argument):
            raise UsageError(f"{argument} is a file here and looks like an option; write ./{argument} for the file, or rename it")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings that are meant for users as one line; others as Python does."""
    others = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:
        if issubclass(category, UsageWarning):
            print(f"warning: {printable(str(message))}", file=sys.stderr, flush=True)
        else:
            others(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
