"""A configuration file that cannot be used is told in one line with its place."""

import pytest

from vqdiffusion_jax.cli.configuration_file import read_configuration
from vqdiffusion_jax.errors import UsageError

BROKEN = {
    "def get_config(:\n  pass\n": "line 1: invalid syntax",
    "x = '\n": "line 1: unterminated string",
    "import no_such_module\n": "line 1: No module named 'no_such_module'",
    "x = 1\n": "has no function get_config",
    "get_config = 5\n": "has no function get_config",
    "def get_config():\n    return 5\n": "get_config returns 5",
    "def get_config():\n    pass\n": "get_config returns None",
    "def get_config():\n    return 'x' * 100000\n": "100000 characters",
    "def get_config():\n\n    return {}['k']\n": "line 3: KeyError: 'k'",
    "def get_config():\n    return get_config()\n": "line 2: RecursionError",
    "def get_config():\n    raise SystemExit(3)\n": "line 2: SystemExit: 3",
    "def get_config():\n    raise ValueError('a\\nb')\n": "line 2: a b",
    "def get_config(of):\n    return {}\n": "TypeError: get_config() missing 1",
    "raise BaseException('strange')\n": "line 1: BaseException: strange",
    "\xff\x00": "",
}


@pytest.mark.parametrize("source", BROKEN, ids=range(len(BROKEN)))
def test_it_is_told_in_one_line(tmp_path, source):
    file = tmp_path / "run.py"
    file.write_bytes(source.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        read_configuration(str(file))
    said = str(caught.value)
    assert BROKEN[source] in said and "run.py" in said and "\n" not in said and len(said) < 600


@pytest.mark.parametrize("name", ["absent.py", "folder.py"])
def test_what_is_no_file(tmp_path, name):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError, match="--config cannot be read: .*" + name):
        read_configuration(str(tmp_path / name))


def test_what_follows_a_colon_is_passed_on(tmp_path):
    (tmp_path / "run.py").write_text("def get_config(size='s'):\n    return dict(size=size)\n")
    assert read_configuration(f"{tmp_path}/run.py:large").size == "large"
    assert read_configuration(f"{tmp_path}/run.py").is_locked


def test_ctrl_c_in_a_file_is_ctrl_c(tmp_path):
    (tmp_path / "run.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        read_configuration(str(tmp_path / "run.py"))
