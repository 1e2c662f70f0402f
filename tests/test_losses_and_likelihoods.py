"""Losses and likelihoods against plain loops, with a random Llama."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from letters import CODES, processor
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mm_adapter.inference.coach import Coach
from mm_adapter.inference.scoring import CandidateScores, _chunks, _positions, score
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.loss import CHUNK, supervised_cross_entropy, token_statistics
from mm_adapter.model.packed_attention import PACKED_SDPA
from mm_data.conversation import clip_part, said

# --- the loss --------------------------------------------------------------------------------------------------------


def batch(seed: int = 0, supervised: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states ``[3, 9, 6]``, labels with gaps and an output matrix of 7 words."""
    made = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, 9, 6, generator=made)
    labels = torch.randint(0, 7, (3, 9), generator=made)
    labels[torch.rand(3, 9, generator=made) >= supervised] = -100
    return hidden, labels, torch.randn(7, 6, generator=made)


def plain_loss(hidden: Tensor, labels: Tensor, matrix: Tensor) -> tuple[Tensor, int]:
    total, count = hidden.new_zeros(()), 0
    for row in range(len(labels)):
        for position in range(1, labels.shape[1]):
            if labels[row, position] != -100:
                logits = matrix @ hidden[row, position - 1]
                total = total - logits.log_softmax(-1)[labels[row, position]]
                count += 1
    return total, count


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
@pytest.mark.parametrize("supervised", [0.0, 0.5, 1.0])
def test_the_loss_is_the_sum_over_supervised_positions(chunk: int, supervised: float) -> None:
    hidden, labels, matrix = batch(supervised=supervised)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    total, count = supervised_cross_entropy(lambda states: states @ matrix.T, ours, labels, chunk)
    expected, number = plain_loss(theirs, labels, matrix)
    assert int(count) == number == int((labels[:, 1:] != -100).sum())
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-5)
    total.backward()
    if number:
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)
    assert ours.grad is not None and not ours.grad[:, -1].any(), "what follows the last position is not known"
    with torch.no_grad():
        again, _ = supervised_cross_entropy(lambda states: states @ matrix.T, hidden, labels, chunk)
    torch.testing.assert_close(again, total.detach())


def test_pieces_are_as_long_as_they_may_be_and_computed_again() -> None:
    hidden, labels, matrix = batch(supervised=1.0)  # 24 supervised positions
    seen: list[int] = []

    def head(states: Tensor) -> Tensor:
        seen.append(len(states))
        return states @ matrix.T

    def sizes(chunk: int, **more: Any) -> tuple[list[int], list[int]]:
        seen.clear()
        total, _ = supervised_cross_entropy(head, hidden.clone().requires_grad_(), labels, chunk, **more)
        forward = list(seen)
        total.backward()
        return forward, seen[len(forward) :]

    forward, backward = sizes(10)
    assert forward == [10, 10, 4] and sorted(backward) == [4, 10, 10], "logits of one piece at a time"
    assert sizes(24) == ([24], []) and sizes(25) == ([24], []), "one piece needs no second run"
    forward, backward = sizes(24, agree=lambda pieces: pieces + 3)
    assert forward == [24, 0, 0, 0] and sorted(backward) == [0, 0, 0, 24], "other ranks have more pieces"
    asked: list[int] = []
    sizes(7, agree=lambda pieces: asked.append(pieces) or pieces)  # type: ignore[func-returns-value]
    assert asked == [4] and CHUNK == 512
    with torch.no_grad():
        seen.clear()
        supervised_cross_entropy(head, hidden, labels, 10)
        assert seen == [10, 10, 4]
    seen.clear()
    nothing = torch.full_like(labels, -100)
    total, count = supervised_cross_entropy(head, hidden, nothing)
    assert seen == [0] and total == 0 and count == 0, "a rank without an answer takes part"


def test_statistics_of_tokens_stand_where_they_are_supervised() -> None:
    hidden, labels, matrix = batch(seed=1)
    found = token_statistics(lambda states: states @ matrix.T, hidden, labels)
    assert set(found) == {"log_probs", "entropy", "mean_logits", "is_top1"}
    for row in range(3):
        for position in range(8):
            values = {name: value[row, position] for name, value in found.items()}
            if labels[row, position + 1] == -100:
                assert not any(values.values())
                continue
            logits = matrix @ hidden[row, position]
            probabilities = logits.softmax(-1)
            assert values["log_probs"] == pytest.approx(float(probabilities[labels[row, position + 1]].log()), abs=1e-5)
            assert values["entropy"] == pytest.approx(-float((probabilities * probabilities.log()).sum()), abs=1e-5)
            assert values["mean_logits"] == pytest.approx(float(logits.mean()), abs=1e-6)
            assert bool(values["is_top1"]) == (int(logits.argmax()) == int(labels[row, position + 1]))
    assert all(value.shape == (3, 8) for value in found.values()) and found["is_top1"].dtype == torch.bool


# --- likelihoods of candidates ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coach() -> Coach:
    """A random Llama of two layers that sees poses alone."""
    torch.manual_seed(0)
    made = processor(video_tokens=0)
    words = made.vocabulary.first_id
    shape = LlamaConfig(
        vocab_size=words, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    language_model = LlamaForCausalLM._from_config(shape, attn_implementation=PACKED_SDPA)
    config = CoachConfig(
        text_config=shape,
        first_pose_id=words,
        num_pose_codes=5,
        pose_tokens_per_frame=2,
        pose_frames=3,
        pose_code_dim=6,
    )
    model = CoachModel(config, language_model, torch.randn(5, 6))
    model.initialise_new_parts()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Coach(model.eval(), made, CODES, None)  # type: ignore[arg-type]


CANDIDATES = [[3, 4, 5], [6], [7, 8], list(range(20, 60)), [9], [3, 4, 6]]


@torch.no_grad()
def one_by_one(coach: Coach, prompt: list[int], candidate: list[int]) -> Tensor:
    logits = coach.model(input_ids=torch.tensor([prompt + candidate])).logits[0].log_softmax(-1)
    return torch.stack([logits[len(prompt) - 1 + i, token] for i, token in enumerate(candidate)])


@pytest.mark.parametrize("memory_gib", [0.0, 1.0])
def test_scores_are_those_of_one_pass_per_candidate(coach: Coach, memory_gib: float) -> None:
    prompt = coach.prompt([said("user", clip_part("one"), "Which?")], "asked")
    poses = coach.processor.answer_ids(CODES["two"])
    found = score(coach, prompt, [*CANDIDATES, poses], memory_gib)
    for candidate, tokens, total in zip([*CANDIDATES, poses], found.per_token, found.total, strict=True):
        expected = one_by_one(coach, prompt["input_ids"], candidate)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
        assert float(total) == pytest.approx(float(expected.sum()), abs=1e-3)
    assert found.mean.tolist() == pytest.approx([float(tokens.mean()) for tokens in found.per_token])
    singles = score(coach, prompt, [[6], [9]], memory_gib)
    torch.testing.assert_close(torch.cat(singles.per_token), torch.cat([found.per_token[1], found.per_token[4]]))
    words = score(coach, prompt, ["Bend it.", "No"], memory_gib)
    ids = [coach.processor.tokenizer.encode(text, add_special_tokens=False) for text in ("Bend it.", "No")]
    assert torch.equal(words.total, score(coach, prompt, ids, memory_gib).total)


def test_long_rows_are_scored_in_pieces(coach: Coach, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = coach.prompt([said("user", "Which?")], "asked")
    whole = score(coach, prompt, CANDIDATES)
    monkeypatch.setattr("mm_adapter.inference.scoring.CHUNK", 7)
    torch.testing.assert_close(score(coach, prompt, CANDIDATES).total, whole.total, atol=1e-4, rtol=1e-5)


def test_what_cannot_be_scored_is_refused(coach: Coach, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = coach.prompt([said("user", "Which?")], "asked")
    with pytest.raises(ValueError, match="There are no candidates to score"):
        score(coach, prompt, [])
    with pytest.raises(ValueError, match=r"Candidates \[0, 2\] of 3 have no tokens"):
        score(coach, prompt, [[], [1], ""])
    monkeypatch.setattr(coach.model.language_model.config, "_attn_implementation", "eager")
    with pytest.raises(ValueError, match="loaded with attn_implementation='packed_sdpa'"):
        score(coach, prompt, [[1]])


@pytest.mark.parametrize(
    ("lengths", "positions", "chunks"),
    [
        ([3, 1, 2, 5], 5, [[3], [0, 2], [1]]),
        ([3, 1, 2, 5], 6, [[3], [0, 2, 1]]),
        ([3, 1, 2, 5], 11, [[3, 0, 2, 1]]),
        ([3, 1, 2, 5], 1, [[3], [0], [2], [1]]),
        ([2, 2, 2], 4, [[0, 1], [2]]),
        ([9], 1, [[0]]),
        ([], 5, []),
    ],
)
def test_candidates_run_together_as_far_as_they_fit(
    lengths: list[int], positions: int, chunks: list[list[int]]
) -> None:
    assert list(_chunks(lengths, positions)) == chunks


def test_memory_is_counted_to_the_token() -> None:
    """Keys and values of two layers, a layer's activations, logits of a chunk in float32 twice, the prefix's cache twice."""
    text = SimpleNamespace(hidden_size=64, intermediate_size=100, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=None)  # fmt: skip
    config: Any = SimpleNamespace(text_config=text, num_predictable=1000)
    cached, active = 2 * 2 * 2 * 16, 6 * 64 + 3 * 100
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        left = 2**28 - 2 * 4 * 512 * 1000 - 2 * 30 * cached * size
        assert _positions(config, 30, dtype, 0.25) == math.floor(left / ((cached + active) * size))
    text.head_dim = 32
    wide = 2 * cached
    left = 2**28 - 2 * 4 * 512 * 1000 - 2 * 30 * wide * 4
    assert _positions(config, 30, torch.float32, 0.25) == math.floor(left / ((wide + active) * 4))
    assert _positions(config, 30, torch.float32, 0.0) == 1, "one candidate always runs"


def test_means_are_per_token() -> None:
    found = CandidateScores(torch.tensor([-6.0, -1.0]), [torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.0])])
    assert found.mean.tolist() == [-2.0, -1.0]
