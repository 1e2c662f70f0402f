"""Flags of commands that ask a model behind an OpenAI-compatible endpoint, and what the answers cost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:
    from mm_data.asking.completions import Budget, Endpoint, Estimate


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PriceFlags:
    """Prices of tokens."""

    input_price: float = 0.0
    """Price of a million prompt tokens."""

    output_price: float = 0.0
    """Price of a million answer tokens."""

    def print_estimate(self, estimate: Estimate) -> None:
        """Prints what is left to ask and what it would cost."""
        left = estimate.requests - estimate.cached
        print(f"requests            {left} ({estimate.cached} of {estimate.requests} are answered already)")
        print(f"prompt tokens       about {estimate.prompt_tokens:,} (characters / 4)")
        print(f"answer tokens       about {estimate.completion_tokens:,}")
        if self.input_price or self.output_price:
            print(f"cost                about {estimate.cost(self.input_price, self.output_price):,.2f}")
        else:
            print("cost                unknown: give --input-price and --output-price per million tokens")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerFlags(PriceFlags):
    """What an endpoint is asked with, how much at a time, and for how much money."""

    model: str | None = None
    """Name of the served model; a dated one for numbers to be kept."""

    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key."""

    concurrency: int = 8
    """Number of requests in flight."""

    timeout: float = 60.0
    """Seconds that a request may take."""

    max_tokens: int | None = None
    """Most tokens of an answer; by default what the command needs."""

    estimate: bool = False
    """Print requests, tokens and cost, and ask nothing."""

    max_cost: float | None = None
    """Stop once answers have cost more; needs both prices."""

    def endpoint(self, base_url: str, max_tokens: int, temperature: float, seed: int) -> Endpoint:
        """Builds the endpoint.

        Args:
            base_url: Address of the endpoint.
            max_tokens: Most tokens of an answer where --max-tokens is not given.
            temperature: Temperature of the draws.
            seed: Seed of the draws, where the endpoint has one.

        Returns:
            The endpoint, with the key that the environment holds.

        Raises:
            ValueError: No model is named.
        """
        from mm_data.asking.completions import Endpoint

        if self.model is None:
            raise ValueError("Give --model, the name of the served model (`curl BASE_URL/models` lists them).")
        return Endpoint(
            base_url=base_url,
            model=self.model,
            api_key=os.environ.get(self.api_key_variable, "none"),
            concurrency=self.concurrency,
            timeout=self.timeout,
            parameters={
                "temperature": temperature,
                "max_tokens": self.max_tokens or max_tokens,
                "seed": seed,
            },
        )

    def budget(self, estimate: Estimate) -> Budget | None:
        """Builds the budget.

        Args:
            estimate: What is left to ask.

        Returns:
            The budget, or None without --max-cost.

        Raises:
            ValueError: No prices, or the estimate is above the limit already.
        """
        from mm_data.asking.completions import Budget

        if self.max_cost is None:
            return None
        if not (self.input_price and self.output_price):
            raise ValueError("--max-cost needs --input-price and --output-price per million tokens.")
        expected = estimate.cost(self.input_price, self.output_price)
        if expected > self.max_cost:
            raise ValueError(
                f"About {expected:,.2f} would be needed, above --max-cost {self.max_cost:g}; nothing was asked."
            )
        return Budget(self.input_price, self.output_price, self.max_cost)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EndpointFlags(ServerFlags):
    """Where to ask, and how answers are drawn."""

    base_url: str = "https://api.openai.com/v1"
    """Address of the endpoint; vLLM's ends in /v1."""

    temperature: float = 0.0
    """Temperature of the draws."""

    seed: int = 0
    """Seed of the draws, where the endpoint has one."""

    def asked(self, max_tokens: int) -> Endpoint:
        """Builds the endpoint; ``max_tokens`` as in `endpoint`."""
        return self.endpoint(self.base_url, max_tokens, self.temperature, self.seed)
