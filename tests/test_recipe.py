from pathlib import Path

from vqdiffusion_jax.recipe import recipe, recipe_of_one, settings_of_recipe
from vqdiffusion_jax.sampling import STRATEGIES, Ancestral, SamplingSettings
from vqdiffusion_jax.sampling.registry import explanation_of


def test_settings_come_back_with_pictures_beside_the_recipe():
    settings = SamplingSettings.of(prompt="a", strategy="remask", remask_rate=0.1, image="a.png", mask_image="/m.png")
    settings = settings.completed(Ancestral())
    table = recipe({"checkpoint": "emoji", "dtype": "float32"}, settings)
    assert table["mode"] == "sample" and table["checkpoint"] == "emoji" and table["image"] == "a.png"
    one = recipe_of_one(table, 3, prompt="b")
    found = settings_of_recipe(one, Path("folder"))
    assert found == settings.changed(prompt="b", first_image=3, image=str(Path("folder", "a.png")))


def test_older_recipes_name_a_mask():
    found = settings_of_recipe({"image": ["a.png", "b.png"], "mask": "mask.png", "version": "0.0.1"}, Path("/f"))
    assert (found.image, found.mask_image) == (["/f/a.png", "/f/b.png"], "/f/mask.png")


def test_every_strategy_is_explained_in_one_line():
    class Undescribed:
        """Draws nothing.

        At all.
        """

    for cls in STRATEGIES.values():
        assert explanation_of(cls) == cls.explanation
    assert explanation_of(Undescribed) == "Draws nothing."
