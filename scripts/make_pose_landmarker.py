"""Makes MediaPipe's pose landmarker from a package, where its published file cannot be downloaded.

    pip download --no-deps mediapipe==0.10.21
    python scripts/make_pose_landmarker.py mediapipe-0.10.21*.whl pose_landmarker_full.task

Packages up to 0.10.21 carry the two networks (Apache-2.0) for an older interface; the bundle puts them into one file and says how pictures
are normalised, which the older interface did in code: to -1..1 for the detector, to 0..1 for the landmarks. Needs the ``pose`` extra.
"""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-not-found]
from mediapipe.tasks.metadata import metadata_schema_py_generated as described  # type: ignore[import-not-found]
from mediapipe.tasks.metadata import schema_py_generated as network  # type: ignore[import-not-found]

NETWORKS = {
    "pose_detector.tflite": ("mediapipe/modules/pose_detection/pose_detection.tflite", 127.5, 127.5),
    "pose_landmarks_detector.tflite": ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0),
}
"""Name in the bundle to the name in the package, and the mean and deviation of a pixel's values."""


def with_normalisation(content: bytes, mean: float, deviation: float) -> bytes:
    """Adds to a network's file how its pictures are normalised."""
    model: Any = network.ModelT.InitFromObj(network.Model.GetRootAs(content))
    picture = described.TensorMetadataT()
    picture.content, picture.processUnits = described.ContentT(), [described.ProcessUnitT()]
    picture.content.contentPropertiesType = described.ContentProperties.ImageProperties
    picture.content.contentProperties = described.ImagePropertiesT()
    picture.content.contentProperties.colorSpace = described.ColorSpaceType.RGB
    picture.processUnits[0].optionsType = described.ProcessUnitOptions.NormalizationOptions
    picture.processUnits[0].options = described.NormalizationOptionsT()
    picture.processUnits[0].options.mean, picture.processUnits[0].options.std = [mean], [deviation]
    graph = described.SubGraphMetadataT()
    graph.inputTensorMetadata = [picture]
    graph.outputTensorMetadata = [described.TensorMetadataT() for _ in model.subgraphs[0].outputs]
    metadata = described.ModelMetadataT()
    metadata.subgraphMetadata = [graph]
    buffer = network.BufferT()
    buffer.data = list(packed(metadata, b"M001"))
    model.metadata = [entry for entry in model.metadata or [] if entry.name != b"TFLITE_METADATA"]
    entry = network.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.metadata.append(entry)
    model.buffers.append(buffer)
    return packed(model, b"TFL3")


def packed(content: Any, identifier: bytes) -> bytes:
    """Writes an object as a flatbuffer."""
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), identifier)
    return bytes(builder.Output())


def main() -> None:
    """Reads the package and writes the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="wheel of mediapipe, at most 0.10.21")
    parser.add_argument("out", type=Path, help="file of the bundle, pose_landmarker_full.task")
    args = parser.parse_args()
    with zipfile.ZipFile(args.package) as package:
        if lacking := [inside for inside, _, _ in NETWORKS.values() if inside not in package.namelist()]:
            raise SystemExit(f"{args.package} holds no {lacking[0]}; give a wheel of mediapipe 0.10.21 or before.")
        networks = {
            name: with_normalisation(package.read(inside), mean, deviation)
            for name, (inside, mean, deviation) in NETWORKS.items()
        }
    with zipfile.ZipFile(args.out, "w") as bundle:
        for name, content in networks.items():
            bundle.writestr(zipfile.ZipInfo(name), content)  # dated 1980: the same package gives the same bytes
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
