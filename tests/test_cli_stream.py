"""`mcore stream`: stopped, killed and resumed, its lines are those of a run left in peace."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stream_models import small, vectors

import mcore
from mcore.cli import main
from mcore.errors import DataError
from mcore.live.answers import Answers, Score
from mcore.live.reader import Bytes, Numbers, Vectors

TEXT = b"the quick brown fox jumps over the lazy dog; \xe4\xf6\xfc\n" * 12
SPEC: dict[str, Any] = {
    "model": {"width": 16, "depth": 1, "heads": 2},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 5},
        "readout": "grm",
        "cache": {"limit": 3},
    },
    "data": {"task": "text", "corpus": "python-stdlib", "length": 20},
    "backend": "reference",
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that nobody trained, and a text."""
    monkeypatch.chdir(tmp_path)
    mcore.compile(SPEC).save("run")
    Path("text").write_bytes(TEXT)
    return tmp_path


def command(*options: str, **streams: Any) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "mcore.cli", "stream", "run", *options]
    return subprocess.Popen(line, stderr=subprocess.PIPE, **streams)


def stream(monkeypatch: pytest.MonkeyPatch, source: str, *options: str) -> int:
    """Run the command in this process, with a file as standard input."""
    with Path(source).open() as file, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", file)
        return main(["stream", "run", *options])


def wait_for(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Until a file has so many lines."""
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)


def test_killed_at_any_moment_nothing_is_lost_or_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream(monkeypatch, "text", "--out", "whole") == 0
    growing, out = Path("growing"), Path("out")
    growing.write_bytes(TEXT[:100])
    options = ("--follow", "growing", "--state", "state", "--save-every", "37", "--out", "out")
    for end, lines in ((300, 90), (450, 250)):
        with command(*options) as process:
            growing.write_bytes(TEXT[:end])
            wait_for(out, lines, process)
            process.send_signal(signal.SIGKILL)
    growing.write_bytes(TEXT)
    with command(*options) as process:
        wait_for(out, len(TEXT), process)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    last = told.decode().splitlines()[-1]
    assert last.startswith(f"{len(TEXT)} tokens, ")
    assert last.endswith(
        "saved; go on with: mcore stream run --follow growing --state state --out out"
    )
    assert out.read_bytes() == Path("whole").read_bytes()


def test_a_pipe_goes_on_with_what_comes_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream(monkeypatch, "text", "--out", "whole") == 0
    with command("--state", "state", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(TEXT[:7])
        process.stdin.flush()
        first = [process.stdout.readline() for _ in range(7)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    with command("--state", "state", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        rest, told = process.communicate(TEXT[7:], timeout=60)
    assert process.returncode == 0
    assert b"".join(first) + rest == Path("whole").read_bytes()
    assert b"after 7 tokens" in told


def test_a_file_that_is_longer_next_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in chunks, which are the same however far the file went."""
    assert stream(monkeypatch, "text", "--out", "whole", "--chunk", "8", "--top", "1") == 0
    for end in (80, 160, len(TEXT)):
        Path("part").write_bytes(TEXT[:end])
        options = ("--state", "state", "--out", "out", "--chunk", "8", "--top", "1")
        assert stream(monkeypatch, "part", *options) == 0
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert stream(monkeypatch, "part", *options) == 0
    assert Path("out").read_bytes() == Path("whole").read_bytes()


def test_lines_tell_what_the_model_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream(monkeypatch, "text", "--out", "out") == 0
    lines = [json.loads(line) for line in Path("out").read_text().splitlines()]
    tokens = np.frombuffer(TEXT, np.uint8)
    logits = mcore.load("run").forward(tokens[None])[0][0].astype(float)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    bits = -np.log2(shares[np.arange(len(TEXT) - 1), tokens[1:]])
    assert [line["at"] for line in lines] == list(range(len(TEXT)))
    assert [lines[i]["byte"] for i in (0, 45, 48)] == ["t", "\\xe4", "\n"]
    assert lines[0]["bits"] is lines[0]["mean"] is None
    np.testing.assert_allclose([line["bits"] for line in lines[1:]], bits, rtol=1e-4)
    assert math.isclose(lines[-1]["mean"], bits.mean(), rel_tol=1e-4)
    likeliest = [[share for _, share in line["next"]] for line in lines]
    np.testing.assert_allclose(likeliest, -np.sort(-shares, axis=1)[:, :3], rtol=1e-4)


def test_vectors(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    model = vectors()
    monkeypatch.setattr(mcore, "load", lambda _: model)
    Path("rows").write_text("1.5,2\n\n[0, 3.0]\n4;5")
    assert stream(monkeypatch, "rows") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    want = model.session().feed(np.array([[1.5, 2], [0, 3], [4, 5]]))
    np.testing.assert_allclose([line["y"] for line in lines], want, rtol=1e-4, atol=1e-9)
    Path("rows").write_text("1,2\n1,2,3\n")
    assert stream(monkeypatch, "rows", "--state", "state", "--out", "out") == 2
    message = "mcore: byte 4: 1, 2, 3; 2 finite numbers would do, empty where one is missing"
    assert capsys.readouterr().err.splitlines()[-1] == message
    assert Path("out").read_bytes().count(b"\n") == 1
    Path("rows").write_text("1,2\n1,3\n")
    assert stream(monkeypatch, "rows", "--state", "state", "--out", "out") == 0
    assert [json.loads(line)["at"] for line in Path("out").read_text().splitlines()] == [0, 1]


def test_a_line_of_names() -> None:
    reader = Vectors(0, 2, ["a", "b"], None)
    text = b'\xef\xbb\xbfb,"time",a\n1,x,2\n,x,nan\n{"a": 5, "b": null}\n'
    pieces = [list(reader.items(text[i : i + 3], False)) for i in range(0, len(text), 3)]
    items = [item for piece in pieces for item in piece]
    np.testing.assert_array_equal(
        [item.x for item in items], [[2, 1], [np.nan, np.nan], [5, np.nan]]
    )
    assert items[-1].end == len(text)
    later = Vectors(items[0].end, 2, ["a", "b"], reader.columns)
    np.testing.assert_array_equal(next(later.items(b"7,x,8\n", True)).x, [8, 7])


@pytest.mark.parametrize(
    ("reader", "data", "message"),
    [
        (Vectors(0, 2, ["a", "b"], None), b"a,c\n", "byte 0: names a, c; b missing"),
        (Vectors(0, 1, [], None), b"1\ninf\n", "byte 2: inf; 1 finite numbers"),
        (Vectors(0, 1, [], None), b"1\n[1\n", "byte 2: a line that is not JSON"),
        (Vectors(0, 1, [], None), b'{"a": 1}\n', "byte 0: an object with a; a list of 1 numbers"),
        (Vectors(0, 1, ["a"], [3]), b"1,2\n", "byte 0: 2 fields, fewer than"),
        (Vectors(0, 1, [], None), b"\xff\n", "byte 0: a line that is not UTF-8"),
        (Numbers(0, 9), b"8\n9\n", "byte 2: '9'; a token from 0 to 8"),
    ],
)
def test_input_that_cannot_be_used(reader: Any, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(reader.items(data, True))


def test_numbers_and_bytes() -> None:
    assert [item.x for item in Numbers(0, 99).items(b"3\n 40 \n\n5", True)] == [3, 40, 5]
    assert [tuple(item) for item in Bytes(7).items(b"ab", False)] == [(97, 8), (98, 9)]


def test_heads_of_series() -> None:
    """Told by the names that a spec has for them."""
    heads: list[tuple[dict[str, Any], Any]] = [
        (
            {"head": "classify", "classes": ("run", "walk")},
            {"class": "walk", "probabilities": {"run": 0.268941, "walk": 0.731059}},
        ),
        ({"head": "forecast", "target": ("x",)}, {"forecast": {"x": [1.0, 2.0]}}),
        ({"head": "forecast", "target": ("x", "y")}, {"forecast": {"x": [1.0], "y": [2.0]}}),
        ({"head": "regress"}, {"value": 1.0}),
    ]
    for data, want in heads:
        model: Any = SimpleNamespace(channels=1, spec=SimpleNamespace(data=SimpleNamespace(**data)))
        line = Answers(model, 3, Score()).line(4, np.zeros(1), np.array([1.0, 2.0]))
        assert json.loads(line) == {"at": 4, **want}


def test_errors_are_told_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert stream(monkeypatch, "text", "--state", "state", "--out", "out") == 0
    other = mcore.compile({**SPEC, "train": {"seed": 1}})
    cases: list[tuple[list[str], str]] = [
        (["--follow", "nowhere"], "nowhere: cannot be read: no such file or directory"),
        (["--save-every", "often"], "--save-every: 'often'; tokens, as 500"),
        (["--save-every", "0"], "--save-every: '0'; tokens, as 500"),
        (["--state", "run"], "run: is a snapshot of a model, not a stream"),
        (["--out", "."], "cannot be written: is a directory"),
    ]
    for options, message in cases:
        assert stream(monkeypatch, "text", *options) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    Path("out").write_text("short")
    assert stream(monkeypatch, "text", "--state", "state", "--out", "out") == 2
    assert "out: holds 5 bytes, and " in capsys.readouterr().err
    Path("text").write_bytes(TEXT[:9])
    assert stream(monkeypatch, "text", "--state", "state") == 2
    assert "standard input: holds 9 bytes, and " in capsys.readouterr().err
    other.save("run")
    assert stream(monkeypatch, "text", "--state", "state") == 2
    assert "same model with other weights" in capsys.readouterr().err


def test_a_stream_of_a_session_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    session = mcore.load("run").session()
    session.feed(np.frombuffer(TEXT, np.uint8)[:9])
    session.save("state")
    Path("text").write_bytes(TEXT[9:20])
    assert stream(monkeypatch, "text", "--state", "state", "--top", "0") == 0
    assert len(capsys.readouterr().out.splitlines()) == 11
    session.restore("state")
    again = mcore.load("run").session()
    y = [again.feed(np.frombuffer(TEXT, np.uint8)[t : t + 1]) for t in range(21)]
    np.testing.assert_allclose(
        session.feed(np.frombuffer(TEXT, np.uint8)[20:21]), y[20], rtol=1e-4, atol=1e-5
    )


def test_help_has_an_example(capsys: Capture) -> None:
    assert main(["stream", "--help"]) == 0
    assert "Example: mcore stream runs/text-1 --follow app.log" in capsys.readouterr().out


def test_tokens_of_other_tasks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    small("decoded").save("run")
    Path("numbers").write_text("3\n1\n4\n")
    assert stream(monkeypatch, "numbers", "--top", "1") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["token"] for line in lines] == [3, 1, 4]
