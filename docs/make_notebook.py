"""Write what the cells of examples/07_notebook.ipynb show into the notebook, so that it can be read without being run.

python docs/make_notebook.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
NOTEBOOK = ROOT / "examples" / "07_notebook.ipynb"


def filled() -> dict[str, Any]:
    """Return the notebook with its outputs."""
    from tests.notebooks import run  # noqa: PLC0415  # found by the line above

    content = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    for number, (cell, output) in enumerate(zip(cells, run(NOTEBOOK), strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = []
        if output.printed:
            lines = output.printed.splitlines(keepends=True)
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": lines})
        if output.shown:
            data = {kind: text.splitlines(keepends=True) for kind, text in output.shown.items()}
            result = {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}
            cell["outputs"].append(result)
    return content


if __name__ == "__main__":
    NOTEBOOK.write_text(json.dumps(filled(), indent=1, ensure_ascii=False) + "\n", "utf-8")
