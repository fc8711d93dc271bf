"""The API reference builds from the docstrings, and its links lead somewhere."""

import warnings

from docs.site import broken_links, build, modules


def test_the_reference_is_built_of_public_modules(tmp_path):
    names = modules()
    assert {"vqdiffusion_jax.pipeline", "vqdiffusion_jax.sampling", "vqdiffusion_jax.models.denoiser"} <= set(names)
    assert not [name for name in names if "._" in name or ".cli." in f"{name}."]
    folder = tmp_path / "site"
    build(folder, ["vqdiffusion_jax.pipeline", "vqdiffusion_jax.sampling.settings", "vqdiffusion_jax.errors"])
    page = (folder / "vqdiffusion_jax" / "sampling" / "settings.html").read_text()
    assert 'id="SamplingSettings.guidance_scale"' in page
    assert not list(broken_links(folder))


def test_names_that_are_imported_when_first_used_are_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(tmp_path, ["vqdiffusion_jax.training"])
    assert 'id="train_config_dict"' in (tmp_path / "vqdiffusion_jax" / "training.html").read_text()


def test_links_that_lead_nowhere_are_told(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html#there">b</a><a href="#here">a</a><a href="c.html">c</a>'
    )
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a><a href="https://example.org/x#y">y</a>')
    assert list(broken_links(tmp_path)) == ["a.html: b.html#there", "a.html: c.html"]
