"""docs/adding-a-task.md runs as it stands, but for joints in the place of videos and the number of training steps."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from test_tour import STEPS, commands
from tiny_coach import ROOT, launch

from mm_adapter.tasks.nae.miniature import write_dives
from mm_eval.answers.test_sets import About, read_answers


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's module, its data set, and poses of the clips."""
    page = (ROOT / "docs" / "adding-a-task.md").read_text()
    ((name, code),) = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", page, re.S)
    assert name == "pushups.py"
    (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    root, poses = tmp_path / "PUSHUPS", tmp_path / "poses"
    root.mkdir()
    rows = [
        [f"p{n}", "test" if n % 4 == 0 else "train", f"person {n // 2}", n % 5 + 1 if n != 7 else "", f"Depth {n % 5}."]
        for n in range(24)
    ]
    with (root / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["clip", "split", "person", "rating", "sentence"], *rows])
    write_dives(tmp_path / "dives", 8, seed=0, workers=1, videos=False)
    (poses / "poses").mkdir(parents=True)
    dive = next((tmp_path / "dives" / "poses").rglob("*.npy"))
    for clip, *_ in rows:
        os.link(dive, poses / "poses" / f"{clip}.npy")
    sequences = [{"name": clip, "split": "train"} for clip, *_ in rows]
    (poses / "poses.json").write_text(json.dumps({"synthetic": True, "sequences": sequences}))
    return tmp_path


def test_a_task_of_ones_own_goes_the_whole_way(work: Path) -> None:
    said = []
    for command in commands("adding-a-task.md", "bash"):
        if command.startswith("export"):
            continue
        words = command.replace("python scripts/", f"python {ROOT}/scripts/").split()
        if words[1:3] == ["task", "read"]:
            words += ["--poses", "poses"]
        if words[1:3] == ["features", "extract"]:
            words = ["mm-coach", "features", "from-poses", *words[3:5], "--frames", "3"]
        if words[1:3] == ["train", "task"]:
            words += STEPS.split()
        said.append(launch(*words, at=work).stdout)
    assert "1 no rating (such as p7)" in said[0] and "Rating: 1" in said[1]
    answers = read_answers(work / "answers")
    assert [item.item_id for item in answers] == [f"p{n}" for n in range(0, 24, 4)]
    assert answers[1].truth.score == 5 and answers[1].truth.text == "Depth 4."
    about = About.read(work / "answers")
    assert about.task == "pushups:PUSHUPS" and about.inputs == ["rating: asked for"]
    table = (work / "table" / "table.md").read_text()
    assert "rating: asked for" in table and "unread, %" in table and "| ρ ↑ |" in table
    assert "Depth 4." in (work / "page" / "index.html").read_text()
