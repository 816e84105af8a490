"""How the page looks: one column, the system's own font, nothing from the network."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container { max-width: 820px !important; margin: 0 auto !important; }
.html-container { padding: 0 !important; }
h1 { font-size: 1.8rem; font-weight: 650; margin: .3em 0; }
h2 { font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }
p { margin: .3em 0; line-height: 1.5; }
.limits { border-left: 4px solid var(--color-accent); padding: .5em .9em; background: var(--background-fill-secondary); }
.small { color: var(--body-text-color-subdued); font-size: .85rem; }
.message { font-size: 1.2rem; font-weight: 600; }
.rejected { border-left: 4px solid #c0392b; padding: .2em .9em; overflow-wrap: anywhere; }
.rejected ul { margin: .2em 0 .4em 1.2em; list-style: disc; }
.sides { display: flex; justify-content: space-between; margin: -.4em 0 .2em; font-size: .9rem; }
.sides, .sides * { color: var(--body-text-color-subdued) !important; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .45em 1.2em; margin: .3em 0; line-height: 1.5; }
.facts dt { font-weight: 600; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
#photos td.download { display: none; } /* it would be the unprotected photo */
#residual img { max-height: 560px; object-fit: contain; }
#message:has([data-testid="status-tracker"]:not(.hide)) { min-height: 6em; } /* room for the progress */
#message .meta-text { display: none; } /* the text beside it says which photo is being protected */
#choice .grid-wrap { min-height: 0; max-height: 360px; padding-top: 2.2em; }
#choice .grid-container { grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); height: auto; }
#choice .gallery-item { aspect-ratio: 1; }
.tabs .tab-wrapper { height: auto; }
@media (max-width: 560px) {
  #strength label { padding: .5em .6em; }
  #strength .wrap { gap: .4em; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .7em; }
}
"""
LABELS = gr.I18n(en={"upload_text.drop_file": "Drop photos here", "upload_text.click_to_upload": "Click to choose"})


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the system's own font, and colours of enough contrast."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )
