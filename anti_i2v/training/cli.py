"""The training command line: `python train.py fit|validate|test|predict [--config FILE] [--key value]`.

A LightningCLI with one addition: without `--config` it runs `configs/default.yaml`. Every LightningModule and
LightningDataModule of the package is run by it, those of Portraits as well; a config names them by class path.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn
from zipfile import is_zipfile

from jsonargparse.typing import register_type
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from anti_i2v.errors import UsageError
from anti_i2v.resources import shipped

# jsonargparse finds a class by its short name (`--data PhotoDataModule`) only once its module is imported.
MODULES = (
    "anti_i2v.generators.backbone",
    "anti_i2v.objectives",
    "anti_i2v.training.transforms",
    "anti_i2v.data",
    "anti_i2v.training.module",
    "anti_i2v.training.callbacks",
    "anti_i2v.portraits.training",
)


def main(args: Sequence[str] | None = None) -> None:
    """Parse, build, run. A mistake the user can mend ends with one line on stderr and exit status 2.

    Args:
        args: Command line without the program's name; None reads it from `sys.argv`.
    """
    _silence()
    # Where Lightning reads them: processes that it starts for several devices get the same command line.
    arguments = list(sys.argv[1:] if args is None else args)
    program, sys.argv = sys.argv, [sys.argv[0], *with_default_config(arguments)]
    try:
        for module in MODULES:
            import_module(module)
        register_type(Path, Path.as_posix, _resolve_path, type_check=lambda value, _: isinstance(value, Path))
        TrainingCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"exit_on_error": False},
        )
    except argparse.ArgumentError as mistake:
        _refuse(mistake)
    except ValueError as error:
        # jsonargparse wraps what a constructor raises, and names every type that the value is not instead.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UsageError):
            cause = cause.__cause__
        if cause is None:
            raise
        _refuse(cause)
    finally:
        sys.argv = program


class TrainingCLI(LightningCLI):
    """LightningCLI that checks `--ckpt_path` before anything is built or loaded from it."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, then refuse what is no checkpoint: Lightning would say so with a traceback, or after loading models."""
        super().parse_arguments(parser, args)
        path = self.config[self.config["subcommand"]].get("ckpt_path")
        if path in (None, "last", "best", "hpc") or str(path).startswith("registry"):
            return
        if not Path(path).is_file():
            raise UsageError(f"--ckpt_path {path}: no such file; give a .ckpt written by `fit`, or `last`")
        if not is_zipfile(path):
            raise UsageError(f"--ckpt_path {path}: not a checkpoint, or a damaged one; give a .ckpt written by `fit`")


def with_default_config(args: Sequence[str]) -> list[str]:
    """Insert `--config configs/default.yaml` after the subcommand when the user names no config."""
    has_config = any(a in ("-c", "--config", "-h", "--help") or a.startswith(("--config=", "-c=")) for a in args)
    if has_config or not args or args[0] not in LightningCLI.subcommands():
        return list(args)
    return [args[0], "--config", str(shipped("configs") / "default.yaml"), *args[1:]]


def _resolve_path(value: str | Path) -> Path:
    """Read a path of a config or of the command line.

    While jsonargparse reads a config, that config's folder is the working directory, so a path that exists from here is
    relative to it, and is made absolute, so that the saved `config.yaml` of a run can be run again. Anything else (the name of a
    shipped checkpoint, a hub id) stays as it is.
    """
    path = Path(value).expanduser()
    return path.absolute() if path.exists() else path


def _refuse(mistake: BaseException) -> NoReturn:
    print("error:", _short(" ".join(str(mistake).split())), file=sys.stderr)
    raise SystemExit(2) from None


def _short(text: str) -> str:
    """The part of a jsonargparse message that names the class and the key; the rest lists every type that the value could have."""
    problem = re.search(r".*Problem with given class_path '([^']+)': (.*?)(?: - Expected a <class 'NoneType'>.*)?$", text)
    if problem is None:
        return text
    owner, what = problem.groups()
    unknown = re.match(r"Option '([^']+)' is not accepted", what)
    if unknown:
        return f"unknown key {unknown[1]!r}: {owner} has no such parameter; it has those that `train.py fit --model.help {owner}` lists"
    return f"{owner}: {what}"


def _silence() -> None:
    """Switch off warnings that are expected here, each for its reason."""
    # A frozen surrogate is in eval mode on purpose.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    # Rendering is part of the training process: two cores leave none for workers, and a dataset in memory needs none.
    warnings.filterwarnings("ignore", message=r"The '\w+' does not have many workers")
    # The logging interval of a short run is what the config says.
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    # Loaders continue by themselves after a resume (`data.resuming`).
    warnings.filterwarnings("ignore", message=r"You're resuming from a checkpoint that ended before the epoch ended")
    # Every run has a folder of its own, a resumed one too.
    warnings.filterwarnings("ignore", message=r"The dirpath has changed from")
    # Lightning 2.6 calls functions that jsonargparse renames in 5.0 and tree specs that torch renames.
    warnings.filterwarnings("ignore", message=r".*(LeafSpec|instantiate_classes|add_instantiator|skip_none)")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    """Lightning's tips for its own services are no message of this program."""
    return "Tip:" not in record.getMessage()
