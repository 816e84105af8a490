"""The page on this computer's own address, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anti_i2v.app.look import CSS, WORDS, theme
from anti_i2v.errors import UsageError

HOST = "127.0.0.1"
# Of one file. The page refuses photos at a tenth of this, each by itself; Gradio would refuse all that came with it.
MOST_UPLOAD = "2gb"


class NotStored:
    """Asks the browser to keep no copy on disk, so that photos go when the page does.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with one header more."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, marked)


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
            max_file_size=MOST_UPLOAD,
            app_kwargs={"middleware": [Middleware(NotStored)]},
            theme=theme(),
            css=CSS,
            i18n=WORDS,
        )
    except OSError:  # Gradio's words are about its own settings
        which = "no port from 7860 to 7959 is free" if port is None else f"--port {port} is in use, or not for you to use"
        raise UsageError(f"{which}; choose another --port") from None
    try:
        yield address
    finally:
        page.close(verbose=False)
