"""--strategy and its flags: the strategy that they make, the errors, and the strategy that a JSON makes again."""

import json
from pathlib import Path

import pytest
from absl import flags

from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli.replay import take_again
from vqdiffusion_jax.cli.sample import settings_given
from vqdiffusion_jax.cli.setting_flags import spell, with_todays_names
from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.recipe import recipe
from vqdiffusion_jax.sampling import (
    STRATEGIES,
    Ancestral,
    EntropyBound,
    FewerTokens,
    MaskGIT,
    PurityPrior,
    ReferenceFast,
    Remask,
    SamplingSettings,
)
from vqdiffusion_jax.sampling.fields import settings_of


@pytest.fixture(autouse=True)
def fresh_flags():
    with left_as_it_was():
        yield


def parse(*arguments: str):
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
    flags.FLAGS(with_todays_names(["main.py", *arguments]))


CHOICES = [
    ((), None),  # the model's
    (("--num_inference_steps=5",), Ancestral(5)),
    (("--first_timestep=7",), Ancestral(first_timestep=7)),
    (("--timesteps=9,4",), Ancestral(timesteps=(9, 4))),
    (("--strategy=fast",), ReferenceFast(1)),
    (("--strategy=fast", "--skip_step=3"), ReferenceFast(3)),
    (("--strategy=fewer_tokens", "--tokens_per_call=2"), FewerTokens(tokens_per_call=2)),
    (("--strategy=purity", "--purity_weight=0.5"), PurityPrior(0.5)),
    (("--strategy=maskgit",), MaskGIT(12, 4.5, "cosine")),
    (
        ("--strategy=maskgit", "--num_inference_steps=6", "--temperature=0", "--mask_schedule=linear"),
        MaskGIT(6, 0.0, "linear"),
    ),
    (("--strategy=entropy_bound",), EntropyBound(1.0)),
    (("--strategy=entropy_bound", "--entropy_bound=inf"), EntropyBound(float("inf"))),
    (("--strategy=remask",), Remask(0.02, "cap")),
    (
        ("--strategy=remask", "--num_inference_steps=7", "--remask_rate=0.1", "--remask_schedule=rescale"),
        Remask(0.1, "rescale", num_inference_steps=7),
    ),
    (("--strategy=remask", "--timesteps=9,4"), Remask(timesteps=(9, 4))),
]


@pytest.mark.parametrize(("arguments", "expected"), CHOICES, ids=[" ".join(arguments) for arguments, _ in CHOICES])
def test_flags_make_the_strategy_and_the_record_makes_it_again(arguments, expected, tmp_path):
    parse(*arguments)
    assert (settings_given().strategy is None) == (expected is None)
    settings = settings_given().completed(Ancestral())
    expected = expected or Ancestral()
    assert settings.strategy == expected
    (tmp_path / "picture.json").write_text(json.dumps(recipe({}, settings)))
    parse()
    assert take_again(tmp_path / "picture.json").strategy == expected


def test_every_strategy_is_chosen_above():
    chosen = {
        argument.partition("=")[2] for arguments, _ in CHOICES for argument in arguments if "--strategy" in argument
    }
    assert chosen | {"posterior"} == set(STRATEGIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--num_inference_steps=3", "--strategy=purity"),
            "--num_inference_steps goes with --strategy=posterior or maskgit or remask, not purity",
        ),
        (("--temperature=1",), "--temperature goes with --strategy=maskgit, not posterior"),
        (("--mask_schedule=linear", "--strategy=remask"), "--mask_schedule goes with --strategy=maskgit, not remask"),
        (
            ("--entropy_bound=1", "--strategy=maskgit"),
            "--entropy_bound goes with --strategy=entropy_bound, not maskgit",
        ),
        (("--remask_rate=0.1", "--strategy=fast"), "--remask_rate goes with --strategy=remask, not fast"),
        (("--remask_schedule=cap",), "--remask_schedule goes with --strategy=remask, not posterior"),
        (
            ("--strategy=remask", "--timesteps=9,4", "--num_inference_steps=2"),
            "--timesteps and --num_inference_steps are both given",
        ),
        (("--strategy=maskgit", "--num_inference_steps=0"), "--num_inference_steps is 0"),
        (("--strategy=entropy_bound", "--entropy_bound=-1"), "--entropy_bound is -1.0"),
        (("--strategy=remask", "--remask_rate=2"), "--remask_rate is 2.0"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    parse(*arguments)
    with pytest.raises(SettingError) as error:
        settings_given().completed(Ancestral())
    told = error.value.told(spell)
    assert told.startswith(message) and "\n" not in told


FORMERLY = {
    "--steps=5": {"num_inference_steps": 5},
    "--num_images=2": {"num_images_per_prompt": 2},
    "--class_label=1": {"class_labels": (1,)},
    "--tokens_per_step=3": {"strategy": "purity", "tokens_per_call": 3},
    "--trajectory": {"return_trajectory": True},
    "--notrajectory": {"return_trajectory": False},
}


@pytest.mark.parametrize("argument", FORMERLY)
def test_former_names_of_flags_work_and_say_what_they_are_now(argument, capsys):
    expected = dict(FORMERLY[argument])
    strategy = [f"--strategy={expected['strategy']}"] if "strategy" in expected else []
    parse(argument, *strategy)
    found = settings_given().flat()
    assert {name: found[name] for name in expected} == expected
    today = next(name for name in expected if name != "strategy")
    assert f"is now --{today};" in capsys.readouterr().err


def test_former_names_in_a_recipe_are_read(tmp_path, capsys):
    former = {"steps": 4, "num_images": 2, "guidance_interval": ["10", "90"], "prompt": "a", "mode": "sample"}
    (tmp_path / "picture.json").write_text(json.dumps(former))
    parse("--num_inference_steps=3", f"--again={tmp_path / 'picture.json'}")
    settings = settings_given()
    assert settings.strategy == Ancestral(3) and settings.num_images_per_prompt == 2
    assert settings.guidance_interval == (10, 90) and settings.prompt == ("a",)


def test_another_strategy_drops_the_settings_of_the_recipes_own(tmp_path):
    (tmp_path / "picture.json").write_text(json.dumps({"strategy": "purity", "purity_weight": 2.0}))
    parse("--strategy=maskgit", f"--again={tmp_path / 'picture.json'}")
    assert settings_given().strategy == MaskGIT()


def test_the_document_names_the_settings_of_every_strategy():
    table = (Path(__file__).resolve().parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")
    rows = {
        row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `") and not row.startswith("| `--")
    }
    assert list(rows) == list(STRATEGIES)
    for name, cls in STRATEGIES.items():
        assert f"`{cls.__name__}`" in rows[name]
        assert [part for part in rows[name].split("`")[5::2]] == list(settings_of(cls))


def test_again_takes_what_is_given_and_keeps_the_rest(tmp_path):
    recorded = SamplingSettings(strategy=MaskGIT(20, 2.0), guidance_scale=2.0, seed=3)
    (tmp_path / "picture.json").write_text(json.dumps(recipe({}, recorded)))
    for arguments, expected in (
        (("--num_inference_steps=5",), MaskGIT(5, 2.0)),
        (("--strategy=maskgit", "--temperature=1"), MaskGIT(20, 1.0)),
        (("--strategy=purity",), PurityPrior()),
        (("--image=a.png", "--strength=0.5"), Ancestral()),
        (("--timesteps=9,4",), Ancestral(timesteps=(9, 4))),
    ):
        parse(f"--again={tmp_path / 'picture.json'}", *arguments)
        settings = settings_given()
        assert (settings.strategy, settings.guidance_scale, settings.seed) == (expected, 2.0, 3)
