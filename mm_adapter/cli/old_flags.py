"""Flags that several commands share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mm_eval.metrics.text import BertModel


def add_encoder(parser: argparse.ArgumentParser, default: str | None = None, purpose: str = "") -> None:
    """The frozen video encoder; ``purpose`` ends the help text where there is no default."""
    parser.add_argument("--encoder", default=default, help=f"tiny, S, B, L, 1B or 6B{purpose}")
    parser.add_argument("--weights", type=Path, help="published file or folder of safetensors, which all but tiny need")
    parser.add_argument(
        "--random-weights", action="store_true", help="random weights for a published size, to try out speed and memory"
    )
    parser.add_argument("--frames", type=int, help="frames per clip; by default what the weights were trained with")
    parser.add_argument("--image-size", type=int, help="pixels along one side, a multiple of 14; by default 224")


def add_base_model(parser: argparse.ArgumentParser) -> None:
    """Where the language model of a coach is."""
    parser.add_argument(
        "--base-model",
        type=str,
        metavar="FOLDER",
        help="language model that the coach was trained on (a folder, or a name on the Hub), where it is not where training had it",
    )


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """Experts among whom a demonstration is looked for."""
    parser.add_argument("--gallery", type=Path, help="tuple folder whose experts are searched for a demonstration")
    parser.add_argument("--activity", help="only experts of this activity")
    parser.add_argument("--codes", type=Path, help="pose codes of the gallery")
    parser.add_argument("--features", type=Path, help="feature store of the gallery")


def add_test_set(parser: argparse.ArgumentParser, coach: str, out: str) -> None:
    """A coach, the tuples it is asked about, and where the answers go."""
    parser.add_argument("coach", type=Path, help=coach)
    parser.add_argument("tuples", type=Path)
    parser.add_argument("codes", type=Path, help="pose codes of the tuples")
    parser.add_argument("out", type=Path, help=out)
    parser.add_argument("--features", type=Path, help="feature store, unless the coach is pose-only")
    add_base_model(parser)
    parser.add_argument(
        "--gallery", choices=("activity", "all"), default="activity", help="which expert clips are ranked"
    )
    parser.add_argument("--max-tuples", type=int, help="an evenly spaced subset of the test tuples")


def add_bert(parser: argparse.ArgumentParser) -> None:
    """Weights of BERTScore."""
    parser.add_argument("--bert-model", type=Path, help="folder of weights for BERTScore, such as deberta-xlarge-mnli")
    parser.add_argument("--bert-layer", type=int, help="of which states are compared: 40, for deberta-xlarge 18")
    parser.add_argument("--bert-baseline", type=Path, help="bert-score's file of baselines, to rescale by")


def bert_model(args: argparse.Namespace) -> "BertModel | None":
    """Weights of BERTScore that the flags name.

    Raises:
        ValueError: No layer beside the weights, or a layer or baselines without them.
    """
    from mm_eval.metrics.text import BertModel

    if args.bert_model is None:
        for flag in ("bert_layer", "bert_baseline"):
            if getattr(args, flag) is not None:
                raise ValueError(f"--{flag.replace('_', '-')} needs --bert-model: the folder of BERTScore's weights.")
        return None
    if args.bert_layer is None:
        raise ValueError("--bert-model needs --bert-layer: 40 for deberta-xlarge-mnli, 18 for deberta-xlarge.")
    return BertModel(args.bert_model, args.bert_layer, args.bert_baseline)


def add_vllm(parser: argparse.ArgumentParser) -> None:
    """Flags that are handed on to vLLM."""
    parser.add_argument(
        "--vllm",
        default="",
        metavar="FLAGS",
        help="flags for vLLM: --vllm='--max-model-len 4096 --tensor-parallel-size 2'",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How tokens are drawn."""
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the most likely token")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0, help="0 keeps all tokens")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn depends on it and the question alone")
