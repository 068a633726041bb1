"""A hub for tests: what huggingface_hub asks of one, on loopback; a second host serves the large files.

    async with TestHub() as hub:      # on the running loop
    with TestHub() as hub:            # in a thread of its own, for tests that drive other programs

        hub.add_repo("owner/repo", {"model.gguf": Path(...), "README.md": b"..."})
        hub.file("owner/repo", "model.gguf").cut_after_bytes = 1000

Neighbour: `hosted` holds the repos and each file's misbehaviour.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from aiohttp import web

from tests.fetch.hosted import HostedFile, Repo, Revision

WRITE_BYTES = 512 * 1024
LIMIT_S = 60.0
# Only Linux has all of 127/8 without setting it up; elsewhere the second host is another port.
SECOND_ADDRESS = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


@dataclass(slots=True)
class Request:
    """One request as it came: `host` is "hub" or "cdn"; `status` is 0 until there is an answer. `ended_at`
    (time.monotonic): its answer is out, or its client has gone."""

    host: str
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    bytes_sent: int = 0
    ended_at: float | None = None


class TestHub:
    """Both hosts. `requests` and `most_connections` tell what was asked, in order of arrival."""

    __test__ = False

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.most_connections = 0
        # Answers of the metadata interface: this status so many times (None: always).
        self.api_fail_status: int | None = None
        self.api_fail_times: int | None = None
        self.api_retry_after_s: int | None = None
        self.is_api_retry_a_date = False
        # What the metadata interface says instead, with a 200.
        self.api_page: str | None = None
        self.url = ""
        self.cdn_url = ""
        self._repos: dict[str, Repo] = {}
        self._runners: list[web.AppRunner] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, Path | bytes],
        *,
        gated: bool = False,
        private_token: str | None = None,
        revision: str = "main",
    ) -> str:
        """Add a repo, or another revision of one; returns the commit."""
        repo = self._repos.setdefault(repo_id, Repo(repo_id))
        repo.is_gated = gated
        repo.private_token = private_token
        repo.add(revision, files)
        return repo.revisions[revision].commit

    def file(self, repo_id: str, name: str, *, revision: str = "main") -> HostedFile:
        """A file, to make it misbehave."""
        return self._repos[repo_id].revisions[revision].files[name]

    def direct_url(self, repo_id: str, name: str, *, revision: str = "main") -> str:
        """An address on the second host that serves the file without the hub."""
        commit = self._repos[repo_id].revisions[revision].commit
        return f"{self.cdn_url}/{repo_id}/{commit}/{quote(name)}"

    def bytes_sent(self, name: str) -> int:
        """Content bytes of all files with this name that went out, from either host."""
        return sum(one.bytes_sent for one in self.requests if one.path.endswith(f"/{name}"))

    async def __aenter__(self) -> Self:
        self.url = await self._serve("127.0.0.1", "hub")
        self.cdn_url = await self._serve(SECOND_ADDRESS, "cdn")
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-hub", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self.__aexit__(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _serve(self, address: str, host: str) -> str:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, host)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        # Cancellation ends a stalled answer when its client goes away.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, address, 0).start()
        return f"http://{address}:{runner.addresses[0][1]}"

    async def _handle(self, request: web.Request, host: str) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        record = Request(host, request.method, request.path, headers)
        self.requests.append(record)
        open_now = sum(len(runner.server.connections) for runner in self._runners if runner.server)
        self.most_connections = max(self.most_connections, open_now)
        try:
            answer = await (self._on_hub if host == "hub" else self._on_cdn)(request, record)
        except _Refused as error:
            answer = error.response
        finally:
            record.ended_at = time.monotonic()
        record.status = answer.status
        return answer

    async def _on_hub(self, request: web.Request, record: Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._api(request, repo_id="/".join(parts[2:4]), rest=parts[4:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return await self._resolve(request, record, parts)
        raise _Refused(404)

    def _api(self, request: web.Request, *, repo_id: str, rest: list[str]) -> web.Response:
        if self.api_fail_status and self.api_fail_times != 0:
            if self.api_fail_times is not None:
                self.api_fail_times -= 1
            raise _refused(self.api_fail_status, self.api_retry_after_s, is_date=self.is_api_retry_a_date)
        if self.api_page is not None:
            kind = "application/json" if self.api_page[:1] in "[{" else "text/html"
            return web.Response(text=self.api_page, content_type=kind)
        repo = self._readable(request, repo_id, is_metadata=True)
        if rest[:1] == ["tree"]:
            revision = _revision(repo, rest[1] if len(rest) > 1 else "main")
            return web.json_response(
                _tree(
                    revision, "/".join(rest[2:]), is_deep=request.query.get("recursive") in ("True", "true")
                )
            )
        revision = _revision(repo, rest[1] if rest[:1] == ["revision"] else "main")
        return web.json_response(_info(repo, revision, has_metadata="blobs" in request.query))

    async def _resolve(self, request: web.Request, record: Request, parts: list[str]) -> web.StreamResponse:
        repo = self._readable(request, "/".join(parts[:2]), is_metadata=False)
        revision = _revision(repo, parts[3])
        file = _file(revision, "/".join(parts[4:]))
        if file.fail_on_hub:
            _fail(file)
        headers = {"X-Repo-Commit": revision.commit, "ETag": file.hub_etag}
        if not file.is_lfs:
            return await _send(request, file, record, headers)
        headers |= {"X-Linked-Etag": file.hub_etag, "X-Linked-Size": str(file.size_bytes)}
        headers["Location"] = f"{self.cdn_url}/{repo.repo_id}/{revision.commit}/{quote(file.name)}?signed=yes"
        return web.Response(status=file.redirect_status, headers=headers)

    async def _on_cdn(self, request: web.Request, record: Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        repo = self._repos.get("/".join(parts[:2]))
        if repo is None or len(parts) < 4 or parts[2] not in repo.revisions:
            raise _Refused(404)
        file = _file(repo.revisions[parts[2]], "/".join(parts[3:]))
        return await _send(request, file, record, {"ETag": file.storage_etag})

    def _readable(self, request: web.Request, repo_id: str, *, is_metadata: bool) -> Repo:
        repo = self._repos.get(repo_id)
        if repo is None:
            # The real hub tells strangers nothing about what does not exist, either.
            raise _Refused(401 if "Authorization" not in request.headers else 404, error="RepoNotFound")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.is_gated and is_metadata:
            return repo
        if repo.is_gated and (not given or given != repo.private_token):
            raise _Refused(403 if given else 401, error="GatedRepo")
        if repo.private_token is not None and given != repo.private_token:
            raise _Refused(404 if given else 401, error="RepoNotFound")
        return repo


class _Refused(Exception):
    """Raised to answer with an error."""

    def __init__(
        self,
        status: int,
        *,
        error: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        headers = dict(headers or {})
        if error is not None:
            headers |= {"X-Error-Code": error, "X-Error-Message": error}
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
        self.response = web.Response(status=status, headers=headers, text=f"refused: {status}")


def _revision(repo: Repo, name: str) -> Revision:
    if name not in repo.revisions:
        raise _Refused(404, error="RevisionNotFound")
    return repo.revisions[name]


def _file(revision: Revision, name: str) -> HostedFile:
    if name not in revision.files:
        raise _Refused(404, error="EntryNotFound")
    return revision.files[name]


def _info(repo: Repo, revision: Revision, *, has_metadata: bool) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for file in revision.files.values():
        sibling: dict[str, Any] = {"rfilename": file.name}
        if has_metadata:
            sibling |= {"size": file.size_bytes, "blobId": file.blob_id}
            if file.is_lfs:
                sibling["lfs"] = _lfs(file) | {"sha256": file.sha256}
        siblings.append(sibling)
    return {
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "sha": revision.commit,
        "private": repo.private_token is not None and not repo.is_gated,
        "gated": "auto" if repo.is_gated else False,
        "tags": [],
        "siblings": siblings,
    }


def _tree(revision: Revision, under: str, *, is_deep: bool) -> list[dict[str, Any]]:
    start = f"{under}/" if under else ""
    entries: dict[str, dict[str, Any]] = {}
    for file in revision.files.values():
        if not file.name.startswith(start):
            continue
        folders = file.name.removeprefix(start).split("/")[:-1]
        for depth in range(len(folders) if is_deep else min(1, len(folders))):
            path = start + "/".join(folders[: depth + 1])
            entries[path] = {"type": "directory", "oid": revision.commit, "size": 0, "path": path}
        if is_deep or not folders:
            entry = {"type": "file", "oid": file.blob_id, "size": file.size_bytes, "path": file.name}
            entries[file.name] = entry | ({"lfs": _lfs(file) | {"oid": file.sha256}} if file.is_lfs else {})
    if start and not entries:
        raise _Refused(404, error="EntryNotFound")
    return list(entries.values())


def _lfs(file: HostedFile) -> dict[str, Any]:
    return {"size": file.size_bytes, "pointerSize": len(file.lfs_pointer)}


def _fail(file: HostedFile) -> None:
    if file.fail_status is not None and file.takes_one("fail_times"):
        raise _refused(file.fail_status, file.retry_after_s, is_date=file.is_retry_a_date)


def _refused(status: int, retry_after_s: int | None, *, is_date: bool) -> _Refused:
    if is_date and retry_after_s is not None:
        date = formatdate(time.time() + retry_after_s, usegmt=True)
        return _Refused(status, headers={"Retry-After": date})
    return _Refused(status, retry_after_s=retry_after_s)


async def _send(
    request: web.Request, file: HostedFile, record: Request, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with a file's bytes, or what its misbehaviour makes of them."""
    if not file.fail_on_hub:
        _fail(file)
    start, end, status = _range(request, file, headers["ETag"])
    if status == 416:
        raise _Refused(416, headers={"Content-Range": f"bytes */{file.size_bytes}"})
    answer = web.StreamResponse(status=status, headers=headers)
    if not file.ignore_range:
        answer.headers["Accept-Ranges"] = "bytes"
    if status == 206:
        answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    answer.content_type = "application/octet-stream"
    answer.content_length = max(0, end - start + file.lie_length)
    record.status = status
    await answer.prepare(request)
    if request.method == "HEAD":
        return answer
    if not await _write(answer, file, record, (start, end)) or file.lie_length > 0:
        _close(request)
    return answer


async def _write(
    answer: web.StreamResponse, file: HostedFile, record: Request, part: tuple[int, int]
) -> bool:
    """Write the bytes; False when the connection is to end before they are all out."""
    at, end = part
    content, sha256 = file.content, file.sha256
    cut, stall = file.cut_after_bytes, file.stall_after_bytes
    # An answer that is over before the point in question is neither cut nor stalled, and not counted.
    cut = None if cut is None or cut >= end - at or not file.takes_one("cut_times") else cut
    stall = None if stall is None or stall >= end - at or not file.takes_one("stall_times") else stall
    limit = min(end, *(at + stop for stop in (cut, stall) if stop is not None), end)
    slow = file.slow_bytes_per_s
    step = WRITE_BYTES if slow is None else max(1, min(WRITE_BYTES, int(slow / 20)))
    while at < limit:
        if file.change_after_bytes is not None:
            step = max(1, min(step, file.change_after_bytes - file.sent_bytes))
        block = file.read(at, min(step, limit - at))
        record.bytes_sent += len(block)  # first: who has got them all may ask at once
        await answer.write(block)
        at += len(block)
        file.count_sent(len(block))
        if file.sha256 != sha256 or file.content is not content:
            return False
        if slow is not None:
            await asyncio.sleep(len(block) / slow)
    if at == end:
        return True
    if stall is not None and (cut is None or stall < cut):
        await asyncio.Event().wait()
    return False


def _close(request: web.Request) -> None:
    # An orderly end after what was written: the bytes before the cut arrive.
    if request.transport is not None:
        request.transport.close()


def _range(request: web.Request, file: HostedFile, etag: str) -> tuple[int, int, int]:
    """Start, end (exclusive) and status for what the request asks of the file."""
    asked = request.headers.get("Range")
    whole = (0, file.size_bytes, 200)
    if asked is None or file.ignore_range or request.headers.get("If-Range", etag) != etag:
        return whole
    first, dash, last = asked.removeprefix("bytes=").partition("-")
    if not asked.startswith("bytes=") or not dash or "," in asked or not (first or last):
        return whole
    if not first:
        return max(0, file.size_bytes - int(last)), file.size_bytes, 206
    start, end = int(first), min(int(last) + 1, file.size_bytes) if last else file.size_bytes
    return (start, end, 206) if start < end else (0, 0, 416)
