"""``--mode=env`` says what a bug report needs, whatever is broken, and no secret."""

import platform
import sys

import jax

from vqdiffusion_jax.cli import env


def lines(monkeypatch) -> dict[str, str]:
    monkeypatch.setenv("JAX_LOG_COMPILES", "0")
    monkeypatch.setenv("HF_TOKEN", "secret")
    return dict(
        line.replace("=", ": ", 1).split(": ", 1) if ": " not in line else line.split(": ", 1) for line in env.report()
    )


def test_versions_devices_and_settings(monkeypatch):
    told = lines(monkeypatch)
    assert told["jax"] == jax.__version__ and told["python"].startswith(platform.python_version())
    assert told["devices"].startswith(f"{len(jax.devices())} x ") and told["JAX_LOG_COMPILES"] == "0"
    assert not any("secret" in value for value in told.values())
    assert set(env.PACKAGES) <= set(told)


def test_an_absent_package_and_a_backend_that_fails_are_told(monkeypatch):
    def fails():
        raise RuntimeError("no plugin\nis here")

    monkeypatch.setattr(jax, "default_backend", fails)
    monkeypatch.setattr(env, "_installed", dict)
    told = lines(monkeypatch)
    assert told["backend"] == "failed, RuntimeError: no plugin is here"
    assert told["torch"] == "not installed" and told["python"].endswith(sys.executable)
