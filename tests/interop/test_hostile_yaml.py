"""Yaml files made to fill memory or to take for ever end in one line, soon."""

import time

import pytest

from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.interop.reference.yaml_file import config_from_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 1000,
        "{a: " * 1000,
        "- " * 1000,
        "a: " + "1:" * 5000 + "1",
        "a: " + "9" * 10_000,
        "a: 0x" + "f" * 10_000,
        "a: 2001-99-99",
        "a: !!timestamp ''",
        "a: !!int ''",
        "a: !!bool x",
        "? !!python/tuple [[1]]\n: 1",
        "a: !!python/object/apply:os.system [exit]",
        "x" * 2**19,
        "\x00",
        "a: \ud800".encode("utf-8", "surrogatepass"),
        "a: é".encode("latin-1"),
    ],
    ids=range(19),
)
def test_hostile_files_are_one_short_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    begun = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        config_from_yaml(path)
    message = str(caught.value)
    assert str(path) in message and message.isprintable() and len(message) < 1000
    assert time.perf_counter() - begun < 5
