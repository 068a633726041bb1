"""Files of a folder as `pairing` and `modelsets` see them, made up: no file is touched."""

from janagent.folder.gguf import Header, Kind
from janagent.folder.modelsets import Candidate

MB = 1_000_000


def model(name: str, *, mb: int = 100, width: int = 64, quantization: str | None = None) -> Candidate:
    header = Header(
        version=3,
        architecture="llama",
        required_bytes=mb * MB,
        quantization=quantization,
        block_count=2,
        embedding_length=width,
        head_count=4,
    )
    return Candidate(name, Kind.MODEL, mb * MB, header)


def part(name: str, number: int, count: int) -> Candidate:
    header = Header(
        version=3,
        architecture="llama" if number == 1 else "",
        required_bytes=MB,
        embedding_length=64 if number == 1 else None,
        split_count=count,
        split_no=number - 1,
    )
    kind = Kind.MODEL if number == 1 else Kind.PART
    return Candidate(f"{name}-{number:05d}-of-{count:05d}.gguf", kind, MB, header)


def projector(name: str, *, width: int | None = 64, quantization: str | None = None) -> Candidate:
    header = Header(
        version=3,
        architecture="clip",
        required_bytes=MB,
        is_projector=True,
        projector_embedding_length=width,
        quantization=quantization,
    )
    return Candidate(name, Kind.PROJECTOR, MB, header)


def other(name: str, kind: Kind = Kind.OTHER) -> Candidate:
    return Candidate(name, kind, 100)
