"""`mm-coach export`."""

import argparse
from pathlib import Path

import torch

from mm_adapter.checkpoint.coach import PretrainedCoach
from mm_adapter.distributed import native_dtype
from mm_adapter.export.write import export_coach
from mm_adapter.features.internvideo2 import build_encoder
from mm_data.ground.files import check_apart


def run_export(args: argparse.Namespace) -> None:
    """Merges, writes and proves."""
    check_apart(args.out, Path(args.coach), args.weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = native_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype)
    coach = PretrainedCoach.from_pretrained(args.coach, device, dtype, base_model=args.base_model)
    encoder = None
    if args.encoder:
        encoder = build_encoder(
            args.encoder, args.weights, args.frames, args.image_size, random_weights=args.random_weights
        )
    proof = export_coach(coach, args.out, args.layout, encoder)
    print(
        f"{args.out}: {args.layout} layout in {proof['dtype']}; log-probabilities differ by at most {proof['largest_difference']:.2g}, "
        f"their divergence is {proof['mean_divergence']:.2g} nats (bound {proof['bound']} on the {proof['bounded'].replace('_', ' ')}) at {proof['positions']} positions, the most likely token is the same at {proof['same_most_likely_token']:.1%}"
    )
