"""Write ``docs/results/benchmarks.md`` from the JSON files of the benchmarks.

python -m benchmarks.page
"""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks._measure import RESULTS, growth_plot
from vqdiffusion_jax.files import write_whole

PAGE = RESULTS.parent / "benchmarks.md"
HEAD = """# Benchmarks

Made by `python -m benchmarks.all_cpu` and, on a GPU, `python -m benchmarks.all_gpu`; this page of their JSON files by
`python -m benchmarks.page`. Contestants take turns in one process with the same weights; times are medians, the spread
is that of the middle half, ratios are our time over the peer's, by wall and by processor time. TFLOP/s count the
network's products alone.
"""
# Heading of a column: field of a row, format.
COLUMNS = {
    "what": ("name", "{}"),
    "dtype": ("dtype", "{}"),
    "contestant": ("contestant", "{}"),
    "ms": ("median_ms", "{:,.5g}"),
    "predicted ms": ("predicted_ms", "{:,.5g}"),
    "spread": ("spread_percent", "{:.0f} %"),
    "processor ms": ("cpu_ms", "{:,.5g}"),
    "ratio": ("ratio_to_peer", "{:.2f}"),
    "processor ratio": ("cpu_ratio_to_peer", "{:.2f}"),
    "TFLOP/s": ("tflops", "{:.3g}"),
    "of a matmul's": ("share_of_matmul", "{:.0%}"),
    "of a step": ("percent_of_step", "{:.1f} %"),
}


def main() -> None:
    lines = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        lines += section(path.stem, json.loads(path.read_text(encoding="utf-8")))
    with write_whole(PAGE) as place:
        place.write_text("\n".join(lines), encoding="utf-8")
    print(f"written to {PAGE}")


def predicted_ms(record: dict[str, Any], row: dict[str, Any]) -> float | None:
    """Return what ``benchmarks.accelerators`` predicts of our guided steps on an H100, or None for any other row."""
    found = re.fullmatch(r"(\w+?)(?:_cf)? x (\d+)", row["name"])
    ours = row["contestant"] == "ours" and row.get("dtype") == "bfloat16" and record["benchmark"] == "sampling"
    if not ours or found is None or "H100" not in record["device"]:
        return None
    file = RESULTS.parent / "accelerators" / f"{found[1]}-h100-batch{found[2]}.json"
    if not file.exists():
        return None
    predicted = json.loads(file.read_text(encoding="utf-8"))
    (loop,) = (one for one in predicted["rows"] if one["program"] == "loop")
    return 1e3 * loop["predicted_seconds"] / predicted["steps"] * row["steps"]


def section(stem: str, record: dict[str, Any]) -> list[str]:
    record = record | {"rows": [row | {"predicted_ms": predicted_ms(record, row)} for row in record["rows"]]}
    shown = {
        head: field for head, field in COLUMNS.items() if any(row.get(field[0]) is not None for row in record["rows"])
    }
    lines = [f"## {stem}", "", f"| {' | '.join(shown)} |", "|" + "---|" * len(shown)]
    for row in record["rows"]:
        cells = ["" if row.get(field) is None else layout.format(row[field]) for field, layout in shown.values()]
        lines.append(f"| {' | '.join(cells)} |")
    if fits := record.get("fits"):
        lines += ["", "Time grows as " + ", ".join(f"{what}^{fit['exponent']:.2f}" for what, fit in fits.items()) + "."]
        lines += [" ".join(f"![time against {what}](benchmarks/{growth_plot(stem, what)})" for what in fits)]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    ceiling = f"matmul {record['matmul_tflops']:.3g} TFLOP/s" if "matmul_tflops" in record else ""
    ceiling += (
        f", torch's {record['peer_matmul_tflops']:.3g}; "
        if record.get("peer_matmul_tflops")
        else "; "
        if ceiling
        else ""
    )
    machine = f"{record['device']}, {record['machine']}, load {record['load'][0]}"
    facts = f"{record['date']}, {machine}, peak {record['peak_gib']} GiB"
    return [*lines, "", f"<sub>[{stem}.json](benchmarks/{stem}.json): {facts}; {ceiling}{versions}</sub>", ""]


if __name__ == "__main__":
    main()
