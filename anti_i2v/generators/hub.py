"""Generator folders by name, here and on the Hugging Face hub: `owner/name`, fetched once and then kept in the hub's cache.

The network is used only for a hub id, and huggingface_hub, a second of import, is needed only then. What is fetched is a
configuration, numbers and a text, never code.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from anti_i2v.errors import UsageError, needs_train
from anti_i2v.generators.folder import ONNX, SALIENCE_ONNX, GeneratorFolder
from anti_i2v.resources import find_folder

FILES = ("config.json", "model.safetensors", ONNX, SALIENCE_ONNX, "README.md")
"""What a generator folder has, and all that is ever fetched or sent."""
METADATA = """---
license: apache-2.0
library_name: anti-i2v
pipeline_tag: image-to-image
tags:
- anti-i2v
- image-protection
- image-to-video
- adversarial-perturbation
---
"""
"""The hub's part of a card, by which models are found there; the licence is this project's, and a card of your own may name another."""


def hub_id(source: str | Path) -> tuple[str, str | None] | None:
    """Take `owner/name` or `owner/name@revision` apart; None for everything else and for whatever exists on this disk."""
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", source) if isinstance(source, str) else None
    return None if match is None or Path(source).exists() else (match[1], match[2])


def open_folder(source: str | Path, revision: str | None = None) -> GeneratorFolder:
    """Find and open a generator folder, needing neither torch nor, for local ones, the network.

    Args:
        source: An existing folder, the name of a shipped one, or a hub id, which `@` and a revision may follow. A `Path` is no hub id.
        revision: Branch, tag or commit of a hub id.

    Raises:
        UsageError: It cannot be found or fetched, or is no generator folder.
    """
    named = hub_id(source)
    if named is None:
        folder = find_folder(source)
        if revision is not None:
            raise UsageError(f"revision {revision!r} is for hub ids, and {str(source)!r} is a folder; leave the revision out")
        return GeneratorFolder.read(folder)
    name, own_revision = named
    if revision is not None and own_revision not in (None, revision):
        raise UsageError(f"{source} names one revision and revision={revision!r} another; give one of them")
    return _fetch(name, revision or own_revision)


def _fetch(name: str, revision: str | None) -> GeneratorFolder:
    """`open_folder` for a hub id."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import tqdm
    except ImportError:
        raise UsageError(f"no folder {name!r}; if it is a hub id, pip install huggingface_hub to fetch it") from None

    class Silent(tqdm):
        """No bar for a file of a few hundred bytes."""

        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    try:
        # It alone first: of a repository of something else no weights need to come.
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=["config.json"], tqdm_class=Silent))
    except Exception as error:  # the hub's own errors, the network's, the disk's
        raise UsageError(_reason(error, name, revision)) from None
    try:
        opened = GeneratorFolder.read(folder, name)
    except UsageError as error:
        raise UsageError(f"{name} on the hub is no generator of anti-i2v: {error}") from None
    try:
        # The folder is called as its commit, which a branch may have left in the meantime.
        snapshot_download(name, revision=folder.name, allow_patterns=list(FILES))
    except Exception as error:
        raise UsageError(_reason(error, name, revision)) from None
    return opened


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    message: str = "Upload a generator",
) -> str:
    """Send a generator folder to the hub in one commit; other files of the repository there stay.

    Args:
        folder: A generator folder; the hub's metadata are put before its card if it has none.
        repo_id: `owner/name`, or a name under your own account; made if need be.
        private: Whether a new repository is for its owner only; None leaves that to the account's settings.
        token: For writing; by default the one that `hf auth login` or HF_TOKEN left.
        branch: An existing one; `main` by default.
        message: Of the commit.

    Returns:
        The commit's address.

    Raises:
        UsageError: The hub did not take it; the reason and what to do.
    """
    with needs_train("sending a generator to the hub"):
        from huggingface_hub import ModelHubMixin

    class Upload(ModelHubMixin):
        """What the mixin knows of a protector: it can be saved. `Protector` itself must do without the mixin's second of import."""

        def _save_pretrained(self, save_directory: Path) -> None:
            for file in FILES:
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, save_directory / file)
            card = save_directory / "README.md"
            card.write_text(with_metadata(card.read_text("utf-8")), "utf-8")

    try:
        commit = Upload().push_to_hub(repo_id, private=private, token=token, branch=branch, commit_message=message)
    except Exception as error:
        raise UsageError(_reason(error, repo_id, branch)) from None
    return str(commit)


def with_metadata(card: str) -> str:
    """A card that begins with metadata for the hub: its own, or ours if it has none."""
    return card if re.match(r"---\s*\n.*?^---\s*$", card, re.DOTALL | re.MULTILINE) else f"{METADATA}\n{card}"


def _reason(error: Exception, name: str, revision: str | None) -> str:
    """One line on what went wrong between us and the hub, with the remedy."""
    from huggingface_hub import constants, errors

    address = f"{constants.ENDPOINT}/{name}"
    match error:
        case errors.GatedRepoError():
            return f"{name} on the hub is gated; accept its conditions at {address}, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return (
                f"no folder {name!r}, and the hub shows no such repository; check the name, or log in with `hf auth login` if it is private"
            )
        case errors.RevisionNotFoundError():
            return f"{name} on the hub has no revision {revision!r}; name a branch, tag or commit of {address}"
        case errors.OfflineModeIsEnabled():
            return f"cannot reach {address}, because HF_HUB_OFFLINE switches the hub off; unset it"
        case errors.LocalEntryNotFoundError() if constants.is_offline_mode():
            return (
                f"no folder {name!r} here or in the hub's cache, and HF_HUB_OFFLINE switches the hub off; unset it, or give a local folder"
            )
        case errors.LocalEntryNotFoundError():
            return f"cannot reach {address}, and it is not in the local cache; check the network, or give a local folder"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the hub refused access to {name}: {_line(error)}; log in with `hf auth login`, using a token that may do this"
        case _:
            return f"{name}: {_line(error)}; check the name and the network, and try again"


def _line(error: Exception) -> str:
    """The first line of a message, however many it has."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
