"""The page itself: what is on it, and what answers when something is done there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath
from typing import Any

import gradio as gr

from anti_i2v.app.pictures import TIMES
from anti_i2v.app.storage import Storage
from anti_i2v.app.words import summary
from anti_i2v.app.work import Protected, Upload, protect_all, task_for, zip_all
from anti_i2v.bulk.backends import Way

TITLE = "Protect photos"
ABOUT = """<h1>Protect photos</h1>
<p>AI can make a fake video of a person out of a single photo. This page changes photos a little, in a way that is meant to make that
harder.</p>
<p>Everything happens on this computer: nothing is sent anywhere, and what this page has stored is deleted when you close it.</p>"""
LIMITS = """<div class="limits"><p><b>Know the limits.</b> The video tools that people use today are not stopped by this yet, and anyone
who tries hard can remove it. Only a photo that you keep to yourself is safe.</p><p class="small">In exact words: {}</p></div>"""
FORMATS = (("Keep the format: a JPEG stays a JPEG", "same"), ("Save exactly: a JPEG becomes a PNG, which is larger", "lossless"))
CLEANING = (3600, 86400)  # Gradio's own, in seconds: every hour, of what is a day old
PROGRESS = gr.Progress()

Files = Sequence[Mapping[str, Any]] | None
"""Uploads as Gradio has them: `path` of the copy, which it has checked to be an upload, and `orig_name`."""


class Answers:
    """What the page does when it is asked.

    Args:
        way: What protects a photo; loaded once, for all.
        storage: Where photos lie while a page is open.
    """

    def __init__(self, way: Way, storage: Storage) -> None:
        self.way = way
        self.storage = storage

    def uploaded(self, files: Files, request: gr.Request) -> None:
        """Note what has to go when the page is closed."""
        self.storage.uploaded(str(request.session_hash), [upload.path for upload in uploads(files)])

    def closed(self, request: gr.Request) -> None:
        """The page was closed, or loaded anew."""
        self.storage.close(str(request.session_hash))

    def protect(
        self,
        files: Files,
        epsilon: float,
        format: str,
        strip_gps: bool,
        no_ai_training: bool,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> list[Any]:
        """Protect all photos and show the first; values of `outputs` in `build`."""
        self.uploaded(files, request)  # programs upload without a page that would tell
        todo = uploads(files)
        if not todo:
            return ['<p class="said">Add a photo first.</p>', [], gr.Column(visible=False), None, None, *shown(None)]
        folder = self.storage.fresh(str(request.session_hash))
        count = iter(range(len(todo)))
        outcomes = protect_all(
            self.way,
            todo,
            task_for(self.way, epsilon, format, strip_gps, no_ai_training),
            self.storage,
            folder,
            lambda name: progress((n := next(count), len(todo)), desc=f"Photo {n + 1} of {len(todo)}: {name}", unit="photos"),
        )
        done, refused = [], []
        for outcome in outcomes:
            if isinstance(outcome, Protected):
                done.append(outcome)
            else:
                refused.append((outcome.name, outcome.reason))
        several = len(done) > 1
        with self.storage.writing(folder) as is_open:
            every = zip_all(done, folder / "protected-photos.zip") if several and is_open else None
        return [
            summary(len(done), refused),
            done,
            gr.Column(visible=bool(done)),
            gr.Gallery([(str(photo.after), photo.output.name) for photo in done], visible=several, selected_index=0),
            gr.DownloadButton(value=every, visible=several),
            *shown(done[0] if done else None),
        ]

    def choose(self, done: list[Protected], event: gr.SelectData) -> list[Any]:
        """Show the photo that was clicked."""
        return shown(done[event.index])


def uploads(files: Files) -> list[Upload]:
    """The uploads by the names that they had; a browser may send none, and never a folder."""
    return [Upload(Path(file["path"]), PurePath(file.get("orig_name") or file["path"]).name) for file in files or ()]


def shown(photo: Protected | None) -> list[Any]:
    """Values of what one photo is shown in."""
    if photo is None:
        return ["", None, None, None, ""]
    name = f"<h2>{escape(photo.output.name)}</h2>"
    return [name, (str(photo.before), str(photo.after)), str(photo.residual), str(photo.output), photo.told]


def build(way: Way, storage: Storage, strengths: Mapping[str, float]) -> gr.Blocks:
    """The page.

    Args:
        way: What protects a photo.
        storage: Where photos lie while a page is open.
        strengths: Name → epsilon; `standard` is chosen.
    """
    answers = Answers(way, storage)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(ABOUT)
        gr.HTML(LIMITS.format(escape(way.limits.removeprefix("limits: "))))
        files = gr.File(label="Your photos", file_count="multiple", height=170, elem_id="photos")
        wishes = [_strength(strengths), *_more()]
        button = gr.Button("Protect", variant="primary", size="lg", elem_id="protect")
        said = gr.HTML(elem_id="said")
        done = gr.State([])
        with gr.Column(visible=False, elem_id="results") as results:
            every = gr.DownloadButton("Download all (zip)", variant="primary", elem_id="download-all")
            choice = gr.Gallery(label="Click a photo to look at it", allow_preview=False, object_fit="cover", buttons=[], elem_id="choice")
            photo = _photo()
        outputs = [said, done, results, choice, every, *photo]
        # Raw values: Gradio would give the names of files without some characters, such as the "!" of "Wow!.jpg".
        button.click(answers.protect, [files, *wishes], outputs, preprocess=False, show_progress_on=said, api_name="protect")
        choice.select(answers.choose, done, photo, show_progress="hidden", api_visibility="private")
        files.change(answers.uploaded, files, preprocess=False, show_progress="hidden", api_visibility="private")
        page.unload(answers.closed)
    return page


def _strength(strengths: Mapping[str, float]) -> gr.Slider:
    """Three names and a scale that say the same; returns the scale."""
    names = [(name.capitalize(), value) for name, value in strengths.items()]
    with gr.Group():
        named = gr.Radio(
            names, value=strengths["standard"], label="Strength", info="Stronger protects better, and is easier to see.", elem_id="strength"
        )
        scale = gr.Slider(
            1,
            16,
            strengths["standard"],
            step=1,
            buttons=[],
            label="Or choose exactly",
            info="How far the protection may move a colour value; these go from 0 to 255.",
            elem_id="epsilon",
        )
    # In the browser, so that no answer to an earlier move arrives after a later one.
    named.input(None, named, scale, js="value => value", api_visibility="private")
    scale.input(None, scale, named, js=f"value => {list(strengths.values())}.includes(value) ? value : null", api_visibility="private")
    return scale


def _more() -> list[gr.components.Component]:
    """What most people leave as it is: format, place, statement."""
    with gr.Accordion("More choices", open=False, elem_id="more"):
        format = gr.Radio(FORMATS, value="same", label="Saved files", elem_id="format")
        place = gr.Checkbox(
            label="Remove where the photo was taken", info="Cameras and phones store the place in the file.", elem_id="place"
        )
        statement = gr.Checkbox(
            label="Add the statement “no AI training”",
            info="Machines can read it in the file. Not everybody keeps to it.",
            elem_id="statement",
        )
    return [format, place, statement]


def _photo() -> list[gr.components.Component]:
    """What one photo is shown in, see `shown`."""
    name = gr.HTML(elem_id="name")
    with gr.Tabs():
        with gr.Tab("Before and after"):
            slider = gr.ImageSlider(show_label=False, buttons=["fullscreen"], interactive=False, max_height=560, elem_id="slider")
            gr.HTML('<p class="sides"><span>◂ before</span><span>after ▸</span></p>')
        with gr.Tab("The change"):
            residual = gr.Image(show_label=False, buttons=["fullscreen"], interactive=False, elem_id="residual")
            gr.HTML(f'<p class="sides">What was changed, {TIMES} times stronger than it is. Grey: nothing.</p>')
    download = gr.DownloadButton("Download this photo", elem_id="download")
    told = gr.HTML(elem_id="told")
    return [name, slider, residual, download, told]
