"""The page: it wires the form, the queue and the views, and draws nothing itself."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import events, ui
from nicegui.elements.mixins.value_element import ValueElement

from ..pipeline import VQDiffusionPipeline
from ..sampling.fields import default_in_words
from ..sampling.registry import STRATEGIES, explanation_of
from ..web.access import is_local
from ..web.rates import Allowance
from .drawing import Frame, draw
from .form import counts_calls, default_form, model_inputs, strategy_inputs, usual_strategy, with_strategy
from .job import Job, job_of
from .job_view import JobView
from .limits import Limits
from .mask_editor import MaskEditor
from .pictures import archive, as_url
from .queue import DONE, WAITING, Queue, Run
from .widgets import CRISP, input_for
from .word_hints import WordHints
from .wording import TITLE, told, told_to

REFRESH = 0.1  # seconds between looks at a run
NONE = "none"


class Pages:
    """All visits of a server.

    origin: of the pipeline, as ``recipe`` takes it.
    """

    def __init__(self, pipeline: VQDiffusionPipeline, limits: Limits, origin: Mapping[str, Any]):
        self.pipeline, self.limits, self.origin = pipeline, limits, origin
        self.queue = Queue(limits.runs_waiting, limits.runs_each)
        self.runs = Allowance(limits.runs_a_minute, 60.0)
        self._open: weakref.WeakValueDictionary[str, Page] = weakref.WeakValueDictionary()

    def visit(self) -> None:
        """Build the page of a visit."""
        client = ui.context.client
        page = Page(self, client.id if is_local(client.ip) else client.ip)
        self._open[client.id] = page
        client.on_exception(lambda error: page.complain(f"that cannot be done ({told(error)})"))
        client.on_disconnect(page.leave)
        client.on_delete(page.stop)

    def tell(self, visit: str, line: str) -> None:
        """Show a line on an open page, by the id of its visit."""
        if page := self._open.get(visit):
            page.complain(line)


class Page:
    """One visit.

    visitor: who it is: an address; on this machine, where all addresses are one, the visit itself.
    """

    def __init__(self, pages: Pages, visitor: str):
        self.pipeline, self.limits, self.origin, self.queue = pages.pipeline, pages.limits, pages.origin, pages.queue
        self.runs, self.visitor, self.client = pages.runs, visitor, ui.context.client
        self.inputs = model_inputs(self.pipeline.config, self.limits)
        self.defaults = default_form(self.pipeline.config)
        self.elements: dict[str, ValueElement] = {}  # of the form's fields, by name
        self.of_strategy: dict[str, ValueElement] = {}  # of the chosen strategy's own settings
        self.run: Run | None = None
        self.jobs: list[Job] = []
        self.history: list[list[Frame]] = []  # of the run that ended last
        self.drawn = 0
        with ui.row().classes("w-full no-wrap items-start gap-8"):
            with ui.column().classes("w-80 shrink-0 gap-2"):
                self._introduce()
                self._add("prompt", "class_labels")
                if self.pipeline.known_words and "prompt" in self.elements:
                    WordHints(self.pipeline.known_words, self.elements["prompt"])
                self._offer_drawing()
                self._add("seed", "num_images_per_prompt", "guidance_scale", "guidance_plausibility", "truncation_rate")
                self._offer_strategies()
            with ui.column().classes("grow gap-4"):
                self._offer_views()
                self._offer_starts()
                ui.label("Drawn in this visit").classes("text-lg")
                self.gallery = ui.row().classes("gallery gap-4")
        ui.timer(REFRESH, self._look)

    def _introduce(self) -> None:
        denoiser, size = self.pipeline.config.denoiser, self.pipeline.config.codec.image_size
        rows, columns = denoiser.grid
        ui.label(TITLE).classes("text-2xl")
        ui.label(
            f"{Path(self.origin['checkpoint']).name}: {size} x {size} pixels from {rows} x {columns} tokens"
            f" of {denoiser.num_codes} codes, {denoiser.num_timesteps} timesteps"
        ).classes("text-sm opacity-70 break-words")

    def _add(self, *names: str) -> None:
        """Add the inputs of those fields that the model takes."""
        for name in names:
            if name in self.inputs:
                about = self.inputs[name]
                told = name in self.limits.most or name == "class_labels"
                unit = " characters" if about.type is str else ""
                most = about.most if about.type is not str else self.limits.length_of(name, about)
                words = f"Up to {most:.16g}{unit}." if told else ""
                default = 0 if name == "class_labels" else self.defaults.get(name)
                self.elements[name] = input_for(name, about, default, words=words)

    def _offer_drawing(self) -> None:
        if "prompt" in self.elements:
            self.elements["prompt"].on("keydown.enter", self._draw)
        with ui.row().classes("mt-4"):
            self.draw_button = ui.button("Draw", on_click=self._draw)
            self.stop_button = ui.button("Stop", on_click=self.stop).props("outline")
            self.stop_button.disable()
        self.progress = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self.status = ui.label().classes("status text-sm")
        self.mistake = ui.label().classes("mistake text-sm text-negative").props("role=alert")

    def _offer_strategies(self) -> None:
        default = self.defaults["strategy"]
        self.strategy = ui.select(list(STRATEGIES), label="Strategy", value=default, on_change=self._choose)
        self.elements["strategy"] = self.strategy.classes("w-full")
        self.explanation = ui.label().classes("text-xs opacity-70 -mt-2")
        with ui.column().classes("w-full gap-2") as self.calls:
            self._add("calls")
        with ui.expansion("Settings of the strategy").classes("w-full border rounded"):
            self.settings = ui.column().classes("w-full gap-2")
        self._show_strategy(default)
        self.beside = ui.select([NONE, *STRATEGIES], label="Compare with", value=NONE).classes("w-full")
        ui.label("Another strategy, beside it, with the same seed and about as many calls.").classes(
            "text-xs opacity-70 -mt-2"
        )

    def _choose(self, event: events.ValueChangeEventArguments) -> None:
        with told_to(self.complain):
            self._show_strategy(event.value)

    def _show_strategy(self, strategy: str) -> None:
        """Show the settings of a strategy, each at its default."""
        cls, usual = STRATEGIES[strategy], usual_strategy(strategy, self.pipeline.config)
        self.explanation.text = explanation_of(cls)
        self.calls.set_visibility(counts_calls(strategy))
        self.settings.clear()
        with self.settings:
            self.of_strategy = {
                name: input_for(name, about, words=f"Default {default_in_words(usual, name)}.")
                for name, about in strategy_inputs(strategy, self.limits).items()
            }

    def _offer_views(self) -> None:
        with ui.row().classes("w-full no-wrap gap-8"):
            self.views = [JobView(), JobView()]
        self.slider = ui.slider(min=0, max=1, value=1, on_change=self._go_back).classes("slider w-full")
        self.slider.disable()
        ui.label(
            "Each picture as the network expects it so far, and its tokens: the brighter, the surer (purity, the"
            " largest p(x0)); dots are still masked.  Afterwards the slider goes back through the denoising."
        ).classes("text-sm opacity-70")

    def _offer_starts(self) -> None:
        title = "Start from a picture: image to image, inpainting, outpainting"
        self.starting = ui.expansion(title).classes("w-full border rounded")
        with self.starting:
            size = self.pipeline.config.codec.image_size
            self.editor = MaskEditor(size, self.inputs["strength"], self.limits, self.complain)

    def _edit(self, picture: np.ndarray) -> None:
        """Start from a picture that was drawn."""
        self.editor.put(picture)
        self.starting.open()

    def complain(self, mistake: str) -> None:
        """Show a line about something that cannot be done."""
        self.mistake.text = mistake

    async def leave(self) -> None:
        """Stop the run if the browser, which has gone, does not come back at once."""
        await asyncio.sleep(self.limits.closed_seconds)
        if not self.client.has_socket_connection:
            self.stop()

    def _draw(self) -> None:
        """Queue the jobs of the form, or tell what is wrong with it."""
        if self.run is not None:  # the key may be pressed while the button is disabled
            return
        self.complain("")
        with told_to(self.complain):
            jobs = self._read_jobs()
            if wait := self.runs.wait(self.visitor):
                most = self.limits.runs_a_minute
                raise ValueError(f"at most {most} runs a minute are drawn; try again in {wait:.0f} seconds")
            run = Run(len(jobs), lambda run: self._draw_all(run, jobs), self.visitor)
            self.queue.join(run)
            self.runs.take(self.visitor)
            self.run, self.jobs = run, jobs
            self.views[1].end()
            for view, job in zip(self.views, jobs):
                view.begin(job, len(jobs))
            self._set_drawing(True)

    def _read_jobs(self) -> list[Job]:
        """Return the job of the form, and the one to compare with it.  Raises ValueError for a form with a mistake."""
        form = {name: element.value for name, element in (self.elements | self.of_strategy).items()}
        form |= self.editor.fields()
        jobs = [job_of(form, self.pipeline, self.limits, self.origin)]
        if self.beside.value not in (None, NONE):
            calls = min(jobs[0].usual_calls, self.pipeline.config.denoiser.num_timesteps)
            other = with_strategy(form, self.beside.value, calls, self.pipeline.config)
            jobs.append(job_of(other, self.pipeline, self.limits, self.origin))
        return jobs

    def _draw_all(self, run: Run, jobs: list[Job]) -> bool:
        return all(
            draw(self.pipeline, job, lambda frame, i=i: run.show(i, frame), lambda: run.stopping)
            for i, job in enumerate(jobs)
        )

    def _set_drawing(self, now: bool) -> None:
        """Enable what can be pressed while a run goes on, or while none does."""
        self.draw_button.set_enabled(not now)
        self.stop_button.set_enabled(now)
        self.slider.set_enabled(not now)

    def stop(self) -> None:
        """Stop the run, if there is one."""
        if self.run is not None:
            self.run.stop()

    def _look(self) -> None:
        """Show the state of the run."""
        run = self.run
        if run is None:
            return
        before, ended = self.queue.before(run), run.ended  # read first: no frame comes after the end
        for view, frames in zip(self.views, run.frames):
            if frames:
                view.show(frames[-1])
        self.status.text = f"waiting, {before} before this one" if run.state == WAITING else run.state
        self.progress.value = 1.0 if run.state == DONE else run.progress
        if ended:
            self._end(run)

    def _end(self, run: Run) -> None:
        self.run = None
        self.complain(run.message)
        self._set_drawing(False)
        self.history = run.frames
        last = max(map(len, run.frames)) - 1
        self.slider.props["max"] = max(last, 1)
        self.slider.value = max(last, 1)
        if run.state == DONE:
            for job, frames in zip(self.jobs, run.frames):
                for i, snapshot in enumerate(frames[-1].snapshots):
                    self._keep(job, i, snapshot.picture)

    def _go_back(self, event: events.ValueChangeEventArguments) -> None:
        """Show a frame of the run that ended; the shorter of two jobs stays at its last."""
        if self.run is not None:
            return
        with told_to(self.complain):
            number = max(0, int(event.value))
            for view, frames in zip(self.views, self.history):
                if frames:
                    view.show(frames[min(number, len(frames) - 1)])

    def _keep(self, job: Job, index: int, picture: np.ndarray) -> None:
        """Add a picture to the gallery."""
        self.drawn += 1
        name = f"{self.drawn:06d}"
        recipe = job.recipe_of(index)
        with self.gallery, ui.column().classes("kept w-32 gap-1") as kept:
            ui.image(as_url(picture)).style(CRISP)
            ui.label(job.caption).classes("text-xs")
            with ui.row().classes("gap-0"):
                ui.button("edit", on_click=lambda: self._edit(picture)).props("flat dense size=sm").tooltip(
                    "start from it"
                )
                save = ui.button(
                    "download",
                    on_click=lambda: ui.download(archive(name, picture, recipe, job.start), f"{name}.zip"),
                )
                save.props("flat dense size=sm").tooltip("the picture, and the JSON that draws it again")
        kept.move(target_index=0)
        if len(self.gallery.default_slot.children) > self.limits.gallery:
            self.gallery.remove(self.limits.gallery)
