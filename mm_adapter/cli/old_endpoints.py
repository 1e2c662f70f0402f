"""Prices of tokens, of a command that asks a model behind an OpenAI-compatible endpoint."""

import argparse

from mm_data.asking.completions import Estimate


def add_prices(parser: argparse.ArgumentParser) -> None:
    """Of tokens."""
    parser.add_argument("--input-price", type=float, default=0.0, help="per million prompt tokens")
    parser.add_argument("--output-price", type=float, default=0.0, help="per million answer tokens")


def print_estimate(args: argparse.Namespace, estimate: Estimate) -> None:
    """What is left to ask."""
    print(f"requests            {estimate.requests - estimate.cached} ({estimate.cached} of {estimate.requests} are answered already)")  # fmt: skip
    print(f"prompt tokens       about {estimate.prompt_tokens:,} (characters / 4)")
    print(f"answer tokens       about {estimate.completion_tokens:,}")
    if args.input_price or args.output_price:
        print(f"cost                about {estimate.cost(args.input_price, args.output_price):,.2f}")
    else:
        print("cost                unknown: give --input-price and --output-price per million tokens")
