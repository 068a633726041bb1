"""`python -m tests.benchmarks [name ...]`: run the measured comparisons and print one document of them."""

import argparse
import asyncio
import importlib
import signal
import sys
import traceback
from pathlib import Path

from tests.benchmarks import llama_server, machine
from tests.benchmarks.report import Line, Plan, Section, Verdict, markdown

NAMES = (
    *("streaming", "prefix", "turns", "beside", "lookup", "shapes", "embeddings", "pictures"),
    *("proxy", "remote", "cold", "folder", "edits", "fetch", "tray"),
)


def main() -> int:
    """Exit status: 0 when every goal was met, 1 when one was short or could not be measured."""
    options = _options()
    # So that a run that is ended from outside ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    plan = Plan(
        quick=options.quick,
        rounds=options.rounds or (2 if options.quick else 5),
        tokens=options.tokens or (48 if options.quick else 128),
        only_engine=options.only_engine,
        wait_s=options.wait,
    )
    binary = _llama_server(plan)
    top = machine.header(binary)
    print(top, file=sys.stderr, flush=True)
    sections = [_run(name, plan) for name in options.names or NAMES]
    document = markdown(top, sections, plan)
    if options.out:
        options.out.write_text(document)
    print(document)
    return int(
        any(line.verdict in (Verdict.SHORT, Verdict.FAILED) for part in sections for line in part.lines)
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", choices=[[], *NAMES], help=", ".join(NAMES))
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: proves that it works, rough figures"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5)")
    parser.add_argument("--tokens", type=int, help="tokens of one answer (128)")
    parser.add_argument(
        "--wait", type=float, default=60, help="seconds to try for each figure of a calm machine (60)"
    )
    parser.add_argument(
        "--only-engine", action="store_true", help="streaming: the worker's socket, no daemon"
    )
    parser.add_argument("--out", type=Path, help="write the document to this file too")
    return parser.parse_args()


def _llama_server(plan: Plan) -> Path | None:
    try:
        return llama_server.find()
    except llama_server.BuildError as error:
        plan.notes.append(f"No llama-server to compare with: {error}.")
        return None


def _run(name: str, plan: Plan) -> Section:
    print(f"{name}:", file=sys.stderr, flush=True)
    module = importlib.import_module(f"tests.benchmarks.{name}")
    try:
        section: Section = asyncio.run(module.measure(plan))
    except Exception as error:  # noqa: BLE001 - the dispatch: one failure must not hide the other figures
        traceback.print_exc()
        section = Section(
            name, "", [Line(name, f"{type(error).__name__}: {error}"[:200], "", Verdict.FAILED)]
        )
    for line in section.lines:
        print(f"  {line.what}: {line.figure} (goal {line.goal}) {line.verdict}", file=sys.stderr, flush=True)
    return section


if __name__ == "__main__":
    sys.exit(main())
