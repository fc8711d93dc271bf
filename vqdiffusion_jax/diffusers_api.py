"""Lines of scripts for diffusers that have another meaning here, or none: they do what is meant, or say what to write.

``loading_options`` takes the arguments of diffusers' ``from_pretrained``, ``DiffusersMethods`` adds the methods that
scripts call on a pipeline, and ``seed_of`` takes a ``torch.Generator``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import numpy as np

from .config import MODEL_DTYPES
from .diffusion.transitions import check_tokens
from .errors import ConfigError, SettingError, shown

_AUTO = ("auto", "default")
_HALVES = ("float16", "half", "fp16")
_NO_EFFECT = (  # arguments of from_pretrained that ask for what happens anyway, or for a part that there is not
    "feature_extractor",
    "low_cpu_mem_usage",
    "requires_safety_checker",
    "resume_download",
    "safety_checker",
    "use_safetensors",
)
_INSTEAD = {  # arguments of from_pretrained that cannot be meant here
    "custom_pipeline": "strategies of your own go to the call as strategy=",
    "device_map": "give mesh=sharding.make_mesh(...) to spread a model over devices",
    "max_memory": "give mesh=sharding.make_mesh(...) to spread a model over devices",
    "proxies": "set HTTPS_PROXY",
    "mirror": "set HF_ENDPOINT",
    "scheduler": "give a strategy to the call, as strategy='maskgit'",
    "text_encoder": "assign pipeline.model.text_encoder",
    "tokenizer": "make VQDiffusionPipeline(model, tokenizer) of loading.load_model's model",
    "transformer": "assign pipeline.model.denoiser",
    "vqvae": "assign pipeline.model.codec",
}
_ATTRIBUTES = {
    "scheduler": "pipeline.schedule, and strategy= of the call",
    "text_encoder": "pipeline.model.text_encoder",
    "transformer": "pipeline.model.denoiser",
    "vqvae": "pipeline.model.codec",
    "learned_classifier_free_sampling_embeddings": "pipeline.model.denoiser.null_condition",
    "components": "pipeline.model",
}
_ACCELERATORS = ("cuda", "gpu", "xpu", "mps", "tpu", "xla", "hpu", "npu")


def loading_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``loading.load_model`` for those of diffusers' ``from_pretrained``.

    Raises ConfigError, one line that says what to write instead, for one that cannot be meant here.
    """
    options = {name: value for name, value in given.items() if name not in _NO_EFFECT}
    for name, instead in _INSTEAD.items():
        if options.pop(name, None) is not None:
            raise ConfigError(f"{name} is an argument of diffusers; here {instead}")
    if (token := options.pop("use_auth_token", None)) is not None:
        options.setdefault("token", token)
    torch_dtype = options.pop("torch_dtype", None)
    if torch_dtype is not None:
        if options.get("dtype") is not None:
            raise ConfigError("dtype and torch_dtype are both given; give dtype")
        options["dtype"] = torch_dtype
    if "dtype" in options:
        options["dtype"] = dtype_named(options["dtype"])
    return options


def dtype_named(dtype: Any) -> str | None:
    """Return the name, one of MODEL_DTYPES, of a dtype of torch, JAX or numpy, or of a name; None for "auto".

    float16 is taken as bfloat16, the half precision of JAX on accelerators, with a warning.  Raises ConfigError for
    any other.
    """
    if dtype is None:
        return None
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    name = name.removeprefix("torch.").removeprefix("jnp.")
    if name in _AUTO:
        return None
    if name in _HALVES:
        warnings.warn("float16 is taken as bfloat16, the half precision here: dtype='bfloat16'", stacklevel=4)
        return "bfloat16"
    if name not in MODEL_DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; allowed: {', '.join(MODEL_DTYPES)}")
    return name


def seed_of(generator: Any) -> Any:
    """Return the seed of a ``torch.Generator``, or of each of a list; anything else as it is.

    The noise is JAX's own, so the pictures are not those of torch.
    """
    if isinstance(generator, list | tuple):
        return [seed_of(one) for one in generator]
    if callable(initial := getattr(generator, "initial_seed", None)):
        seed: Any = initial()
        if seed >= 2**63:
            raise SettingError("{seed} of the generator is {value}; give one below 2**63", value=seed)
        return seed
    return generator


def step_end_callback(
    pipeline: Any, on_step_end: Callable[..., Any], tensor_inputs: Sequence[str] | None = None
) -> Callable[..., Any]:
    """Return the ``callback`` (see ``VQDiffusionPipeline.draw``) for one that diffusers would call after every step.

    on_step_end: called as on_step_end(pipeline, step, timestep, {"latents": tokens}); steps count from 0, tokens are
      (batch, length) int32.  The run goes on from the "latents" of the dict that it returns, if there are any.  It ends
      after a step that sets ``pipeline._interrupt``.
    tensor_inputs: names of arrays to pass; "latents" is the one there is.
    Raises SettingError for another name; the callback raises it for an answer that cannot be used.
    """
    name, allowed = "{callback_on_step_end}", list(pipeline._callback_tensor_inputs)
    if not callable(on_step_end):
        raise SettingError(f"{name} is {{value!r}}; it must be a function", value=on_step_end)
    inputs = getattr(on_step_end, "tensor_inputs", None) or (allowed if tensor_inputs is None else tensor_inputs)
    if isinstance(inputs, str) or any(one not in allowed for one in inputs):
        told = "{callback_on_step_end_tensor_inputs} is {value}; it must be of {allowed}"
        raise SettingError(told, value=shown(inputs), allowed=allowed)

    def callback(done: int, timestep: int, tokens: jax.Array, *seen: Any) -> Any:
        answer = on_step_end(pipeline, done - 1, timestep, {"latents": tokens} if "latents" in inputs else {})
        if answer is not None and not isinstance(answer, dict) or set(answer or ()) - set(allowed):
            told = f"{name} returned {{value}}; it must return a dict of {{allowed}}, or None"
            raise SettingError(told, value=shown(answer), allowed=allowed)
        if pipeline._interrupt:
            return True
        latents = (answer or {}).get("latents", tokens)
        return False if latents is tokens else _checked_latents(pipeline, latents, tokens)

    return callback


def _checked_latents(pipeline: Any, latents: Any, tokens: jax.Array) -> jax.Array:
    """Return the latents that a callback returned as tokens like those it was given.  Raises SettingError."""
    given = np.asarray(latents)
    told = "{callback_on_step_end} returned latents that cannot be used: {reason}"
    if given.shape != tokens.shape:
        raise SettingError(told, reason=f"their shape is {given.shape}; it must be {tokens.shape}")
    try:
        check_tokens(given, pipeline.config.denoiser.num_codes, allow_mask=True)
    except ValueError as error:
        raise SettingError(told, reason=error) from error
    return jax.device_put(given.astype(np.int32), tokens.sharding)


class DiffusersMethods:
    """Methods of diffusers' pipelines: devices and memory are JAX's business, so most return at once."""

    _callback_tensor_inputs = ("latents",)
    _interrupt = False  # set by a callback_on_step_end to end the run
    _progress_bar_config: dict[str, Any] = {}

    @property
    def interrupt(self) -> bool:
        """True once a callback has asked for the end of the run."""
        return self._interrupt

    def to(self, *places: Any, device: Any = None, dtype: Any = None) -> Self:
        """Return the pipeline, whose arrays lie on JAX's default device already.

        Warns if that is no device of the kind asked for, or if a dtype other than that of the weights is asked for.
        Raises ConfigError for a device that would take another process or a mesh.
        """
        asked = [place for place in (*places, device) if place is not None]
        kinds = [place for place in asked if not _is_dtype(place)]
        dtypes = [place for place in asked if _is_dtype(place)] + ([dtype] if dtype is not None else [])
        for place in kinds:
            _check_device(str(place))
        for one in dtypes:
            name, held = dtype_named(one), _held(self)
            if name not in (None, held):
                warnings.warn(f"the weights stay {held}; load them with dtype={name!r}", stacklevel=2)
        return self

    def cuda(self) -> Self:
        """Do as ``to("cuda")``."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Do as ``to("cpu")``."""
        return self.to("cpu")

    @property
    def device(self) -> Any:
        """The first device on which the weights lie."""
        return next(iter(jax.tree.leaves(getattr(self, "model", None))[0].devices()))

    def set_progress_bar_config(self, **options: Any) -> None:
        """Set options of tqdm for the bars of later calls, such as ``disable=True``."""
        self._progress_bar_config = options

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("enable_", "disable_")):  # of attention, the codec, offloading, xformers, ...
            return _does_nothing
        if instead := _ATTRIBUTES.get(name):
            raise AttributeError(f"{name} is an attribute of diffusers' pipelines; here it is {instead}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _does_nothing(*arguments: Any, **options: Any) -> None:
    """Do nothing: memory is planned when the model is compiled; batch_size= of the call bounds it."""


def _is_dtype(place: Any) -> bool:
    name = str(getattr(place, "__name__", place)).removeprefix("torch.")
    return name.startswith(("float", "bfloat", "half", "fp16"))


def _held(pipeline: Any) -> str:
    return jax.tree.leaves(pipeline.model.denoiser)[0].dtype.name


def _check_device(asked: str) -> None:
    """Warn or raise ConfigError unless JAX's default device is the one asked for."""
    kind, _, number = asked.partition(":")
    here = jax.default_backend()
    if kind == "cpu" and here != "cpu":
        raise ConfigError(f".to({asked!r}): JAX runs on its {here}; start Python with JAX_PLATFORMS=cpu for the CPU")
    if number not in ("", "0"):
        raise ConfigError(
            f".to({asked!r}): the pipeline runs on the first device that JAX sees; set CUDA_VISIBLE_DEVICES={number}, "
            "or give mesh= to from_pretrained"
        )
    if kind in _ACCELERATORS and here == "cpu":
        warnings.warn(
            f".to({asked!r}): JAX sees no accelerator, and the pipeline stays on the CPU; install jax[cuda13] or "
            "jax[tpu]",
            stacklevel=3,
        )
    elif kind not in (*_ACCELERATORS, "cpu"):
        raise ConfigError(f".to({asked!r}): no such device; leave it out, as JAX chooses its fastest")
