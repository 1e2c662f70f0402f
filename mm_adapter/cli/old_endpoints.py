"""Flags of commands that ask a model behind an OpenAI-compatible endpoint, and what they cost."""

import argparse
import os
from typing import Any

from mm_data.asking.completions import Budget, Endpoint, Estimate


def add_endpoint(parser: argparse.ArgumentParser, model_required: bool = True) -> None:
    """Where to ask, how much at a time, and for how much money."""
    parser.add_argument("--base-url", default="https://api.openai.com/v1", help="of the endpoint; vLLM's ends in /v1")
    parser.add_argument(
        "--model", required=model_required, help="name of the served model; a dated one for numbers to be kept"
    )
    parser.add_argument(
        "--api-key-variable", default="OPENAI_API_KEY", help="environment variable that holds the endpoint's key"
    )
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per request")
    parser.add_argument("--max-tokens", type=int, help="of an answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimate", action="store_true", help="print requests, tokens and cost, and ask nothing")
    add_prices(parser)
    parser.add_argument("--max-cost", type=float, help="stop once answers have cost more; needs both prices")


def add_prices(parser: argparse.ArgumentParser) -> None:
    """Of tokens."""
    parser.add_argument("--input-price", type=float, default=0.0, help="per million prompt tokens")
    parser.add_argument("--output-price", type=float, default=0.0, help="per million answer tokens")


def endpoint_of(args: argparse.Namespace, max_tokens: int) -> Endpoint:
    """What the flags say.

    Args:
        args: Of `add_endpoint`.
        max_tokens: Of an answer, unless the flags say otherwise.
    """
    parameters: dict[str, Any] = {
        "temperature": args.temperature,
        "max_tokens": args.max_tokens or max_tokens,
        "seed": args.seed,
    }
    return Endpoint(
        base_url=args.base_url,
        model=args.model,
        api_key=os.environ.get(args.api_key_variable, "none"),
        concurrency=args.concurrency,
        timeout=args.timeout,
        parameters=parameters,
    )


def checked_budget(args: argparse.Namespace, estimate: Estimate) -> Budget | None:
    """The budget that the flags set.

    Raises:
        ValueError: No prices, or the estimate is above the limit already.
    """
    if args.max_cost is None:
        return None
    if not (args.input_price and args.output_price):
        raise ValueError("--max-cost needs --input-price and --output-price per million tokens.")
    expected = estimate.cost(args.input_price, args.output_price)
    if expected > args.max_cost:
        raise ValueError(
            f"About {expected:,.2f} would be needed, above --max-cost {args.max_cost:g}; nothing was asked."
        )
    return Budget(args.input_price, args.output_price, args.max_cost)


def print_estimate(args: argparse.Namespace, estimate: Estimate) -> None:
    """What is left to ask."""
    print(f"requests            {estimate.requests - estimate.cached} ({estimate.cached} of {estimate.requests} are answered already)")  # fmt: skip
    print(f"prompt tokens       about {estimate.prompt_tokens:,} (characters / 4)")
    print(f"answer tokens       about {estimate.completion_tokens:,}")
    if args.input_price or args.output_price:
        print(f"cost                about {estimate.cost(args.input_price, args.output_price):,.2f}")
    else:
        print("cost                unknown: give --input-price and --output-price per million tokens")
