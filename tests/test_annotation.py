"""The three annotation pipelines against a scripted endpoint: failures, retries, flags, review, resuming."""

import csv
import json
import pickle
import re
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from mm_adapter.cli import main
from mm_adapter.tasks.cot_afa.files import CAPTIONS, COMMENTS, STEPS, read_cot_afa
from mm_adapter.tasks.cot_afa.format import read_chain
from mm_adapter.tasks.cot_afa.miniature import write_gym
from mm_adapter.tasks.desccoach.files import DIMENSIONS, read_desccoach
from mm_adapter.tasks.nae.files import read_nae
from mm_adapter.tasks.nae.miniature import write_dives


def narrative(question: str) -> str:
    """What a careful model says."""
    actions, score = re.search(r"Actions: (.+)\nScore: (.+)", question).groups()  # type: ignore[union-attr]
    return json.dumps({"narrative": f"A dive of {actions}, with a clean entry. It is given {score} points."})


@pytest.fixture(scope="module")
def dives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six dives."""
    root = tmp_path_factory.mktemp("dives")
    write_dives(root, 32, seed=0, workers=1, videos=False)
    for split, count in (("train", 4), ("test", 2)):
        path = root / f"{split}_split_0.pkl"
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes())[:count]))
    return root


def annotate(endpoint: ScriptedEndpoint, task: str, source: Path, out: Path, *flags: str) -> int:
    return main(["task", "annotate", task, str(source), str(out), "--base-url", endpoint.url, "--model", "m", *flags])


def test_altered_scores_and_actions_are_asked_again_and_then_flagged(dives: Path, tmp_path: Path, capsys) -> None:
    """One prompt version meets a model that rounds scores for ever, another one that does so once."""

    def script(question: str, before: int):
        good = narrative(question)
        if question in stubborn:
            return 200, re.sub(r"given [\d.]+", "given 12.25", good)
        if question in hasty and before == 0:
            return 200, good.replace("A dive of", "A dive of armstand,")
        return 200, good

    stubborn: set[str] = set()
    hasty: set[str] = set()
    with ScriptedEndpoint(lambda q, n: (200, narrative(q))).running() as endpoint:
        assert annotate(endpoint, "nae", dives, tmp_path / "count") == 0
        questions = list(endpoint.asked)
        assert len(endpoint.bodies) == 6 * 5, "five prompt versions of every dive"
        systems = {body["messages"][0]["content"] for body in endpoint.bodies}
        assert len(systems) == 5
    stubborn.add(questions[0])
    hasty.add(questions[1])
    with ScriptedEndpoint(script).running() as endpoint:
        assert annotate(endpoint, "nae", dives, tmp_path / "out", "--max-flagged", "0.2") == 0
        assert endpoint.asked[questions[1]] == 6, "five narratives, one of which was asked for twice"
        shown = capsys.readouterr().out
        assert "flagged" in shown
        before = len(endpoint.bodies)
        assert annotate(endpoint, "nae", dives, tmp_path / "out", "--max-flagged", "0.2") == 0
        assert len(endpoint.bodies) == before, "finished answers are not asked for again"
    with (tmp_path / "out" / "annotation" / "narratives_review.csv").open() as file:
        rows = list(csv.DictReader(file))
    flagged = [row for row in rows if row["problem"]]
    assert len(rows) == 30 and len(flagged) == 5 and "score 12.25 instead of" in flagged[0]["problem"]
    data = read_nae(tmp_path / "out")
    assert len(data.items) == 5, "a dive whose five narratives were all flagged has none"
    assert all(len(item.references) == 1 for item in data.items), "equal texts count once"


def test_reviewers_fix_and_reject_but_cannot_let_altered_scores_through(dives: Path, tmp_path: Path, capsys) -> None:
    def script(question: str, before: int):
        said = narrative(question)
        return 200, re.sub(r"given [\d.]+", "given 12.25", said) if question == wrong[0] else said

    wrong = [""]
    with ScriptedEndpoint(lambda q, n: (200, narrative(q))).running() as endpoint:
        annotate(endpoint, "nae", dives, tmp_path / "count")
        wrong[0] = next(iter(endpoint.asked))
    sheet = tmp_path / "out" / "annotation" / "narratives_review.csv"
    with ScriptedEndpoint(script).running() as endpoint:
        assert annotate(endpoint, "nae", dives, tmp_path / "out", "--max-flagged", "0.2") == 0
        with sheet.open() as file:
            rows = list(csv.DictReader(file))

        def again(**decisions: dict[str, str]) -> int:
            """Fills the sheet in and runs the same command."""
            with sheet.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                for number, row in enumerate(rows):
                    writer.writerow({**row, **decisions.get(f"row{number}", {})})
            return annotate(endpoint, "nae", dives, tmp_path / "out", "--max-flagged", "0.2")

        altered = {"decision": "fix", "fixed": json.dumps({"narrative": "A dive."})}
        for decision in ({"decision": "accept"}, altered):
            assert again(row0=decision) == 2
            assert "does not pass the check: score" in capsys.readouterr().err
        assert again(row0={"decision": "maybe"}) == 2
        assert "line 2: needs an item, once, and a decision" in capsys.readouterr().err
        assert again(row0={"decision": "reject", "item": "9_9#1"}) == 2
        assert "'9_9#1' is no item of this stage" in capsys.readouterr().err
        question = wrong[0]
        right = {"decision": "fix", "fixed": narrative(question).replace("clean", "vertical")}
        assert again(row0=right, row1={"decision": "reject"}) == 0
        kept = sheet.read_text()
        assert annotate(endpoint, "nae", dives, tmp_path / "out", "--max-flagged", "0.2") == 0
        assert sheet.read_text() == kept and "reject" in kept, "a further run keeps what people decided"
        assert annotate(endpoint, "nae", dives, dives / "inside") == 2
        assert "lie inside each other" in capsys.readouterr().err
    found = {item.item_id: item.references for item in read_nae(tmp_path / "out").items}
    assert found[rows[0]["item"].partition("#")[0]] == [json.loads(right["fixed"])["narrative"]]


def test_a_broken_endpoint_is_told_and_a_run_resumes(dives: Path, tmp_path: Path, capsys) -> None:
    def script(question: str, before: int):
        return (500, {"error": {"message": "broken"}}) if fails[0] else (200, narrative(question))

    fails = [True]
    with ScriptedEndpoint(script).running() as endpoint:
        flags = ["--concurrency", "1", "--timeout", "5"]
        assert main(["task", "annotate", "nae", str(dives), str(tmp_path), "--base-url", endpoint.url]) == 2
        assert "Give --model" in capsys.readouterr().err
        assert annotate(endpoint, "nae", dives, tmp_path, "--estimate") == 0
        assert "requests            30" in capsys.readouterr().out and not endpoint.bodies
        fails[0] = False  # resumes
        assert annotate(endpoint, "nae", dives, tmp_path, *flags) == 0
        assert main(["task", "annotate", "nae", str(dives), str(tmp_path), "--offline"]) == 2


def test_many_flagged_answers_stop_before_anything_is_written(dives: Path, tmp_path: Path, capsys) -> None:
    with ScriptedEndpoint(lambda q, n: (200, '{"narrative": "A nice dive."}')).running() as endpoint:
        assert annotate(endpoint, "nae", dives, tmp_path / "out") == 2
    assert "at most 10% may be dropped" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.caption.tsv").exists()
    assert (tmp_path / "out" / "annotation" / "narratives_review.csv").is_file(), "reviewers can mend them all"


def test_steps_and_explanations_are_written_in_the_published_form(tmp_path: Path, capsys) -> None:
    root, out = tmp_path / "gym", tmp_path / "out"
    write_gym(root, 32, seed=0, workers=2)
    (root / STEPS).unlink()
    published = {path.name: path.read_text() for path in sorted((root / COMMENTS).iterdir())[:2]}
    for path in (root / COMMENTS).iterdir():
        path.write_text(published.get(path.name, ""))
    contradiction = [True]

    def script(question: str, before: int):
        if question.startswith("Action:") and "Verdict" not in question:
            return 200, json.dumps({"steps": [f"Do part {n}." for n in range(1, 6)], "general": "Breathe."})
        bad = "Verdict: non-standard" in question
        if contradiction[0] and before == 0:
            bad = not bad
        link = {"step": 2, "outcome": "the hips rise first", "solution": "lift the chest" if bad else ""}
        return 200, json.dumps({"chain": [link]})

    with ScriptedEndpoint(script).running() as endpoint:
        flags = ["--frames", "2", "--image-size", "64"]
        # The sheet of the miniature names the actions of its first rows only, as the release does.
        assert annotate(endpoint, "cot-afa", root, out, *flags, "--estimate") == 0
        shown = capsys.readouterr().out
        assert "steps:\nrequests            8" in shown and "explanations:\nrequests            22" in shown
        assert annotate(endpoint, "cot-afa", root, out, *flags) == 0
        pictured = [body for body in endpoint.bodies if not isinstance(body["messages"][-1]["content"], str)]
        assert sum(part["type"] == "image_url" for part in pictured[0]["messages"][-1]["content"]) == 2
        shown = capsys.readouterr().out
        assert "steps: 8 of 8 kept" in shown and "explanations: 22 of 22 kept, 0 flagged" in shown
    data = read_cot_afa(out)
    assert len(data.items) == 32 and data.knowledge["steps"]["squat"] == [
        *(f"Do part {n}." for n in range(1, 6)),
        "Breathe.",
    ]
    assert {i.item_id for i in data.items if i.split == "test"} == {
        a["image_id"] for a in json.loads((root / CAPTIONS).read_text())["annotations"]
    }
    new = [item for item in data.items if item.split == "train" and f"{item.item_id}_with_label.txt" not in published]
    assert len(new) == 22, "published texts and the test captions stay as they are"
    for item in new:
        (link,) = read_chain(item.references[0])
        assert bool(link.solution) == (item.truth.verdict == "non-standard")


def test_techpoints_and_commentary_are_written_in_the_published_form(tiny: Path, tmp_path: Path, capsys) -> None:
    source = tiny / "miniature"
    points = {name: f"Mind the {name}." for name in DIMENSIONS}
    said = {
        "points": [{"dimension": "Feet & Heels", "done_well": "", "to_improve": "Plant it."}],
        "overall": "Plant the foot nearer.",
    }

    def script(question: str, before: int):
        if "Remarks:" not in question:
            return 200, json.dumps(points)
        assert "Mind the Feet & Heels." in question
        wrong = said | {"points": [{**said["points"][0], "dimension": "Tail"}]}
        return 200, json.dumps(said if before or len(question) % 7 else wrong)

    with ScriptedEndpoint(script).running() as endpoint:
        assert annotate(endpoint, "desccoach", source, tmp_path / "llm") == 0
    data = read_desccoach(tmp_path / "llm")
    assert len(data.items) > 40 and all(item.facts["techpoints"] == points for item in data.items)
    assert all(item.truth.findings == ["Feet & Heels"] and item.truth.text == said["overall"] for item in data.items)
    assert main(["task", "annotate", "desccoach", str(source), str(tmp_path / "rules"), "--offline"]) == 0
    assert "no TechPoints without a model" in capsys.readouterr().out
    by_rules = read_desccoach(tmp_path / "rules").items
    assert len(by_rules) > 40 and {f for item in by_rules for f in item.truth.findings or []} <= set(DIMENSIONS[:6])
