"""A web server for the page that this computer alone can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anti_i2v.app.style import CSS, LABELS, theme
from anti_i2v.errors import UsageError

HOST = "127.0.0.1"
# Of one file. The page refuses photos at a tenth of this, each by itself; Gradio would refuse all that came with it.
MAX_UPLOAD = "2gb"


class NoStore:
    """Asks the browser to keep no copy on disk, so that photos go when the page does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with one more header."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, send_with_header)


@contextmanager
def serve(page: gr.Blocks, port: int | None, browser: bool) -> Iterator[str]:
    """Serve a page; gives its address.

    Args:
        page: What to serve.
        port: Where; None takes the first free one from 7860.
        browser: Open it.

    Raises:
        UsageError: The port cannot be used.
    """
    try:
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            inbrowser=browser,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=MAX_UPLOAD,
            app_kwargs={"middleware": [Middleware(NoStore)]},
            theme=theme(),
            css=CSS,
            i18n=LABELS,
        )
    except OSError:  # Gradio's message is about its own settings
        problem = "no port from 7860 to 7959 is free" if port is None else f"--port {port} is in use, or reserved by the system"
        raise UsageError(f"{problem}; choose another --port") from None
    try:
        yield address
    finally:
        page.close(verbose=False)
