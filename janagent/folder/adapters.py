"""LoRA adapters: whether those that a manifest names in `files` fit its model, how strong each is applied,
and a word about those that nobody names.

Pure. Neighbours: `pairing` says which ones are named, `entries` asks, the executor passes them on.
"""

from collections.abc import Iterator, Mapping

from janagent.folder.gguf import Header
from janagent.folder.modelsets import base_name, stem_of

Scale = float | Mapping[str, float] | None
"""`parameters.init.lora_scale`: for all adapters, or for each by its name."""


def scale_of(scale: Scale, name: str) -> float:
    """How strong the adapter `name` is applied; 1 where nothing else is said."""
    if scale is None:
        return 1.0
    if not isinstance(scale, Mapping):
        return scale
    return next((value for written, value in scale.items() if _is_meant(written, name)), 1.0)


def _is_meant(written: str, name: str) -> bool:
    """A path, a file name, or that without suffix."""
    return written in (name, base_name(name), stem_of(name))


def misfits(adapters: Mapping[str, Header | None], model: Header | None, scale: Scale) -> Iterator[str]:
    """What makes the manifest impossible: an adapter of another architecture, or a scale that scales none."""
    for name, header in adapters.items():
        if header is None or model is None:
            continue
        if not header.is_adapter:
            yield f"{name} is a control vector, not a LoRA adapter: take it out of files"
        elif header.architecture != model.architecture:
            yield (
                f"{name} is an adapter for {header.architecture}, but the model is {model.architecture}: "
                "take it out of files, or name the model that it was made for"
            )
    if isinstance(scale, Mapping):
        for written in scale:
            if not any(_is_meant(written, name) for name in adapters):
                named = ", ".join(adapters) or "none"
                yield f"parameters.init.lora_scale: {written} is no adapter named in files (there: {named})"


def unnamed(adapters: Mapping[str, Header | None], model: Header | None) -> Iterator[str]:
    """Warnings about adapters that lie beside a model and that no manifest names.."""
    for name, header in adapters.items():
        if header is not None and model is not None and header.architecture == model.architecture:
            yield f"{name} is an adapter beside the model and not applied: to use it, name it in files"
        else:
            yield f"{name} is an adapter, and not for this model"
