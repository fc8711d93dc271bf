"""The parts of the build that pyproject.toml cannot express: ``configs`` in the wheel, links of the description."""

import re
import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\((?!https?://|#)([^)\s]+)\)")


def long_description(text: str, repository: str | None) -> str:
    """Return the README with absolute links, for readers outside the repository.

    repository: its address; without one, a link to a file of it becomes its words, and a picture is left out.
    """

    def absolute(link: re.Match) -> str:
        picture, words, target = link.groups()
        if repository is None:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/main/{target})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(absolute, text))


class BuildWithConfigs(build_py):
    """Copy ``configs`` into the package; an editable installation reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib) / "vqdiffusion_jax" / "configs"
            shutil.copytree(HERE / "configs", place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


if __name__ == "__main__":
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        cmdclass={"build_py": BuildWithConfigs},
        long_description=long_description(
            (HERE / "README.md").read_text(encoding="utf-8"), project["urls"].get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
