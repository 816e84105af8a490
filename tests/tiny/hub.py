"""A Hugging Face hub of a few repositories on this machine, as far as the real client asks for it: download, and upload in one commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest


@dataclass
class TinyHub:
    """The content of the hub and the requests that it received.

    Attributes:
        files: Repository → revision (branch, tag or commit) → name → content.
        gated: Repositories whose files are refused.
        asked: Method and path of every request, in order.
        sent: Of uploads: repository, what was asked when it was made, and the files of the commit.
        address: Where it listens.
    """

    files: dict[str, dict[str, dict[str, bytes]]]
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    sent: list[tuple[str, dict[str, object], dict[str, bytes]]] = field(default_factory=list)
    address: str = ""
    made: dict[str, object] = field(default_factory=dict)

    def paths(self) -> list[str]:
        """Names of the files that were downloaded."""
        return [path.rpartition("/")[2] for path in self.asked if path.startswith("GET") and "/resolve/" in path]


def commit(files: dict[str, bytes]) -> str:
    """The id of a commit that has these files."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextmanager
def serving(hub: TinyHub, patch: pytest.MonkeyPatch, cache: str) -> Iterator[TinyHub]:
    """Let huggingface_hub, as it is in this process, talk to it."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", cache)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: TinyHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, content: bytes = b"", status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                repository, what, revision = "/".join(parts[2:4]), parts[4] if parts[4:] else "revision", "/".join(parts[5:6]) or "main"
            elif parts[2:3] == ["resolve"]:
                repository, what, revision = "/".join(parts[:2]), "resolve", parts[3]
            else:
                return self.answer(status=404)
            if repository not in hub.files:
                return self.answer(status=401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            if repository in hub.gated:
                return self.answer(status=403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
            revisions = hub.files[repository]
            tree_files = revisions.get(revision) or next((f for f in revisions.values() if commit(f) == revision), None)
            if tree_files is None:
                return self.answer(status=404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
            if what == "resolve":
                content = tree_files.get("/".join(parts[4:]))
                if content is None:
                    return self.answer(status=404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit(tree_files))
                return self.answer(content, X_Repo_Commit=commit(tree_files), ETag=f'"{hashlib.sha1(content).hexdigest()}"')
            if what == "tree":
                tree = [{"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()} for p, c in tree_files.items()]
                return self.answer(json.dumps(tree).encode())
            self.answer(json.dumps({"id": repository, "sha": commit(tree_files), "siblings": []}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if path == "/api/repos/create":
                hub.made = json.loads(body)
                if self.headers.get("Authorization") != "Bearer good":
                    return self.answer(b'{"error": "Invalid username or password."}', 401, X_Error_Message="Invalid username or password.")
                name = "/".join(str(hub.made[key]) for key in ("organization", "name") if hub.made.get(key))
                return self.answer(json.dumps({"url": f"{hub.address}/{name}"}).encode())
            if path == "/api/validate-yaml":
                return self.answer(b'{"errors": [], "warnings": []}')
            if parts[4] == "preupload":
                files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
                return self.answer(json.dumps({"files": files}).encode())
            lines = [json.loads(line) for line in body.splitlines()]
            content = {v["value"]["path"]: base64.b64decode(v["value"]["content"]) for v in lines if v["key"] == "file"}
            hub.sent.append(("/".join(parts[2:4]), hub.made, content))
            answer = {"commitUrl": f"{hub.address}/{'/'.join(parts[2:4])}/commit/1", "commitOid": "1", "success": True}
            self.answer(json.dumps(answer).encode())

    return Handler
