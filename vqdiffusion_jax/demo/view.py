"""The page itself; this file, ``panel`` and ``easel`` alone know NiceGUI, and only wire what the files beside them do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import app, events, ui
from starlette.responses import PlainTextResponse

from ..pipeline import VQDiffusionPipeline
from ..sampling.registry import STRATEGIES, explanation_of
from .canvas import Canvas
from .drawing import Frame, draw
from .easel import Easel
from .limits import Limits
from .panel import CRISP, Panel
from .pictures import archive, as_url
from .queue import DONE, WAITING, Line, Run
from .requests import MASK, PICTURE, SCRATCH, Order, default_form, read_form

TITLE = "VQ-Diffusion"
REFRESH = 0.1  # seconds between looks at a run
FORM_BYTES = 2**16  # of an upload, besides its file
STARTS = {SCRATCH: "nothing", PICTURE: "the picture, noised", MASK: "the picture, but where it is red"}
NONE = "none"


def serve(pipeline: VQDiffusionPipeline, limits: Limits, origin: dict[str, Any], *, host: str, port: int) -> None:
    """Serve the page until interrupted.  origin: where the pipeline came from, under the names of the command line's flags."""
    line = Line(limits.runs_waiting)

    @app.middleware("http")
    async def refuse_large_uploads(request, call_next):
        if (
            request.method == "POST"
            and int(request.headers.get("content-length", 2**63)) > limits.upload_bytes + FORM_BYTES
        ):
            return PlainTextResponse("the file is too large", status_code=413)
        return await call_next(request)

    ui.run(
        lambda: Page(pipeline, limits, origin, line),
        host=host,
        port=port,
        title=TITLE,
        dark=None,
        reload=False,
        show=False,
        show_welcome_message=False,
        reconnect_timeout=30.0,
    )


class Page:
    """One visit."""

    def __init__(self, pipeline: VQDiffusionPipeline, limits: Limits, origin: dict[str, Any], line: Line):
        self.pipeline, self.limits, self.origin, self.line = pipeline, limits, origin, line
        self.canvas = Canvas(pipeline.config.codec.image_size)
        self.form = default_form(pipeline.config)
        self.fields: dict[str, Any] = {}  # of the form, by name
        self.run: Run | None = None
        self.orders: list[Order] = []
        self.history: list[list[Frame]] = []  # of the run that ended last
        self.drawn = 0
        with ui.row().classes("w-full no-wrap items-start gap-8"):
            with ui.column().classes("w-80 shrink-0 gap-2"):
                self._introduce()
                self._ask_what()
                self._act()
                self._ask_how()
            with ui.column().classes("grow gap-4"):
                self._watch()
                self._start_from()
                ui.label("Drawn in this visit").classes("text-lg")
                self.gallery = ui.row().classes("gallery gap-4")
        ui.timer(REFRESH, self._look)
        ui.context.client.on_delete(self._stop)

    def _introduce(self) -> None:
        denoiser, size = self.pipeline.config.denoiser, self.pipeline.config.codec.image_size
        rows, columns = denoiser.grid
        ui.label(TITLE).classes("text-2xl")
        ui.label(
            f"{Path(self.origin['checkpoint']).name}: {size} x {size} pixels from {rows} x {columns} tokens of {denoiser.num_codes} codes,"
            f" {denoiser.num_timesteps} timesteps"
        ).classes("text-sm opacity-70 break-words")

    def _ask_what(self) -> None:
        denoiser = self.pipeline.config.denoiser
        if denoiser.condition == "text":
            prompt = ui.input("Prompt", placeholder="what to draw").on("keydown.enter", self._draw)
            self._add("prompt", prompt, f"what the picture shows, in up to {self.limits.prompt_length} characters")
        elif denoiser.condition == "class":
            last = denoiser.num_classes - denoiser.learnable_null - 1
            self._add("class_label", ui.number("Class"), f"number of the class to draw, 0 to {last}")

    def _ask_how(self) -> None:
        denoiser = self.pipeline.config.denoiser
        self._add("seed", ui.number("Seed"), "same seed, same pictures")
        self._add("num_images", ui.number("Images"), f"how many, up to {self.limits.num_images}")
        self._add(
            "steps", ui.number("Steps"), f"network calls a picture, up to {denoiser.num_timesteps}; fewer are faster"
        )
        if denoiser.condition != "none":
            self._add("guidance_scale", ui.number("Guidance", step=0.5), "1 is none; more follows the prompt closer")
        self._add(
            "truncation_rate",
            ui.number("Truncation", step=0.02),
            "keep the likeliest codes up to this probability; 1 keeps all",
        )
        strategy = ui.select(list(STRATEGIES), label="Strategy", on_change=self._explain)
        self._add("strategy", strategy, explanation_of(STRATEGIES[self.form.strategy]))
        self.beside = ui.select([NONE, *STRATEGIES], label="Compare with", value=NONE).classes("w-full")
        self.beside.props["hint"] = "another strategy, beside it, from the same seed"

    def _add(self, name: str, field: Any, hint: str) -> None:
        field.set_value(getattr(self.form, name))
        field.classes("w-full").props["hint"] = hint
        self.fields[name] = field

    def _explain(self, event: events.ValueChangeEventArguments) -> None:
        event.sender.props["hint"] = explanation_of(STRATEGIES[event.value])

    def _act(self) -> None:
        with ui.row().classes("mt-4"):
            self.draw_button = ui.button("Draw", on_click=self._draw)
            self.stop_button = ui.button("Stop", on_click=self._stop).props("outline")
            self.stop_button.disable()
        self.progress = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self.status = ui.label().classes("status text-sm")
        self.mistake = ui.label().classes("mistake text-sm text-negative").props("role=alert")

    def _watch(self) -> None:
        with ui.row().classes("w-full no-wrap gap-8"):
            self.panels = [Panel(), Panel()]
        self.slider = ui.slider(min=0, max=1, value=1, on_change=lambda event: self._show(int(event.value))).classes(
            "slider w-full"
        )
        self.slider.disable()
        ui.label(
            "Each picture as the network expects it so far, and its tokens: the brighter, the surer (purity, the largest p(x0));"
            " dots are still masked.  Afterwards the slider goes back through the denoising."
        ).classes("text-sm opacity-70")

    def _start_from(self) -> None:
        self.starting = ui.expansion("Start from a picture: image to image, inpainting, outpainting").classes(
            "w-full border rounded"
        )
        with self.starting:
            with ui.row().classes("gap-8 mb-6"):
                with ui.column().classes("w-80"):
                    self._add(
                        "start",
                        ui.select(STARTS, label="Start from"),
                        "red is drawn anew, and all else comes back exactly",
                    )
                with ui.column().classes("w-72"):
                    self._add(
                        "strength",
                        ui.number("Strength", step=0.1),
                        "how far the picture is noised; 1 leaves nothing of it",
                    )
            self.easel = Easel(self.canvas, self.limits, self.fields["start"].set_value, self._complain)

    def _edit(self, picture: np.ndarray) -> None:
        """Start from a picture that was drawn."""
        self.easel.put(picture)
        self.starting.open()

    def _complain(self, mistake: str) -> None:
        self.mistake.text = mistake

    def _draw(self) -> None:
        """Check the form and queue what it asks for, or say what is wrong with it."""
        if self.run is not None:  # the key may be pressed while the button is disabled
            return
        given = {name: field.value for name, field in self.fields.items()}
        form = replace(self.form, **given, picture=self.canvas.picture, mask=self.canvas.mask)
        forms = [form] if self.beside.value == NONE else [form, replace(form, strategy=self.beside.value)]
        self._complain("")
        try:
            orders = [read_form(one, self.pipeline, self.limits, self.origin) for one in forms]
            run = Run(len(orders), lambda run: self._draw_all(run, orders))
            self.line.join(run)
        except ValueError as error:
            self._complain(str(error))
            return
        self.run, self.orders = run, orders
        self.panels[1].end()
        for panel, order in zip(self.panels, orders):
            panel.begin(order, len(orders))
        self._drawing(True)

    def _draw_all(self, run: Run, orders: list[Order]) -> bool:
        return all(draw(self.pipeline, order, lambda frame, i=i: run.show(i, frame)) for i, order in enumerate(orders))

    def _drawing(self, now: bool) -> None:
        """Enable what can be pressed while a run goes on, or while none does."""
        self.draw_button.set_enabled(not now)
        self.stop_button.set_enabled(now)
        self.slider.set_enabled(not now)

    def _stop(self) -> None:
        if self.run is not None:
            self.run.stop()

    def _look(self) -> None:
        """Show how far the run is."""
        run = self.run
        if run is None:
            return
        before, ended = self.line.before(run), run.ended  # read first: no frame comes after the end
        for panel, frames in zip(self.panels, run.frames):
            if frames:
                panel.show(frames[-1])
        self.status.text = f"waiting, {before} before this one" if run.state == WAITING else run.state
        self.progress.value = 1.0 if run.state == DONE else run.progress
        if ended:
            self._end(run)

    def _end(self, run: Run) -> None:
        self.run = None
        self._complain(run.message)
        self._drawing(False)
        self.history = run.frames
        last = max(map(len, run.frames)) - 1
        self.slider.props["max"] = max(last, 1)
        self.slider.value = max(last, 1)
        if run.state == DONE:
            for order, frames in zip(self.orders, run.frames):
                for i, moment in enumerate(frames[-1].moments):
                    self._keep(order, i, moment.picture)

    def _show(self, moment: int) -> None:
        """Show a moment of the run that ended; the shorter of two stays at its last."""
        if self.run is None:
            for panel, frames in zip(self.panels, self.history):
                if frames:
                    panel.show(frames[min(moment, len(frames) - 1)])

    def _keep(self, order: Order, index: int, picture: np.ndarray) -> None:
        """Add a picture to the gallery."""
        self.drawn += 1
        name = f"{self.drawn:06d}"
        recipe = order.recipe_of(index)
        with self.gallery, ui.column().classes("kept w-32 gap-1") as kept:
            ui.image(as_url(picture)).style(CRISP)
            ui.label(order.caption).classes("text-xs")
            with ui.row().classes("gap-0"):
                ui.button("edit", on_click=lambda: self._edit(picture)).props("flat dense size=sm").tooltip(
                    "start from it"
                )
                save = ui.button(
                    "download",
                    on_click=lambda: ui.download(archive(name, picture, recipe, order.given), f"{name}.zip"),
                )
                save.props("flat dense size=sm").tooltip("the picture, and the JSON that draws it again")
        kept.move(target_index=0)
        if len(self.gallery.default_slot.children) > self.limits.gallery:
            self.gallery.remove(self.limits.gallery)
