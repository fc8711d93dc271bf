"""The notebook's cells run in one namespace, from top to bottom, on the model that comes with the package."""

import numpy as np

from tests.compiling import optimised
from tests.docs.blocks import cells, read_notebook
from tests.docs.commands import REPO
from vqdiffusion_jax.data.scenes.concepts import EMBEDDED, choose_concepts
from vqdiffusion_jax.embedded import is_embedded

NOTEBOOK = REPO / "docs" / "tour.ipynb"


def test_cells_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where nothing else is called emoji
    namespace = {}
    with optimised():  # a real model, drawing for long: what optimising costs is saved many times over
        for number, source in enumerate(cells(NOTEBOOK, "code"), 1):
            exec(compile(source, f"cell {number}", "exec"), namespace)
    assert is_embedded(namespace["CHECKPOINT"])
    assert all(any(concept in prompt for concept in choose_concepts(EMBEDDED)) for prompt in namespace["PROMPTS"])
    rows = [[np.asarray(picture) for picture in row] for row in namespace["rows"]]
    assert all(len({picture.tobytes() for picture in row}) == len(namespace["PROMPTS"]) for row in rows)
    assert (
        len({np.stack(row).tobytes() for row in rows}) == 4
    )  # strategies may agree about a picture, but not about all
    painted = np.asarray(namespace["painted"])
    assert (painted != rows[0][0]).any() and all(picture.std() > 10 for picture in [*painted, *sum(rows, [])])
    found = namespace["found"]
    assert 0 < found.bits_per_token < 10 and found.by_timestep.shape == (100,)
    assert f"{found.bits_per_token:.2f} bits a token" in capsys.readouterr().out


def test_what_the_cells_show_is_kept():
    notebook = read_notebook(NOTEBOOK)
    assert notebook["nbformat"] == 4 and NOTEBOOK.stat().st_size < 2**20
    assert [cell["id"] for cell in notebook["cells"]] == sorted({cell["id"] for cell in notebook["cells"]})
    shows = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in shows] == list(range(1, len(shows) + 1))  # from top to bottom, once
    outputs = [output for cell in shows for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "execute_result"}  # no error, no bar of progress
    kinds = [kind for output in outputs for kind in output.get("data", ())]
    assert kinds.count("image/png") == 6 and kinds.count("image/svg+xml") == 2
