"""Where photos lie while a page is open, and how all of them are removed when it is closed."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Session:
    """What one open page has on disk: a folder of results, and files that it uploaded."""

    folder: Path
    uploads: set[Path] = field(default_factory=set)


class Storage:
    """A temporary folder that only this user may read; `remove` it at the end, whatever happens.

    A session's name comes from its browser and so is never made part of a path.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="anti-i2v-app-")).resolve()
        self.lock = threading.RLock()  # taken while a photo is written, so that nothing appears in a folder that was removed
        self.sessions: dict[str, Session] = {}

    def add_uploads(self, name: str, files: Iterable[Path]) -> None:
        """Remember what a page has uploaded."""
        with self.lock:
            self._session(name).uploads |= set(files)

    def new_folder(self, name: str) -> Path:
        """An empty folder for new results of a page; its earlier ones are removed."""
        with self.lock:
            session = self._session(name)
            shutil.rmtree(session.folder, ignore_errors=True)
            session.folder = self._folder()
            return session.folder

    @contextmanager
    def writing(self, folder: Path) -> Iterator[bool]:
        """Lock a folder while something is written into it; False if its page was closed meanwhile."""
        with self.lock:
            yield folder.is_dir()

    def close(self, name: str) -> None:
        """Remove everything of a page, except files that another page has uploaded as well."""
        with self.lock:
            session = self.sessions.pop(name, None)
            if session is None:
                return
            shutil.rmtree(session.folder, ignore_errors=True)
            for file in session.uploads.difference(*(other.uploads for other in self.sessions.values())):
                file.unlink(missing_ok=True)
                if file.parent != self.root and not any(file.parent.iterdir()):
                    file.parent.rmdir()

    def remove(self) -> None:
        """Remove the folder, as soon as the photo that is being protected is done."""
        with self.lock:
            self.sessions.clear()
            shutil.rmtree(self.root, ignore_errors=True)

    def _session(self, name: str) -> Session:
        if name not in self.sessions:
            self.sessions[name] = Session(self._folder())
        return self.sessions[name]

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root))
