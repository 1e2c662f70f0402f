"""Changes one place of a module at a time and looks whether the tests that concern it notice.

    pip install -e '.[dev,metrics]'
    python scripts/mutation.py                                  # every module below, sixty changes of each
    python scripts/mutation.py eval/mm_eval/suites/tasks.py --sample 0    # all changes of one module

Changes are those of cosmic-ray: other operators, comparisons, numbers, truths, exceptions, loops that do not run, decorators taken off.
Type annotations, ``strict=True`` and ``frozen=True`` are left alone, because they are no behaviour, and numbers are not compared by
identity, which is no other behaviour. No file is touched: a change lives in a forked process that imports it in the module's place, so a
run can be stopped at any time, and goes on where it was. Tests run without conftest.py, because each change costs one run of them;
a division by zero that numpy warns of fails them.

A change is killed where a test fails, and broken where the module cannot even be imported, which is no credit to any test. The score
is killed and timed out over all that are not broken.
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (".", "tokenizers", "data", "eval")

MODULES: dict[str, tuple[str, ...]] = {
    "mm_adapter/tasks/expertaf/commentary.py": ("test_expertaf_tables",),
    "mm_adapter/tasks/expertaf/demonstration.py": ("test_expertaf_tables",),
    "mm_adapter/tasks/expertaf/suite.py": ("test_expertaf_summaries",),
    "mm_adapter/tasks/expertaf/inputs.py": ("test_expertaf_tables", "test_expertaf_summaries"),
    "mm_adapter/tasks/expertaf/tables.py": ("test_expertaf_summaries",),
    "eval/mm_eval/suites/tasks.py": ("test_suite_values",),
    "eval/mm_eval/answers/baselines.py": ("test_suite_values",),
    "eval/mm_eval/metrics/scores.py": ("test_measures", "test_metrics"),
    "eval/mm_eval/metrics/classification.py": ("test_measures", "test_suite_values"),
    "eval/mm_eval/metrics/retrieval.py": ("test_measures", "test_metrics"),
    "eval/mm_eval/metrics/pose.py": ("test_measures", "test_metrics", "test_expertaf_tables"),
    "eval/mm_eval/metrics/narrative.py": ("test_measures", "test_suite_values"),
    "eval/mm_eval/suites/runs.py": ("test_tables_of_runs",),
    "eval/mm_eval/tables/model.py": ("test_tables_of_runs",),
    "eval/mm_eval/tables/rendering.py": ("test_tables_of_runs",),
    "eval/mm_eval/statistics/metric.py": ("test_measures", "test_metrics", "test_intervals"),
    "eval/mm_eval/statistics/comparison.py": ("test_measures", "test_comparison"),
    "eval/mm_eval/statistics/aggregates.py": ("test_measures", "test_metrics"),
    "eval/mm_eval/statistics/intervals.py": ("test_intervals",),
    "data/mm_data/tuples/pairing.py": ("test_pairing",),
    "data/mm_data/tuples/mining.py": ("test_mining",),
    "data/mm_data/labelling/clauses.py": ("test_labelling_rules",),
    "data/mm_data/labelling/regions.py": ("test_labelling_rules",),
    "data/mm_data/labelling/rules.py": ("test_labelling_rules",),
    "data/mm_data/labelling/sides.py": ("test_labelling_rules",),
    "data/mm_data/tasks/questions.py": ("test_expected_score",),
    "mm_adapter/inference/asking.py": ("test_expected_score",),
    "mm_adapter/inference/continuations.py": ("test_expected_score",),
    "mm_adapter/model/loss.py": ("test_losses_and_likelihoods",),
    "mm_adapter/samples/sources.py": ("test_sources",),
    "mm_adapter/model/processor.py": ("test_spans",),
    "mm_adapter/inference/scoring.py": ("test_losses_and_likelihoods",),
}
"""Module to the tests that concern it; they need none of the fixtures in conftest.py."""

_LIBRARIES = ("pytest", "numpy", "scipy.stats", "numba")
_BEYOND_SCORING = ("pyarrow.parquet", "torch", "transformers")
"""Imported once, before processes are forked; modules under ``eval`` and their tests do without the latter, which take seconds."""

_OPTIONS = (
    "-x", "--noconftest", "-p", "no:cacheprovider", "-W", "error::RuntimeWarning", "-k", "not java and not big_ and not tiny",
)  # fmt: skip
_BY_IDENTITY = tuple(f"{a}_{b}" for a in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE") for b in ("Is", "IsNot"))
KILLED, SURVIVED, TIMED_OUT, BROKEN = "killed", "survived", "timed out", "broken"
_OUTCOMES = {0: SURVIVED, 1: KILLED}


@dataclass(frozen=True)
class Change:
    """One place of a module, written otherwise.

    Attributes:
        line: Its number.
        was: The line as it is.
        now: The line as the change has it.
        source: The whole module with the change.
    """

    line: int
    was: str
    now: str
    source: str

    @property
    def key(self) -> str:
        """Tells changes apart; equal sources are equal changes."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def changes_of(source: str) -> Iterator[Change]:
    """All that cosmic-ray would change in a module, but for type annotations."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    nodes, alone, seen = list(ast_nodes(get_ast(source))), list(_left_alone(source)), {source}
    for name in operator_names():
        if get_operator(name).arguments() or name.endswith(_BY_IDENTITY):  # the first want to be told names
            continue
        operator = get_operator(name)()
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            if any(first <= start < last for first, last in alone):
                continue
            changed = mutate_code(source, operator, occurrence)
            if changed is None or changed in seen:
                continue
            seen.add(changed)
            before, after = source.splitlines(), changed.splitlines()
            at = start[0] - 1
            yield Change(at + 1, before[at].strip(), after[at].strip() if at < len(after) else "", changed)


def _left_alone(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations, ``strict=True`` and ``frozen=True`` stand, as (line, column) of begin and end."""
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen"):
            parts.append(node.value)
        for part in parts:
            if isinstance(part, ast.expr) and part.end_lineno is not None and part.end_col_offset is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


class Changed(SourceFileLoader):
    """Imports a change in its module's place."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        super().__init__(module, str(path))
        self.source = source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As `sys.meta_path` asks."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from memory."""
        return compile(self.source, self.path, "exec")


def module_name(path: str) -> str:
    """``eval/mm_eval/suites/tasks.py`` as it is imported."""
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] in SOURCES else parts)


def attempt(path: str, source: str, tests: Sequence[str], limit: float) -> tuple[str, float]:
    """Runs the tests with a source in a module's place: outcome and seconds."""
    begun = time.monotonic()
    process = os.fork()
    if not process:
        _run_tests(path, source, tests)
    while time.monotonic() - begun < limit:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return _OUTCOMES.get(os.waitstatus_to_exitcode(status), BROKEN), time.monotonic() - begun
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return TIMED_OUT, time.monotonic() - begun


def _run_tests(path: str, source: str, tests: Sequence[str]) -> None:
    """In a forked process, which ends here."""
    os.setsid()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.meta_path.insert(0, Changed(module_name(path), ROOT / path, source))  # type: ignore[arg-type]
    import pytest

    code = 4
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = [f"tests/{name}.py" for name in tests]
            code = int(pytest.main([*_OPTIONS, f"--basetemp={folder}/tests", *files]))
    finally:
        os._exit(code)


def examine(path: str, tests: Sequence[str], sample: int, seed: int, log: Path) -> Counter[str]:
    """Tries the changes of a module that the log does not know yet, and prints what survived.

    A change that survived is tried again where the tests have changed since.

    Args:
        path: The module, below the project's root.
        tests: Names of the test files that concern it.
        sample: Number of changes, drawn at random; 0 for all.
        seed: Seed of the draw.
        log: File of the outcomes.

    Returns:
        Number of changes by outcome.

    Raises:
        RuntimeError: The tests fail without any change.
    """
    source = (ROOT / path).read_text()
    every = list(changes_of(source))
    # A larger sample holds a smaller one.
    chosen = random.Random(f"{seed}/{path}").sample(every, len(every))[: sample or None]
    state = hashlib.sha256(b"".join((ROOT / f"tests/{name}.py").read_bytes() for name in tests)).hexdigest()[:16]
    known = {r["key"]: r for r in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    outcome, seconds = attempt(path, source, tests, 600)
    if outcome != SURVIVED:
        raise RuntimeError(f"{path}: its tests ({', '.join(tests)}) do not pass as they are ({outcome}).")
    limit = 10 + 10 * seconds
    records = []
    for change in sorted(chosen, key=lambda change: change.line):
        record = known.get(change.key)
        if record is None or (record["outcome"] == SURVIVED and record["tests"] != state):
            outcome, seconds = attempt(path, change.source, tests, limit)
            place = {"line": change.line, "was": change.was, "now": change.now}
            record = {"key": change.key, **place, "outcome": outcome, "seconds": round(seconds, 2), "tests": state}
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
        records.append(record)
    counts = Counter(record["outcome"] for record in records)
    print(f"{path}: {len(records)} of {len(every)} changes; {summary(counts)}", flush=True)
    for record in records:
        if record["outcome"] == SURVIVED:
            print(f"    line {record['line']}: {record['was']}\n           ->  {record['now']}", flush=True)
    return counts


def summary(counts: Counter[str]) -> str:
    """Writes the outcomes, and the share of the changes that could be imported and were noticed."""
    parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (KILLED, TIMED_OUT, SURVIVED, BROKEN))
    noticed = counts[KILLED] + counts[TIMED_OUT]
    usable = noticed + counts[SURVIVED]
    return f"{parts}: {noticed / usable if usable else float('nan'):.1%}"


def main() -> None:
    """Examines the modules that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"paths such as {next(iter(MODULES))}; all without"
    )
    parser.add_argument(
        "--sample", type=int, default=60, help="changes of each module, drawn at random; 0 for all (60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutation", help="folder of the logs")
    args = parser.parse_args()
    if unknown := [path for path in args.modules if path not in MODULES]:
        parser.error(f"no tests are named for {unknown[0]}; add it to MODULES in {Path(__file__).name}")
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / folder) for folder in SOURCES]
    paths = args.modules or list(MODULES)
    scoring = all(path.startswith("eval/") for path in paths)
    for name in _LIBRARIES if scoring else (*_LIBRARIES, *_BEYOND_SCORING):
        importlib.import_module(name)
    args.out.mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter()
    for path in paths:
        log = args.out / f"{module_name(path)}.jsonl"
        total += examine(path, MODULES[path], args.sample, args.seed, log)
    print(f"all: {summary(total)}")


if __name__ == "__main__":
    main()
