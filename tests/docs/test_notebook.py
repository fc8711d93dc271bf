"""The notebook's cells run in one namespace, from top to bottom, on a small model."""

import json

from tests.docs.commands import REPO

NOTEBOOK = json.loads((REPO / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_cells_run_in_order(place, capsys):
    namespace = {}
    for number, source in enumerate(CODE, 1):
        exec(compile(source, f"cell {number}", "exec"), namespace)
        if number == 1:
            assert namespace["CHECKPOINT"] == "emoji"
            namespace["CHECKPOINT"] = place / "emoji"
    assert "bits a token" in capsys.readouterr().out
    assert namespace["found"].by_timestep.shape == (100,)


def test_no_outputs_are_kept():
    assert NOTEBOOK["nbformat"] == 4
    assert not any(cell.get("outputs") for cell in NOTEBOOK["cells"])
    assert [cell["id"] for cell in NOTEBOOK["cells"]] == sorted({cell["id"] for cell in NOTEBOOK["cells"]})
