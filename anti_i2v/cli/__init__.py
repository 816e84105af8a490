"""The commands of `anti-i2v`: what they are called and which options they take. Each has a module of its own.

Only argparse is imported here, so that `--help` answers at once; torch comes with the first call of `run`.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from anti_i2v import __version__
from anti_i2v.cli import app, export, layers, plan, protect


class Parser(argparse.ArgumentParser):
    """argparse with the one-line errors of this project."""

    def error(self, message: str) -> NoReturn:
        """Print the reason alone; the usage is one `--help` away."""
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line.

    `options.run(options)` runs the chosen command and returns its exit status; `options.subject` names it in messages.
    """
    root = Parser(
        prog="anti-i2v",
        description="Protect photos against being animated by image-to-video models.",
        epilog="Exit status: 0 all done, 1 some inputs failed, 2 unusable arguments or nothing done, 3 see protect.",
    )
    root.add_argument("--version", action="version", version=f"anti-i2v {__version__}")
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in (("protect", protect), ("app", app), ("export", export), ("layers", layers), ("plan", plan)):
        sub = commands.add_parser(name, help=command.HELP, description=command.DESCRIPTION, allow_abbrev=False)
        command.add_options(sub)
        subject = f"anti-i2v {name} with these options" if command is protect else f"anti-i2v {name}"
        sub.set_defaults(run=command.run, subject=subject)
    return root
