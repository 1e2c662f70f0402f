"""The script that changes a line and looks whether a test notices."""

import json
import sys
from pathlib import Path

from tiny_coach import ROOT, launch, load_script

SOURCE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Pair:
    a: int | None
    b: int

def larger(pair: Pair, *more: int | str) -> int | bool:
    return [x > 3 for x, _ in zip([pair.a], [pair.b], strict=True)][0]
"""


def test_changes_are_of_behaviour_alone() -> None:
    script = load_script(ROOT / "scripts" / "mutation.py")
    changes = list(script.changes_of(SOURCE))
    assert {change.line for change in changes} == {4, 10}
    assert len({change.key for change in changes}) == len(changes)
    shown = {change.now for change in changes if change.line == 10}
    assert any("x < 3" in line or "x <= 3" in line for line in shown) and any("x > 4" in line for line in shown)
    assert not any("is" in line or "strict=False" in line for line in shown)
    assert sum(change.line == 4 for change in changes) == 1, "a class without its decorator"
    assert all(change.was == SOURCE.splitlines()[change.line - 1].strip() for change in changes)


def test_modules_and_tests_are_there() -> None:
    script = load_script(ROOT / "scripts" / "mutation.py")
    for path, tests in script.MODULES.items():
        assert (ROOT / path).is_file() and tests, path
        assert all((ROOT / "tests" / f"{name}.py").is_file() for name in tests), path
    assert script.module_name("eval/mm_eval/suites/tasks.py") == "mm_eval.suites.tasks"
    assert script.module_name("mm_adapter/model/loss.py") == "mm_adapter.model.loss"


def test_a_run_goes_on_where_it_was_and_touches_no_file(tmp_path: Path) -> None:
    module = ROOT / "eval/mm_eval/answers/baselines.py"
    before = module.read_bytes()
    command = [
        sys.executable, "scripts/mutation.py", "eval/mm_eval/answers/baselines.py", "--out", str(tmp_path), "--seed", "2"
    ]  # fmt: skip
    first = launch(*command, "--sample", "1").stdout
    assert ": 1 of " in first and "1 killed, 0 timed out, 0 survived, 0 broken: 100.0%" in first
    log = tmp_path / "mm_eval.answers.baselines.jsonl"
    tried = log.read_text().splitlines()
    both = launch(*command, "--sample", "2").stdout
    assert ": 2 of " in both and "2 killed, 0 timed out, 0 survived, 0 broken: 100.0%" in both
    lines = log.read_text().splitlines()
    assert len(tried) == 1 and lines[:1] == tried and len(lines) == 2, "what was tried is not tried again"
    records = [json.loads(line) for line in lines]
    assert all(record["outcome"] == "killed" and record["was"] != record["now"] for record in records)
    assert len({record["key"] for record in records}) == 2 and module.read_bytes() == before
    refused = launch(*command[:2], "eval/mm_eval/answers/test_sets.py", check=False)
    assert refused.returncode == 2 and "no tests are named for eval/mm_eval/answers/test_sets.py" in refused.stderr
