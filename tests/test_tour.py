"""docs/tour.md runs as it stands, but for the number of training steps."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_coach import ROOT, launch

from mm_data.items.store import read_items
from mm_eval.answers.test_sets import read_answers

av = pytest.importorskip("av")
STEPS = "--max_steps 3 --save_steps 3 --per_device_train_batch_size 2"


def film(path: Path, seed: int) -> None:
    """A second of coloured noise."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def commands(page: str, block: str) -> list[str]:
    """The commands of a page's blocks of one kind, without their comments."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(rf"```{block}\n(.*?)```", text, re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all commands of the tour but those of vLLM have run."""
    work = tmp_path_factory.mktemp("tour")
    table = re.search(r"```\nserves/items.csv +(.*?)serves/clip-1", (ROOT / "docs" / "tour.md").read_text(), re.S)
    assert table is not None
    (work / "serves").mkdir()
    lines = [line.strip() for line in table[1].splitlines() if line.strip()]
    (work / "serves" / "items.csv").write_text("\n".join(lines) + "\n")
    for number in range(1, 5):
        film(work / "serves" / f"clip-{number}.mp4", number)
    for command in commands("tour.md", "bash"):
        run(command, work)
    return work


def run(command: str, work: Path) -> None:
    words = command.replace("python scripts/", f"python {ROOT}/scripts/").split()
    if words[:3] == ["mm-coach", "train", "task"]:
        words += STEPS.split()
    launch(*words, at=work)


def test_the_tour_goes_from_a_table_to_a_report(toured: Path) -> None:
    items = {item.item_id: item for split in ("train", "test") for item in read_items(toured / "items", split)}
    assert sorted(items) == ["clip-1", "clip-2", "clip-3", "clip-4"]
    assert {item.split for item in items.values()} == {"train", "test"}
    assert len({item.split for item in items.values() if item.person == "Anna"}) == 1, "people are put aside whole"
    assert items["clip-2"].truth.score == 8 and items["clip-2"].references == ["Good height; keep the elbow in."]
    answers = read_answers(toured / "answers" / "coach")
    assert [item.item_id for item in answers] == [name for name, item in items.items() if item.split == "test"]
    neighbours = read_answers(toured / "answers" / "neighbour")
    trained = {item.references[0] for item in items.values() if item.split == "train"}
    assert all(item.answers["ours"].text in trained for item in neighbours)
    table = (toured / "table" / "table.md").read_text()
    rows = re.findall(r"^\| \**(.+?)\** \|", table, re.M)
    assert {"coach", "neighbour", "video nearest neighbour", "ours, expected score", "chance"} <= set(rows)
    page = (toured / "report" / "index.html").read_text()
    assert all(item.truth.text in page for item in answers) and "data:image/jpeg" in page
    record = json.loads((toured / "runs" / "task" / "small" / "coach" / "run_config.json").read_text())
    assert record["knowledge"]["table"]["found_by"] == "table"


def test_the_same_coach_answers_in_vllm(toured: Path) -> None:
    if (
        find_spec("vllm") is None
    ):  # it is not imported here: it would keep the streams that this test has put in their place
        pytest.skip("needs vLLM")
    for command in commands("tour.md", "bash vllm"):
        run(command, toured)
    here, there = (read_answers(toured / "answers" / name) for name in ("coach", "vllm"))
    for one, other in zip(here, there, strict=True):
        mine, theirs = one.answers["ours"], other.answers["ours"]
        assert (mine.text, mine.score, mine.unread) == (theirs.text, theirs.score, theirs.unread)
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-3)
