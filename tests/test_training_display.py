"""What users see: progress on stderr, results on stdout."""

import io
import json
from pathlib import Path

import pytest
from bigram import SPEC, Bigram
from rich.console import Console

from mcore import training
from mcore.spec import load_spec
from mcore.training.bar import Bar
from mcore.training.display import JsonLines, Lines, Quiet, choose_display
from mcore.training.report import print_json, print_report

Capture = pytest.CaptureFixture[str]


def _run(out: Path, display: training.Display) -> training.Result:
    return training.run(load_spec(SPEC), Bigram, out, display=display)


def test_lines_go_to_stderr(tmp_path: Path, capsys: Capture) -> None:
    _run(tmp_path / "run", Lines())
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "run: started, 24 steps"
    assert lines[1].startswith("run 1/24 loss ")
    assert any(line.startswith("run 24/24 held out") for line in lines)
    assert "tokens/s" in lines[2]
    assert any(line.startswith("run/hot 24/24 held out") for line in lines)


def test_quiet_shows_nothing(tmp_path: Path, capsys: Capture) -> None:
    _run(tmp_path / "run", Quiet())
    assert capsys.readouterr() == ("", "")


def test_json_lines_are_the_metrics(tmp_path: Path, capsys: Capture) -> None:
    result = _run(tmp_path / "run", JsonLines())
    print_json(result)
    shown = capsys.readouterr()
    assert shown.err == ""
    records = [json.loads(line) for line in shown.out.splitlines()]
    ours = [r for r in records if r["run"] == "run" and r["kind"] in ("train", "eval")]
    kept = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in record.items() if k != "run"} for record in ours] == kept
    assert [(r["run"], r["accuracy" if "accuracy" in r else "value"]) for r in records[-2:]] == [
        ("run", result.value),
        ("hot", result.comparison["hot"].value),
    ]


def test_bar_shows_numbers(tmp_path: Path) -> None:
    text = io.StringIO()
    bar = Bar(Console(file=text, force_terminal=True, width=200))
    _run(tmp_path / "run", bar)
    assert "held out  loss" in text.getvalue()
    assert "24/24" in text.getvalue()
    assert "tokens/s" in text.getvalue()


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(True, True), JsonLines)
    assert type(choose_display(True, False)) is Quiet
    assert isinstance(choose_display(False, False), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(choose_display(False, False), Bar)


def test_report_is_a_table_on_stdout(tmp_path: Path, capsys: Capture) -> None:
    result = _run(tmp_path / "run", Quiet())
    print_report(result)
    shown = capsys.readouterr()
    assert shown.err == ""
    summary, header, ours, hot = shown.out.splitlines()
    assert summary.startswith(f"{tmp_path / 'run'}: accuracy {result.value:.4f}")
    assert header.split() == ["run", "accuracy", "parameters", "state", "bytes", "tokens/s"]
    assert ours.split()[:4] == ["run", f"{result.value:.4f}", "1,056", "8"]
    assert hot.split()[0] == "hot"
    assert len(ours) == len(hot)


def test_report_lists_compressors(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_bytes(b"to be or not to be, that is the question " * 40)
    data = {"task": "text", "paths": [str(tmp_path / "a.txt")], "length": 16}
    spec = load_spec({**SPEC, "data": data, "compare": {}})
    print_report(training.run(spec, Bigram, tmp_path / "run", display=Quiet()))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[-3:]] == ["zlib", "bz2", "lzma"]
