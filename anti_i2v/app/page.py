"""The page itself: what is on it, and what happens when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath
from typing import Any

import gradio as gr

from anti_i2v.app.description import summary
from anti_i2v.app.previews import GAIN
from anti_i2v.app.storage import Storage
from anti_i2v.app.uploads import ProtectedPhoto, Upload, protect_uploads, zip_photos
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import STRENGTHS, Request

TITLE = "Protect photos"
ABOUT = """<h1>Protect photos</h1>
<p>AI can make a fake video of a person out of a single photo. This page changes photos a little, in a way that is meant to make that
harder.</p>
<p>Everything happens on this computer: nothing is sent anywhere, and what this page has stored of your photos is deleted when you
close it.</p>"""
LIMITS = """<div class="limits"><p><b>Know the limits.</b> The video tools that people use today are not stopped by this yet, and anyone
who tries hard can remove it. Only a photo that you keep to yourself is safe.</p><p class="small">In exact words: {}</p></div>"""
FORMATS = (("Keep the format: a JPEG stays a JPEG", "same"), ("Save exactly: a JPEG becomes a PNG, which is larger", "lossless"))
CLEANING = (3600, 86400)  # of Gradio's own files, in seconds: every hour, of what is a day old
PROGRESS = gr.Progress()

Files = Sequence[Mapping[str, Any]] | None
"""Uploads in Gradio's form: `path` of the copy, which it has checked to be an upload, and `orig_name`."""


class Handlers:
    """What happens when the page is used; one protector and one storage serve all pages."""

    def __init__(self, protector: PhotoProtector, storage: Storage) -> None:
        self.protector = protector
        self.storage = storage

    def add_uploads(self, files: Files, request: gr.Request) -> None:
        """Remember what has to be removed when the page is closed."""
        self.storage.add_uploads(str(request.session_hash), [upload.path for upload in uploads(files)])

    def close(self, request: gr.Request) -> None:
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
        self.add_uploads(files, request)  # programs upload without the page's own event
        todo = uploads(files)
        if not todo:
            return ['<p class="message">Add a photo first.</p>', [], gr.Column(visible=False), None, None, *photo_values(None)]
        folder = self.storage.new_folder(str(request.session_hash))
        count = iter(range(len(todo)))
        photos, rejected = [], []
        for result in protect_uploads(
            todo,
            Request((), folder, format, epsilon, strip_gps=strip_gps, no_ai_training=no_ai_training, quiet=True, workers=1),
            self.protector,
            self.storage,
            lambda name: progress((n := next(count), len(todo)), desc=f"Photo {n + 1} of {len(todo)}: {name}", unit="photos"),
        ):
            if isinstance(result, ProtectedPhoto):
                photos.append(result)
            else:
                rejected.append((result.name, result.reason))
        several = len(photos) > 1
        with self.storage.writing(folder) as is_open:
            archive = zip_photos(photos, folder / "protected-photos.zip") if several and is_open else None
        return [
            summary(len(photos), rejected),
            photos,
            gr.Column(visible=bool(photos)),
            gr.Gallery([(str(photo.after), photo.output.name) for photo in photos], visible=several, selected_index=0),
            gr.DownloadButton(value=archive, visible=several),
            *photo_values(photos[0] if photos else None),
        ]

    def choose(self, photos: list[ProtectedPhoto], event: gr.SelectData) -> list[Any]:
        """Show the photo that was clicked."""
        return photo_values(photos[event.index])


def uploads(files: Files) -> list[Upload]:
    """The uploads by the names that they had; a browser may send none, and never a folder."""
    return [Upload(Path(file["path"]), PurePath(file.get("orig_name") or file["path"]).name) for file in files or ()]


def photo_values(photo: ProtectedPhoto | None) -> list[Any]:
    """Values of the components that show one photo, see `_photo`."""
    if photo is None:
        return ["", None, None, None, ""]
    name = f"<h2>{escape(photo.output.name)}</h2>"
    return [name, (str(photo.before), str(photo.after)), str(photo.residual), str(photo.output), photo.description]


def build(protector: PhotoProtector, storage: Storage) -> gr.Blocks:
    """The page."""
    handlers = Handlers(protector, storage)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(ABOUT)
        gr.HTML(LIMITS.format(escape(protector.limits.removeprefix("limits: "))))
        files = gr.File(label="Your photos", file_count="multiple", height=170, elem_id="photos")
        settings = [_strength(), *_more()]
        button = gr.Button("Protect", variant="primary", size="lg", elem_id="protect")
        message = gr.HTML(elem_id="message")
        photos = gr.State([])
        with gr.Column(visible=False, elem_id="results") as results:
            archive = gr.DownloadButton("Download all (zip)", variant="primary", elem_id="download-all")
            choice = gr.Gallery(label="Click a photo to look at it", allow_preview=False, object_fit="cover", buttons=[], elem_id="choice")
            photo = _photo()
        outputs = [message, photos, results, choice, archive, *photo]
        # Raw values: Gradio would give the names of files without some characters, such as the "!" of "Wow!.jpg".
        button.click(handlers.protect, [files, *settings], outputs, preprocess=False, show_progress_on=message, api_name="protect")
        choice.select(handlers.choose, photos, photo, show_progress="hidden", api_visibility="private")
        files.change(handlers.add_uploads, files, preprocess=False, show_progress="hidden", api_visibility="private")
        page.unload(handlers.close)
    return page


def _strength() -> gr.Slider:
    """The strength by name and as a number, which follow each other; returns the number."""
    names = [(name.capitalize(), value) for name, value in STRENGTHS.items()]
    with gr.Group():
        named = gr.Radio(
            names, value=STRENGTHS["standard"], label="Strength", info="Stronger protects better, and is easier to see.", elem_id="strength"
        )
        scale = gr.Slider(
            1,
            16,
            STRENGTHS["standard"],
            step=1,
            buttons=[],
            label="Or choose exactly",
            info="How far the protection may move a colour value; these go from 0 to 255.",
            elem_id="epsilon",
        )
    # In the browser, so that no answer to an earlier move arrives after a later one.
    named.input(None, named, scale, js="value => value", api_visibility="private")
    scale.input(None, scale, named, js=f"value => {list(STRENGTHS.values())}.includes(value) ? value : null", api_visibility="private")
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
    """What one photo is shown in, see `photo_values`."""
    name = gr.HTML(elem_id="name")
    with gr.Tabs():
        with gr.Tab("Before and after"):
            slider = gr.ImageSlider(show_label=False, buttons=["fullscreen"], interactive=False, max_height=560, elem_id="slider")
            gr.HTML('<p class="sides"><span>◂ before</span><span>after ▸</span></p>')
        with gr.Tab("The change"):
            residual = gr.Image(show_label=False, buttons=["fullscreen"], interactive=False, elem_id="residual")
            gr.HTML(f'<p class="sides">What was changed, {GAIN} times stronger than it is. Grey: nothing.</p>')
    download = gr.DownloadButton("Download this photo", elem_id="download")
    description = gr.HTML(elem_id="description")
    return [name, slider, residual, download, description]
