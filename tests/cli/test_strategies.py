"""--strategy and the flags that go with it: what they make, what is refused, and what a picture's JSON brings back."""

import json
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from vqdiffusion_jax.cli.main import mode_modules
from vqdiffusion_jax.cli.replay import record, take_flags_from
from vqdiffusion_jax.cli.sample import STRATEGIES, chosen_strategy
from vqdiffusion_jax.cli.wording import saying_flags
from vqdiffusion_jax.sampling import Ancestral, EntropyBound, FewerTokens, MaskGIT, PurityPrior, ReferenceFast, Remask


@pytest.fixture(autouse=True)
def fresh_flags():
    mode_modules()
    with flagsaver.flagsaver():
        yield


def parse(*arguments: str):
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
    flags.FLAGS(["main.py", *arguments])


CHOICES = [
    ((), None),
    (("--steps=5",), None),  # an argument of the call, as strength is
    (("--timesteps=9,4",), Ancestral(timesteps=(9, 4))),
    (("--strategy=fast",), ReferenceFast(1)),
    (("--strategy=fast", "--skip_step=3"), ReferenceFast(3)),
    (("--strategy=fewer_tokens", "--tokens_per_step=2"), FewerTokens(tokens_per_call=2)),
    (("--strategy=purity", "--purity_weight=0.5"), PurityPrior(0.5)),
    (("--strategy=maskgit",), MaskGIT(12, 4.5, "cosine")),
    (("--strategy=maskgit", "--steps=6", "--temperature=0", "--mask_schedule=linear"), MaskGIT(6, 0.0, "linear")),
    (("--strategy=entropy_bound",), EntropyBound(1.0)),
    (("--strategy=entropy_bound", "--entropy_bound=inf"), EntropyBound(float("inf"))),
    (("--strategy=remask",), Remask(0.02, "cap")),
    (
        ("--strategy=remask", "--steps=7", "--remask_rate=0.1", "--remask_schedule=rescale"),
        Remask(0.1, "rescale", num_steps=7),
    ),
    (("--strategy=remask", "--timesteps=9,4"), Remask(timesteps=(9, 4))),
]


@pytest.mark.parametrize(("arguments", "expected"), CHOICES, ids=[" ".join(arguments) for arguments, _ in CHOICES])
def test_flags_make_the_strategy_and_the_record_makes_it_again(arguments, expected, tmp_path):
    parse(*arguments)
    assert chosen_strategy() == expected
    steps = flags.FLAGS.steps
    (tmp_path / "picture.json").write_text(json.dumps(record()))
    parse()
    take_flags_from(tmp_path / "picture.json")
    assert chosen_strategy() == expected and flags.FLAGS.steps == steps


def test_every_strategy_is_chosen_above():
    chosen = {
        argument.partition("=")[2] for arguments, _ in CHOICES for argument in arguments if "--strategy" in argument
    }
    assert chosen | {"posterior"} == set(STRATEGIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps=3", "--strategy=purity"), "--steps goes with --strategy=posterior or maskgit or remask, not purity"),
        (("--temperature=1",), "--temperature goes with --strategy=maskgit, not posterior"),
        (("--mask_schedule=linear", "--strategy=remask"), "--mask_schedule goes with --strategy=maskgit, not remask"),
        (
            ("--entropy_bound=1", "--strategy=maskgit"),
            "--entropy_bound goes with --strategy=entropy_bound, not maskgit",
        ),
        (("--remask_rate=0.1", "--strategy=fast"), "--remask_rate goes with --strategy=remask, not fast"),
        (("--remask_schedule=cap",), "--remask_schedule goes with --strategy=remask, not posterior"),
        (("--strategy=remask", "--timesteps=9,4", "--steps=2"), "--timesteps and --steps are both given"),
        (("--strategy=maskgit", "--steps=0"), "--steps is 0"),
        (("--strategy=entropy_bound", "--entropy_bound=-1"), "--entropy_bound is -1.0"),
        (("--strategy=remask", "--remask_rate=2"), "--remask_rate is 2.0"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    parse(*arguments)
    with pytest.raises(ValueError) as error:
        chosen_strategy()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


SAID = {
    "this model is conditioned on text; give prompt or prompt_embeds": "this model is conditioned on text; give --prompt or --prompts_file",
    "prompt is given, but it takes class_labels": "--prompt is given, but it takes --class_label",
    "strength and strategy are both given; strength goes with the default strategy (see num_inference_steps)": "--strength and --strategy are both given; --strength goes with the default strategy (see --steps)",
    "null='learnable', but this model has no learnable null": "--null='learnable', but this model has no learnable null",
    "PurityPrior.tokens_per_call is 0; it must be at least 1, or None for no limit": "--tokens_per_step is 0; it must be at least 1, or leave it out for no limit",
    "ReferenceFast.skip_step is 0 (Ancestral visits every timestep)": "--skip_step is 0 (--strategy=posterior visits every timestep)",
    "--steps and --null are flags already, and prompts and top_ks no arguments": None,
}


@pytest.mark.parametrize("argument", SAID)
def test_errors_about_arguments_name_the_flags(argument):
    with pytest.raises(ValueError) as error, saying_flags():
        raise ValueError(argument)
    assert str(error.value) == (SAID[argument] or argument)


def test_the_document_says_which_argument_a_flag_is():
    table = (Path(__file__).resolve().parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")
    rows = {
        row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `") and not row.startswith("| `--")
    }
    assert list(rows) == list(STRATEGIES)
    for name, named in STRATEGIES.items():
        assert f"`{named.cls.__name__}`" in rows[name] and rows[name].count("--") == len(named.settings)
        for flag, argument in named.settings.items():
            assert f"`--{flag}`: `{argument}`" in rows[name]
