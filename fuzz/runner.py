"""One target in a process of its own, begun again after each death until its time is over."""

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SLACK = 120
"""Seconds beyond its time after which a process is taken for hung."""


@dataclass
class Report:
    """What came of a target."""

    name: str
    guided: bool = False
    executions: int = 0
    coverage: int = 0
    features: int = 0
    seconds: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)


def hunt(name: str, seconds: float, seed: int, keep: Path, plain: bool) -> Report:
    """Fuzz one target for so long. Inputs that are wrong, and findings.jsonl, go to keep/name."""
    report, begun, folder = Report(name), time.monotonic(), keep / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "findings.jsonl").unlink(missing_ok=True)
    while (left := seconds - (time.monotonic() - begun)) > 1:
        died = _once(report, [name, str(left), str(seed), str(folder)], plain, left)
        seed += 1
        if died is None:
            break
        report.findings.append({"input": "", "kind": "Death", "place": "", "message": died})
    found = folder / "findings.jsonl"
    lines = found.read_text(encoding="utf-8").splitlines() if found.exists() else []
    report.findings += [json.loads(line) for line in lines]
    report.seconds = time.monotonic() - begun
    return report


def _once(report: Report, arguments: list[str], plain: bool, seconds: float) -> str | None:
    """One process; None if it ran to its end, else how it died."""
    command = [sys.executable, "-m", "fuzz.child", *arguments, *(["plain"] if plain else [])]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds + _SLACK, check=False)
    except subprocess.TimeoutExpired:
        return "it did not end"
    log = done.stderr.decode("utf-8", "replace")
    Path(arguments[-1], "log.txt").write_text(log, encoding="utf-8")
    _count(report, log)
    ended = re.search(r"^#\d+\s+DONE", log, re.MULTILINE)
    return None if ended else log.strip().splitlines()[-1][:200] if log.strip() else "no word"


def _count(report: Report, log: str) -> None:
    """libFuzzer's last line: executions, edges and features."""
    lines = re.findall(r"^#(\d+)\s+\w+(?:\s+cov: (\d+) ft: (\d+))?", log, re.MULTILINE)
    if lines:
        executions, coverage, features = lines[-1]
        report.executions += int(executions)
        report.guided = bool(coverage)
        report.coverage = max(report.coverage, int(coverage or 0))
        report.features = max(report.features, int(features or 0))
