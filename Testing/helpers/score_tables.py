"""Tables of scores with known values: hippocampi of 20 heads, two sides each."""

import math

import numpy as np

HEADS = {f"hippocampus_{n:03d}": f"hippocampus head {(n + 1) // 2}" for n in range(1, 41)}
COLUMNS = ("dice_anterior", "dice_posterior")


def score_table(values, columns=COLUMNS):
    """One case a row of ``values``, (cases, columns) or (cases,) for equal columns."""
    rows = np.broadcast_to(np.asarray(values, float).T, (len(columns), len(values))).T
    return {
        case: dict(zip(columns, map(float, row), strict=True))
        for case, row in zip(HEADS, rows, strict=False)  # there may be fewer rows than heads
    }


def write_score_table(path, values, columns=COLUMNS):
    """Write a `score_table` as the CSV that an evaluation writes; returns the path as text."""
    lines = [["case", *columns]]
    for case, row in score_table(values, columns).items():
        lines.append([case, *("" if math.isnan(v) else f"{v:.6f}" for v in row.values())])
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    return str(path)
