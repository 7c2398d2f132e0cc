"""The package itself: types, examples in its documentation, and a wheel that works."""

from __future__ import annotations

import datetime
import decimal
import doctest
import importlib
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import tomllib

import tapewatch
from conftest import ROOT, Server, clean

PYTHON = ROOT / "python"


def run(*command: str, at: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=at,
        env=clean(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_types_hold(tmp_path: Path) -> None:
    cache = str(tmp_path / "mypy")
    run(sys.executable, "-m", "mypy", "--cache-dir", cache, at=PYTHON)
    user = tmp_path / "user.py"
    user.write_text("""
import tapewatch
with tapewatch.connect() as tape:
    rows: int = tape.sql("select 1").arrow().num_rows
    result: tapewatch.Result = tape.alerts(sym="X")
    live: tapewatch.Subscription = tape.alerts(sym="X", live=True)
    for batch in tape.subscribe(["orders", "hits"], from_seq="now"):
        number: int | None = batch.next_seq
    done: tapewatch.Published = tape.publish("orders", [{"sym": "X"}])
    frame = tape.sql("select 1").pandas(decimals="float")
""")
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, str(user), at=tmp_path,
        MYPYPATH=str(PYTHON / "src"))  # fmt: skip
    user.write_text('import tapewatch\ntapewatch.connect(5)\ntapewatch.connect().alerts(live=True, since="x")\n')
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, str(user)],
        env=clean(MYPYPATH=str(PYTHON / "src")), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Found 2 errors" in done.stdout, done.stdout


def test_the_source_is_tidy() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", at=PYTHON)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", at=PYTHON)


@pytest.mark.parametrize("name", ["tapewatch", "tapewatch._address", "tapewatch._connection", "tapewatch._result"])
def test_examples_give_what_they_say(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.feed_reference()
    monkeypatch.setenv("TAPEWATCH_URL", server.url)
    module = importlib.import_module(name)
    names = {"connect": tapewatch.connect, "decimal": decimal, "datetime": datetime}
    tried = 0
    for test in doctest.DocTestFinder().find(module, globs={**vars(module), **names}):
        runner = doctest.DocTestRunner(verbose=False)
        found: list[str] = []
        runner.run(test, out=found.append)
        assert runner.failures == 0, "".join(found)
        tried += runner.tries
    assert tried


def test_a_wheel_is_built_and_works_alone(reference: Server, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--disable-pip-version-check",
        "--wheel-dir", str(tmp_path), str(PYTHON), at=tmp_path)  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    project = tomllib.loads((PYTHON / "pyproject.toml").read_text())["project"]
    assert wheel.name == f"tapewatch-{project['version']}-py3-none-any.whl"
    assert tapewatch.__version__ == project["version"]
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {"tapewatch/__init__.py", "tapewatch/py.typed"} <= inside and not any("test" in name for name in inside)
    # In an environment of its own, which borrows pyarrow from that of the tests.
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    import pyarrow

    (site / "borrowed.pth").write_text(f"{Path(pyarrow.__file__).parents[1]}\n")
    program = (
        f"import tapewatch; print(tapewatch.__file__, tapewatch.connect({reference.url!r}).alerts().arrow().num_rows)"
    )
    out = run(str(tmp_path / "venv" / "bin" / "python"), "-c", program, at=tmp_path, PYTHONPATH="")
    file, rows = out.split()
    assert file.startswith(str(site)) and rows == "1"
