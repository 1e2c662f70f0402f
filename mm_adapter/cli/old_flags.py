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
