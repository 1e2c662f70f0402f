"""Ranking a gallery by likelihood: the prefix once with packed candidates, against one forward pass per pair.

    python benchmarks/retrieval.py WORK [--prefix 600] [--candidate 40] [--gallery 50] [--large 200] [--save]

A random Llama of 8 layers, 512 wide, with 8 query and 2 key heads; prefix and candidates are random pose tokens. Its
vocabulary is small, so that the output head has the share of the work that it has in Llama-3-8B (about 6 %). Pairs are timed as generously as their one forward pass allows: logits of the candidate's positions alone.
`ratio` is pairs' time over ours, both in fp32, the median of interleaved rounds. A gallery of 1,272 (the size of ExpertAF's
test set) is extrapolated from ``--large`` candidates; memory is the resident peak above the model's.
"""

import resource
import statistics
from pathlib import Path
from typing import Any

import torch
from paper_sized import CODE_DIM, CODES, make_tiny
from record import finish, parse, timed
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mm_adapter.inference.coach import Coach
from mm_adapter.inference.scoring import score
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.packed_attention import PACKED_SDPA
from mm_adapter.model.processor import CoachProcessor
from mm_tokenizers import PoseCodeStore

PAPER_GALLERY = 1272


def random_coach(work: Path, dtype: torch.dtype, device: torch.device) -> Coach:
    """A pose-only coach with random weights, the same for every type."""
    tokenizer = AutoTokenizer.from_pretrained(make_tiny(work) / "language_model")
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=2, initializer_range=0.06,
    )  # fmt: skip
    llama._attn_implementation = PACKED_SDPA
    config = CoachConfig(text_config=llama, first_pose_id=len(tokenizer), num_pose_codes=CODES, pose_code_dim=CODE_DIM)
    processor = CoachProcessor(tokenizer, config)
    model = CoachModel(config, LlamaForCausalLM(llama), torch.randn(CODES, CODE_DIM))
    model.initialise_new_parts()
    model = model.to(device=device, dtype=dtype).eval()  # pyright: ignore[reportCallIssue]
    return Coach(model, processor, PoseCodeStore(torch.zeros(1, 10, 34).long().numpy(), ["none"], ""), None)


@torch.inference_mode()
def pairs(coach: Coach, prefix: list[int], candidates: list[list[int]]) -> Tensor:
    """One forward pass per candidate."""
    totals = []
    for candidate in candidates:
        row = torch.tensor([prefix + candidate], device=coach.model.device)
        logits = coach.model(input_ids=row, logits_to_keep=len(candidate) + 1).logits[0, :-1].float().log_softmax(-1)
        totals.append(logits.gather(-1, row[0, len(prefix) :, None]).sum())
    return torch.stack(totals).cpu()


def packed(coach: Coach, prefix: list[int], candidates: list[list[int]]) -> Tensor:
    """As `mm-coach retrieve` does it."""
    sample: dict[str, Any] = {"sample_id": "query", "input_ids": prefix, "labels": [-100] * len(prefix), "prompt": True}
    return score(coach, sample | {"ego": None, "exo": None}, candidates).total


def main() -> None:
    """Measures and prints."""
    args = parse(__doc__, "work", prefix=600, candidate=40, gallery=50, large=200, rounds=3)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    coach = random_coach(args.work, torch.float32, device)
    draw, first = torch.Generator().manual_seed(0), coach.processor.vocabulary.first_id
    prefix = (first + torch.randint(CODES, (args.prefix,), generator=draw)).tolist()
    gallery = (first + torch.randint(CODES, (args.large, args.candidate), generator=draw)).tolist()
    small = gallery[: args.gallery]
    packed(coach, prefix, small)  # starts the libraries
    pairs(coach, prefix, small[:2])
    rounds = [(timed(pairs, coach, prefix, small), timed(packed, coach, prefix, small)) for _ in range(args.rounds)]
    ours_seconds = statistics.median(ours[0] for _, ours in rounds)
    pair_seconds = statistics.median(pair[0] for pair, _ in rounds)
    by_pair, ours = rounds[0][0][1], rounds[0][1][1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large_seconds, _ = timed(packed, coach, prefix, gallery)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    half = random_coach(args.work, torch.bfloat16, device)
    half_pairs, half_ours = pairs(half, prefix, small), packed(half, prefix, small)
    result = {
        "ratio": round(pair_seconds / ours_seconds, 2),
        "token_model_ratio": round((args.prefix + args.candidate) * args.gallery / (args.prefix + args.candidate * args.gallery), 2),
        "seconds": {"pairs": round(pair_seconds, 2), "packed": round(ours_seconds, 2)},
        "same_ranking": bool(torch.equal(by_pair.argsort(), ours.argsort())),
        "largest_difference_of_log_probability": float((by_pair - ours).abs().max()),
        "log_probability": float(ours.mean()),
        "bf16": {
            "packed_against_pairs": float((half_pairs - half_ours).abs().max()),
            "packed_against_fp32": float((half_ours - ours).abs().max()),
            "pairs_against_fp32": float((half_pairs - ours).abs().max()),
            "same_ranking_as_pairs": bool(torch.equal(half_pairs.argsort(), half_ours.argsort())),
        },
        "large": {
            "gallery": args.large,
            "seconds": round(large_seconds, 2),
            "memory_growth_gib": round(grown, 3),
            f"seconds_for_{PAPER_GALLERY}_extrapolated": round(large_seconds * PAPER_GALLERY / args.large, 1),
        },
    }  # fmt: skip
    sizes = {name: getattr(args, name) for name in ("prefix", "candidate", "gallery")}
    finish("retrieval", sizes | result, args.save)


if __name__ == "__main__":
    main()
