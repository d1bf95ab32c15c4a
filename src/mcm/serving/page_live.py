"""The page's live tab: a clip that goes on while it is watched."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from pydantic import ValidationError

from mcm.errors import UserError
from mcm.serving import page_html as html
from mcm.serving.keys import ANYONE
from mcm.serving.live import MOST_SECONDS, LiveRequest
from mcm.serving.models import ServedModel
from mcm.serving.service import Service

STEPS = (2, 4, 8)


def live_tab(service: Service, first_prompt: str) -> None:
    """Lay out the tab inside the page's blocks; without a model that can stream there is none."""
    models = streaming_models(service)
    if not models:
        return
    with gr.Tab("Live"):
        scene = gr.Textbox(label="Scene", value=first_prompt, lines=2, max_lines=4)
        with gr.Row():
            model = gr.Dropdown([one.name for one in models], label="Student", min_width=150)
            steps = gr.Dropdown(list(STEPS), value=4, label="Steps of a window", min_width=150)
        with gr.Row():
            start = gr.Button("Start", variant="primary")
            end = gr.Button("End")
        shown = gr.HTML(html.empty_pane(), elem_id="live")

        def leave(request: gr.Request) -> str:
            service.live.end(request.username or ANYONE)
            return html.empty_pane()

        def watch(text: str, name: str, count: int, request: gr.Request) -> str:
            leave(request)
            try:
                asked = LiveRequest(prompt=text, model=name, steps=count, seconds=MOST_SECONDS)
                service.live.windows(asked)
            except (UserError, ValidationError) as error:
                return html.problem(html.message(error))
            return html.live(text, name, count)

        start.click(watch, [scene, model, steps], shown, **html.AT_ONCE)
        end.click(leave, None, shown, **html.AT_ONCE)


def streaming_models(service: Service) -> Sequence[ServedModel]:
    """Return the students whose autoencoder decodes frame by frame."""
    return [
        one
        for one in service.models
        if one.is_student and one.model.backbone.spec.temporal_factor == 1
    ]
