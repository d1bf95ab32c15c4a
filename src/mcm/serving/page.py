"""The web page: from a prompt to a playing clip, its files and the settings that make it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from mcm.errors import UserError
from mcm.serving import page_choices as choices
from mcm.serving import page_html as html
from mcm.serving.access import check_key
from mcm.serving.intake import VideoRequest
from mcm.serving.keys import ANYONE, Keys
from mcm.serving.models import ServedModel
from mcm.serving.page_live import live_tab
from mcm.serving.page_verify import verify_tab
from mcm.serving.service import Service
from mcm.serving.store import COMPLETED, QueueFullError
from mcm.serving.tables import Job

PATH = "/ui"
EXAMPLES = (
    "a fox moving left on a blue background",
    "a rocket moving up on a white background",
    "a red apple bouncing on a yellow background",
    "a soccer ball spinning on a green background",
)
_NOT_ACCEPTED = (UserError, QueueFullError, ValidationError)
_SHOWN = 12
_VISITORS = 64
_FONTS = ["system-ui", "sans-serif"]


def add_page(app: FastAPI, service: Service, keys: Keys) -> None:
    """Mount the page below `/ui` and lead `/` there; its visitors need a key if the API does."""

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse(PATH)

    def visitor(request: Request) -> str:
        return check_key(request, keys)

    page = Page(service)
    gr.mount_gradio_app(
        app,
        page.build(),
        PATH,
        auth_dependency=visitor if keys.digests else None,
        footer_links=[],
        max_file_size=1,
        ssr_mode=False,
        theme=gr.themes.Default(font=_FONTS, font_mono=["ui-monospace", "monospace"]),
        css=html.STYLE,
        head='<meta name="viewport" content="width=device-width, initial-scale=1">',
    )


class Page:
    """The page of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def build(self) -> gr.Blocks:
        """Return the page's components and what happens on a click."""
        page: gr.Blocks = gr.Blocks(title="Motion Consistency Model", analytics_enabled=False)
        with page:
            gr.Markdown("# Video in a few steps")
            with gr.Tab("Clip"):
                gallery = self._clip_tab()
            live_tab(self._service, EXAMPLES[0])
            verify_tab()
            page.load(self.gallery, None, gallery, **html.AT_ONCE)
        return page

    def _clip_tab(self) -> gr.HTML:
        """Lay out the tab of single clips and return its gallery."""
        first = self._service.models[None]
        names = [(choices.label(one), one.name) for one in self._service.models]
        with gr.Row():
            with gr.Column(min_width=300):
                prompt = gr.Textbox(
                    label="Prompt", value=EXAMPLES[0], lines=2, max_lines=4, submit_btn=False
                )
                gr.Examples([[text] for text in EXAMPLES], [prompt], label="Examples")
                model = gr.Dropdown(names, value=first.name, label="Model and style")
                steps = gr.Radio(**choices.steps(first), label="Steps")
                with gr.Row():
                    seed = gr.Number(-1, label="Seed (-1: any)", precision=0, min_width=100)
                    size = gr.Dropdown(
                        **choices.sizes(first),
                        label="Size",
                        allow_custom_value=True,
                        min_width=100,
                    )
                seconds, guidance, loop, alpha, avoid = _seldom_changed(first)
                beside = gr.Checkbox(**choices.beside(first), label="Beside its teacher")
                with gr.Row():
                    go = gr.Button("Generate", variant="primary", elem_id="generate")
                    stop = gr.Button("Cancel", elem_id="cancel")
            with gr.Column(min_width=300):
                with gr.Row():
                    pane = gr.HTML(html.empty_pane(), elem_id="student")
                    other = gr.HTML("", elem_id="teacher")
                downloads = gr.HTML("", elem_id="downloads")
                settings = gr.Code(
                    "", label="Make it again", language="shell", wrap_lines=True, lines=2
                )
        gallery = gr.HTML(label="Gallery", elem_id="gallery")
        running = gr.State([])
        inputs = [prompt, model, steps, seed, size, seconds, loop, alpha, avoid, guidance, beside]
        outputs = [running, pane, other, downloads, settings, gallery]
        gr.on(
            [go.click, prompt.submit],
            self.generate,
            inputs,
            outputs,
            api_visibility="private",
            show_progress="hidden",
            concurrency_limit=_VISITORS,
        )
        gr.on([go.click, prompt.submit], None, js=html.SHOW_PANE)
        stop.click(self.cancel, running, None, **html.AT_ONCE)
        fitting = [steps, size, seconds, loop, beside]
        model.change(self.choose, model, fitting, **html.AT_ONCE)
        return gallery

    def choose(self, name: str) -> list[Any]:
        """Return the steps, sizes, lengths, loops and the teacher that fit a model."""
        model, c = self._service.models[name], choices
        fitting = (c.steps, c.sizes, c.lengths, c.loop, c.beside)
        return [gr.update(**fits(model)) for fits in fitting]

    def gallery(self, request: gr.Request) -> str:
        """Return the visitor's newest clips."""
        jobs = self._service.store.page(_owner(request), None, 4 * _SHOWN, newest_first=True)
        return html.gallery([job for job in jobs if job.status == COMPLETED][:_SHOWN])

    def cancel(self, ids: list[str], request: gr.Request) -> None:
        """Cancel what the visitor's page waits for."""
        for id in ids:
            job = self._service.store.get(id, _owner(request))
            if job is not None:
                self._service.cancel(job)

    async def generate(
        self,
        prompt: str,
        model: str,
        steps: int,
        seed: float | None,
        size: str,
        seconds: str,
        loop: bool,
        alpha: bool,
        avoid: str,
        guidance: float | None,
        beside: bool,
        request: gr.Request,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Make a clip, and its teacher's if asked for; yield the page's parts as they change."""
        owner, skip = _owner(request), gr.skip()
        try:
            asked = VideoRequest(
                prompt=prompt,
                model=model,
                steps=steps,
                seed=None if seed is None or seed < 0 else int(seed),
                size=size or None,
                seconds=seconds,
                loop=loop,
                alpha=alpha,
                negative_prompt=avoid,
                guidance=guidance or None,
                preview=True,
            )
            jobs = [await asyncio.to_thread(self._service.submit, asked, owner)]
        except _NOT_ACCEPTED as error:
            yield [], html.problem(html.message(error)), "", "", "", skip
            return
        panes = [html.waiting(jobs[0]), ""]
        if beside and (teacher := self._service.models[model].teacher):
            seed = jobs[0].order["seed"]
            same = {"model": teacher, "steps": None, "guidance": None, "seed": seed}
            asked = asked.model_copy(update=same)
            try:
                jobs.append(await asyncio.to_thread(self._service.submit, asked, owner))
                panes[1] = html.waiting(jobs[1])
            except _NOT_ACCEPTED as error:  # the student's clip is made nevertheless
                panes[1] = html.problem(html.message(error))
        yield [job.id for job in jobs], *panes, "", "", skip
        for number, job in enumerate(jobs):
            async for pane in self._follow(job, owner):
                panes[number] = pane
                yield skip, *panes, skip, skip, skip
            if number == 0 and (done := self._service.store.get(job.id, owner)) is not None:
                again = html.command(done, self._service.models[model].source)
                yield skip, *panes, html.downloads(done), again, skip
        yield [], *panes, skip, skip, await asyncio.to_thread(self.gallery, request)

    async def _follow(self, job: Job, owner: str) -> AsyncIterator[str]:
        """Yield the pane of a job as it goes on, the last with its clip or why there is none."""
        async for news in self._service.watch(job):
            if news.status != COMPLETED:
                yield html.running(job, news)
        done = await asyncio.to_thread(self._service.store.get, job.id, owner)
        yield html.problem("the clip was deleted") if done is None else html.finished(done)


def _seldom_changed(
    first: ServedModel,
) -> tuple[gr.Dropdown, gr.Number, gr.Checkbox, gr.Checkbox, gr.Textbox]:
    """Lay out, folded away, length, guidance, loop, transparency and negative prompt."""
    with gr.Accordion("Length, loop, transparency, guidance", open=False):
        with gr.Row():
            seconds = gr.Dropdown(**choices.lengths(first), label="Length", min_width=100)
            guidance = gr.Number(0, label="Guidance (0: the model's own)", min_width=100)
        with gr.Row():
            loop = gr.Checkbox(**choices.loop(first), label="Loop", min_width=100)
            alpha = gr.Checkbox(label="Transparent background", min_width=100)
        avoid = gr.Textbox("", label="Negative prompt", max_lines=2)
    return seconds, guidance, loop, alpha, avoid


def _owner(request: gr.Request) -> str:
    return request.username or ANYONE
