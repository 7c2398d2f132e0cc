"""The notebook runs from its first cell to its last, against the day that it names.

`TAPEWATCH_PICTURES` names a directory for its pictures; the page docs/use/python.md shows the first.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from conftest import ROOT, Server, binary, clean, started

NOTEBOOK = ROOT / "python" / "notebooks" / "from_alert_to_orders.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The simulated day of the notebook's first cell, by its own commands."""
    at = tmp_path_factory.mktemp("day")
    fence = re.search(r"```text\n(.*?)```", read().cells[0].source, re.DOTALL)
    assert fence
    simulate, up, feed = (shlex.split(line.removesuffix(" &")) for line in fence.group(1).strip().splitlines())
    assert [words[:2] for words in (simulate, up, feed)] == [
        ["tapewatch", "simulate"],
        ["tapewatch", "up"],
        ["tapewatch", "feed"],
    ]
    subprocess.run([binary(), *simulate[1:]], cwd=at, env=clean(), check=True, capture_output=True)
    for server in started(at, *up[2:]):
        subprocess.run([binary(), *feed[1:], "--url", server.url], cwd=at, env=clean(), check=True, capture_output=True)
        yield server


def test_it_is_kept_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell.id


def test_it_runs_and_draws(day: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notebook = read()
    monkeypatch.setenv("TAPEWATCH_URL", day.url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python" / "src"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    pictures = [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 3 and all(len(picture) > 10_000 for picture in pictures)
    text = "\n".join(str(output.get("text", "")) for output in outputs)
    assert "cancelled 7 buy orders in SIM0, 5000 in all" in text
    if directory := os.environ.get("TAPEWATCH_PICTURES"):
        for number, picture in enumerate(pictures, 1):
            (Path(directory) / f"from_alert_to_orders_{number}.png").write_bytes(picture)
