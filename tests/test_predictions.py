"""Generating over a data set: sampling, grammar, resuming, sharing work, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_coach import TinyCoach, launch, perturb, poses_after, remarks_of

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.distributed import launch_name
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.sampling import GumbelNoise, Sampling
from mm_adapter.model.grammar import AnswerGrammar
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_tokenizers import PoseVocabulary

# --- sampling --------------------------------------------------------------------------------------------------------


def test_what_is_drawn_depends_on_seed_and_sample_alone(coach: TinyCoach) -> None:
    perturb(coach)
    asked = Coach(coach.model.eval(), coach.processor, coach.codes, coach.features)
    learners = list(dict.fromkeys(t.learner.clip_id for t in coach.test))[:4]
    warm = Sampling(temperature=1.0, top_p=0.95, top_k=200, seed=3)
    together = remarks_of(asked, learners, sampling=warm, batch_size=4, limit=8)
    assert together == remarks_of(asked, learners, sampling=warm, batch_size=1, limit=8)
    assert together != remarks_of(asked, learners, sampling=Sampling(1.0, seed=4), limit=8)
    shown = poses_after(asked, learners, ["Bend."] * 4, sampling=warm)
    assert all(codes is not None for codes in shown), "a drawn sequence is well-formed too"
    np.testing.assert_array_equal(shown[2:], poses_after(asked, learners[2:], ["Bend."] * 2, sampling=warm))  # type: ignore[arg-type]


def test_gumbel_noise_draws_from_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]])
    noise = GumbelNoise(0, ["a"])
    drawn = torch.stack([noise(torch.empty(0), logits).argmax() for _ in range(4000)])
    shares = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits.softmax(-1)[0], atol=0.03, rtol=0)


@pytest.mark.parametrize("settings", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_impossible_sampling_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        Sampling(**settings)


def test_an_answer_is_words_or_one_pose_sequence() -> None:
    vocabulary, end = PoseVocabulary(10, 6, 2, 2), 3

    def allowed(grammar: AnswerGrammar, output: list[int]) -> set[int]:
        return set(torch.isfinite(grammar(output, torch.zeros(20))).nonzero().flatten().tolist())

    words, codes, clip = set(range(10)), set(range(10, 16)), [11, 12, 16, 13, 14, 16, 17]
    grammar = AnswerGrammar(vocabulary, [end])
    assert allowed(grammar, []) == words | codes, "the first token decides"
    assert allowed(grammar, [5]) == words
    for position in range(1, len(clip)):
        assert clip[position] in allowed(grammar, clip[:position]) <= set(range(10, 18))
    assert allowed(grammar, clip) == {end}
    assert allowed(AnswerGrammar(vocabulary, [end], "poses"), []) == codes
    assert allowed(AnswerGrammar(vocabulary, [end], "words"), []) == words


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_of_several_processes_become_one_file(tmp_path: Path) -> None:
    items = [f"t{i}" for i in range(7)]
    first, second = (SharedRecords(tmp_path, "x", rank, 2, "launch") for rank in range(2))
    assert sorted(first.mine(items) + second.mine(items)) == items
    for records in (second, first):
        for item in records.mine(items)[:3]:
            records.append(item, {"value": int(item[1])})
    assert not join_all([first], items), "t6 is missing"
    with (tmp_path / "x.0.jsonl").open("a") as file:
        file.write('{"tuple_id": "t6", "val')  # a crash
    alone = SharedRecords(tmp_path, "x")
    alone.append("t6", {"value": 6})
    assert join_all([second], items) and not join_all([first], items), "one process of a launch goes on"
    assert join_all([alone], items) and join_all([alone], items), "and one that is alone always"
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["tuple_id"] for line in lines] == items and [line["value"] for line in lines] == [*range(7)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".joined", ".lock", "x.jsonl"]


def test_a_second_launch_goes_on_whatever_its_processes_are_called(tmp_path: Path) -> None:
    """Launchers of containers have one pid, again and again; every launch has one process that scores."""
    items = ["a", "b", "c"]
    for name in ("first", "second", "third"):
        processes = [SharedRecords(tmp_path, "x", rank, 2, name) for rank in range(2)]
        there = processes[0].read()
        for process in processes:
            for item in process.mine(items):
                if item not in there:
                    process.append(item, {})
        assert [join_all([process], items) for process in processes] == [True, False], name
    assert launch_name() != launch_name(), "no two launches are called alike"
    with pytest.raises(ValueError, match=r"2 processes share .*x; give the name of their launch"):
        SharedRecords(tmp_path, "x", 0, 2)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    coach = TinyCoach(tiny)
    perturb(coach)
    folder = tmp_path_factory.mktemp("coach") / "coach"
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(folder)
    return folder


def command(name: str, saved: Path, tiny: Path, out: Path, *options: str) -> list[str]:
    inputs = [saved, tiny / "tuples", tiny / "pose_codes", out, "--features", tiny / "features", "--max-tuples", "5"]
    return [name, *map(str, inputs), *options]


def test_generate_retrieve_and_two_processes_agree(
    saved: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mm_coach(command("generate", saved, tiny, tmp_path / "one")) == 0
    names = ("commentary", "demonstration", "retrieval")
    one = {name: (tmp_path / "one" / f"{name}.jsonl").read_text() for name in names}
    assert all(len(text.splitlines()) == 5 for text in one.values())
    ddp = ["--config_file", "recipes/accelerate/ddp.yaml", "-m", "mm_adapter.cli"]
    done = launch("accelerate", "launch", *ddp, *command("generate", saved, tiny, tmp_path / "two"))
    assert done.stdout.count("5 tuples") == 1 and "others still have tuples" in done.stdout, "two did the work of one"
    two = {name: (tmp_path / "two" / f"{name}.jsonl").read_text() for name in names}
    assert one["commentary"] == two["commentary"] and one["demonstration"] == two["demonstration"]
    for a, b in zip(one["retrieval"].splitlines(), two["retrieval"].splitlines(), strict=True):
        assert json.loads(a)["pmi"] == pytest.approx(json.loads(b)["pmi"], abs=1e-5)
    remarks = str(tmp_path / "one" / "commentary.jsonl")
    for name in ("ranked", "one"):  # elsewhere, and as documented in the same folder
        assert mm_coach(command("retrieve", saved, tiny, tmp_path / name, "--remarks", remarks)) == 0
        shown = capsys.readouterr().out
        assert "chance (gallery" in shown and "R@5" in shown
        assert (tmp_path / name / "retrieval.jsonl").read_text() == one["retrieval"]
    assert mm_coach(command("generate", saved, tiny, tmp_path / "one")) == 0
    assert mm_coach(command("evaluate", saved, tiny, tmp_path / "one")) == 0
    assert {name: (tmp_path / "one" / f"{name}.jsonl").read_text() for name in names} == one, "nothing is done twice"


def test_what_generate_refuses(saved: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--functions", "commentary"]
    assert mm_coach(command("generate", saved, tiny, tmp_path / "a", *only)) == 0
    assert mm_coach(command("generate", saved, tiny, tmp_path / "a", *only, "--temperature", "0.7")) == 2
    assert "begun with other settings: sampling was" in capsys.readouterr().err
    assert mm_coach(command("generate", saved, tiny, tmp_path / "b", "--functions", "demonstration")) == 2
    assert "5 of 5 tuples have no remark to demonstrate" in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n')
    assert mm_coach(command("retrieve", saved, tiny, tmp_path / "c", "--remarks", str(tmp_path / "bad.jsonl"))) == 2
    assert "tuple_id and text" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    assert "generate" in launch(sys.executable, "-m", "mm_adapter.cli", "--help").stdout
