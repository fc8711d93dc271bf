"""Run the notebook and keep what its cells show: ``python -m docs.notebook``, from the root of the repository.

Needs ``pip install nbclient ipykernel``.  Pictures, plots and printed lines are kept; bars of progress and warnings
are not.
"""

from __future__ import annotations

from pathlib import Path

NOTEBOOK = Path(__file__).with_name("tour.ipynb")
_KEPT = ("image/png", "image/svg+xml", "text/plain")


def shown(output: dict) -> dict | None:
    """Return an output of a cell as the notebook keeps it, or None if it is no part of what a reader should see."""
    if output["output_type"] == "stream":
        return output if output["name"] == "stdout" else None
    data = {kind: content for kind, content in output.get("data", {}).items() if kind in _KEPT}
    pictures = [kind for kind in data if kind.startswith("image/")]
    if not pictures:
        return None
    return dict(output, data={kind: data[kind] for kind in pictures}, metadata={})


def main() -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": NOTEBOOK.parent}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which would differ from run to run
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(kept) for output in cell.outputs if (kept := shown(output))]
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
