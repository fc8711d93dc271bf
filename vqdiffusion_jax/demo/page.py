"""The page: it wires the form, the queue and the views, and draws nothing itself."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import app, events, ui
from nicegui.elements.mixins.value_element import ValueElement

from ..pipeline import VQDiffusionPipeline
from ..sampling.fields import default_in_words
from ..sampling.registry import STRATEGIES, explanation_of
from ..web.access import is_local
from ..web.rates import Allowance
from ..web.turns import Turns
from .drawing import draw
from .form import counts_calls, default_form, model_inputs, strategy_inputs, usual_strategy, with_strategy
from .gallery import Gallery
from .job import Job, job_of
from .job_view import JobView
from .layout import CSS, SHOW_PICTURES
from .limits import Limits
from .mask_editor import MaskEditor
from .memory import Memories, Memory
from .queue import DONE, WAITING, Queue, Run
from .start_picture import StartPicture
from .widgets import input_for, number_of
from .word_hints import WordHints
from .wording import TITLE, label_of, told, told_to

REFRESH = 0.1  # seconds between looks at a run
NONE = "none"
_BESIDE = "Another strategy, beside it, with the same seed and about as many calls."
_NOT_BESIDE = "The pictures of the strategy above alone."
_TAB = "visit"  # in NiceGUI's storage of a tab: the name of its memory


class Pages:
    """All visits of a server.

    origin: of the pipeline, as ``recipe`` takes it.  turns, ahead: as ``Queue`` takes them.
    """

    def __init__(
        self,
        pipeline: VQDiffusionPipeline,
        limits: Limits,
        origin: Mapping[str, Any],
        *,
        turns: Turns | None = None,
        ahead: Callable[[float], int] = lambda since: 0,
    ):
        self.pipeline, self.limits, self.origin = pipeline, limits, origin
        self.queue = Queue(limits.runs_waiting, limits.runs_each, turns=turns, ahead=ahead)
        self.runs = Allowance(limits.runs_a_minute, 60.0)
        self.memories = Memories(limits.visits, limits.remembered)
        self._open: weakref.WeakValueDictionary[str, Page] = weakref.WeakValueDictionary()

    def visit(self) -> None:
        """Build the page of a visit."""
        client = ui.context.client
        page = Page(self, client.id if is_local(client.ip) else client.ip)
        self._open[client.id] = page
        client.on_exception(lambda error: page.complain(f"that cannot be done ({told(error)})"))
        client.on_connect(page.come_back)
        client.on_disconnect(page.leave)
        client.on_delete(page.close)

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
        self.memories, self.memory = pages.memories, Memory(StartPicture(self.pipeline.config.codec.image_size), self)
        self._came = False
        ui.add_css(CSS)
        with ui.element("div").classes("layout"):
            with ui.column().classes("asking gap-2"):
                self._introduce()
                self._add("prompt", "class_labels")
                if self.pipeline.known_words and "prompt" in self.elements:
                    WordHints(self.pipeline.known_words, self.elements["prompt"])
                self._offer_drawing()
            with ui.element("div").classes("beside"):
                with ui.column().classes("seen gap-4"):
                    self._offer_views()
                with ui.column().classes("starts"):
                    self._offer_starts()
                with ui.column().classes("drawn gap-4"):
                    self.gallery = Gallery(self.limits.gallery, self._edit)
            with ui.column().classes("settings gap-2"):
                self._add("seed", "num_images_per_prompt", "guidance_scale", "guidance_plausibility", "truncation_rate")
                self._offer_strategies()
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
        self.note = ui.label().classes("note text-sm text-orange-10").props("role=status")

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
        hint = ui.label(_NOT_BESIDE).classes("text-xs opacity-70 -mt-2")
        hint.bind_text_from(self.beside, "value", lambda value: _NOT_BESIDE if value in (None, NONE) else _BESIDE)

    def _choose(self, event: events.ValueChangeEventArguments) -> None:
        with told_to(self.complain):
            if not isinstance(event.value, str) or event.value not in STRATEGIES:
                raise ValueError(f"there is no such strategy; known: {', '.join(STRATEGIES)}")
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
        with ui.element("div").classes("jobs"):
            self.views = [JobView(), JobView()]
        self.slider = ui.slider(min=0, max=1, value=1, on_change=self._go_back).classes("slider w-full")
        self.slider.disable()
        ui.label(
            "Each picture as the network expects it so far, and its tokens: the brighter, the surer (the largest"
            " p(x0), before truncation); dots are still masked.  Afterwards the slider goes back through the denoising."
        ).classes("text-sm opacity-70")

    def _offer_starts(self) -> None:
        title = "Start from a picture: image to image, inpainting, outpainting"
        self.starting = ui.expansion(title).classes("w-full border rounded")
        with self.starting:
            self.editor = MaskEditor(self.memory.start, self.inputs["strength"], self.limits, self.complain)

    def _edit(self, picture: np.ndarray) -> None:
        """Start from a picture that was drawn."""
        self.editor.put(picture)
        self.starting.open()

    def complain(self, mistake: str) -> None:
        """Show a line about something that cannot be done."""
        self.mistake.text = mistake

    def _note(self, jobs: Sequence[Job]) -> None:
        """Show which settings of the jobs change nothing."""
        lines = dict.fromkeys(line for job in jobs for line in job.call.unused(label_of, painted="red"))
        self.note.text = " ".join(f"{line}." for line in lines)

    def come_back(self) -> None:
        """Take over what the same tab has left here, if there is anything."""
        if self._came:  # the browser comes again after a break
            return
        self._came, tab = True, app.storage.tab
        if (memory := self.memories.get(tab.get(_TAB))) is None:
            tab[_TAB] = secrets.token_urlsafe()
            self.memories.put(tab[_TAB], self.memory)
            return
        if memory.owner is not None:
            memory.owner.remember()
        self.memory, memory.owner = memory, self
        self._fill(memory.form)
        self.gallery.show(memory.kept)
        self.editor.take(memory.start)
        self._note(memory.jobs)
        for view, job in zip(self.views, memory.jobs):
            view.begin(job, len(memory.jobs))
        self._set_drawing(memory.run is not None)
        if memory.history:
            self._offer_history()

    def remember(self) -> None:
        """Write what is typed into the memory."""
        if self.memory.owner is self:
            elements = self.elements | self.of_strategy | self.editor.elements | {"beside": self.beside}
            self.memory.form = {name: element.value for name, element in elements.items()}

    def _fill(self, form: Mapping[str, Any]) -> None:
        """Put what was typed into the inputs again."""
        for name, element in (self.elements | self.editor.elements | {"beside": self.beside}).items():
            if name in form:
                element.set_value(form[name])
        for name, element in self.of_strategy.items():  # which the strategy, chosen by now, has made
            if name in form:
                element.set_value(form[name])

    async def leave(self) -> None:
        """Stop the run if the browser, which has gone, does not come back at once."""
        self.remember()
        await asyncio.sleep(self.limits.closed_seconds)
        if not self.client.has_socket_connection:
            self._stop_own()

    def close(self) -> None:
        """Keep of a page that is gone what it needs to come back: what is typed, and the pictures."""
        self._stop_own()
        if self.memory.owner is self:
            self.memory.close()

    def _stop_own(self) -> None:
        """Stop the run, unless another page of the tab shows it."""
        if self.memory.owner is self:
            self.stop()

    def _draw(self) -> None:
        """Queue the jobs of the form, or tell what is wrong with it."""
        if self.memory.run is not None:  # the key may be pressed while the button is disabled
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
            self.memory.run, self.memory.jobs, self.memory.history = run, jobs, []
            self._note(jobs)
            self.views[1].end()
            for view, job in zip(self.views, jobs):
                view.begin(job, len(jobs))
            self._set_drawing(True)
            ui.run_javascript(SHOW_PICTURES)

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
        if self.memory.run is not None:
            self.memory.run.stop()

    def _look(self) -> None:
        """Show the state of the run."""
        run = self.memory.run
        if run is None or self.memory.owner is not self:
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
        memory = self.memory
        memory.run, memory.history = None, run.frames
        self.complain(run.message)
        self._set_drawing(False)
        self._offer_history()
        if run.state == DONE:
            for job, frames in zip(memory.jobs, run.frames):
                for i, snapshot in enumerate(frames[-1].snapshots):
                    recipe = job.recipe_of(i)
                    kept = memory.keep(job.caption_of(i), snapshot.picture, recipe, job, most=self.limits.gallery)
                    self.gallery.add(kept)
            self.memories.trim()

    def _offer_history(self) -> None:
        """Show the last frames of the run that ended, and let the slider go back from there."""
        last = max(map(len, self.memory.history)) - 1
        self.slider.props["max"] = max(last, 1)
        self.slider.value = max(last, 1)
        for view, frames in zip(self.views, self.memory.history):
            if frames:
                view.show(frames[-1])

    def _go_back(self, event: events.ValueChangeEventArguments) -> None:
        """Show a frame of the run that ended; the shorter of two jobs stays at its last."""
        if self.memory.run is not None:
            return
        with told_to(self.complain):
            number = max(0, int(number_of("the slider", event.value)))
            for view, frames in zip(self.views, self.memory.history):
                if frames:
                    view.show(frames[min(number, len(frames) - 1)])
