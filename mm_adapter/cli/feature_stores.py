"""Commands on finished feature stores; none of them needs torch."""

import argparse
import os

from mm_data.features import FeatureManifest, FeatureStore, merge_stores, verify_store


def run_ls(args: argparse.Namespace) -> None:
    """Describes a store."""
    store = FeatureStore(args.store)
    manifest = store.manifest
    size = sum(os.path.getsize(args.store / name) for name in manifest.sha256)
    print(
        f"{args.store}: {len(store)} clips, {len(manifest.rejected)} rejected, {size / 2**20:.1f} MiB in {len(store.manifest.sha256) - 1} arrays"
    )
    print(f"  encoder        {manifest.encoder}  {manifest.encoder_hash[:16]}")
    print(f"  preprocessing  {manifest.preprocessing}")
    print(
        f"  per clip       {manifest.num_tokens} × {manifest.width} {manifest.dtype} for each of {', '.join(manifest.views)}"
    )
    for clip, reason in manifest.rejected.items():
        print(f"  rejected       {clip}: {reason}")
    if args.clips:
        for clip in store:
            print(clip)


def run_verify(args: argparse.Namespace) -> int:
    """Checks a store."""
    problems = verify_store(args.store)
    for problem in problems:
        print(problem)
    arrays = sum(name.endswith(".npy") for name in FeatureManifest.read(args.store).sha256)
    print(
        f"{args.store}: {len(problems)} problems in {arrays} arrays"
        if problems
        else f"{args.store}: {arrays} arrays as written"
    )
    return 1 if problems else 0


def run_merge(args: argparse.Namespace) -> None:
    """Joins stores."""
    merge_stores(args.stores, args.out)
    print(f"{args.out}: {len(FeatureStore(args.out))} clips of {len(args.stores)} stores")
