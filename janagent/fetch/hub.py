"""What a hub says of a repo: its files at one commit, through huggingface_hub, in a thread.

Owns the choice of endpoint and token, and knows where the library has its cache. The token (`HF_TOKEN`, or
what `hf auth login` left) belongs to huggingface.co. Another hub gets one only when `HF_ENDPOINT` and
`HF_TOKEN` stand together in the environment: whoever set both meant that token for that hub. A hub named in
the settings alone is asked without a token. Knows nothing of quantizations or transfers. Neighbours: the
importers ask, `plan` has the types.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whichever httpx it uses
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from janagent.fetch.cache import blob
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.plan import RemoteFile
from janagent.fetch.statuses import trouble

HUGGING_FACE = "https://huggingface.co"
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub and, where it may have one, the token for it."""

    endpoint: str
    token: str | None = None
    cache: Path = Path(HF_HUB_CACHE)
    """Where huggingface_hub keeps what it downloads (`HF_HUB_CACHE`, `HF_HOME`)."""
    shown: Callable[[tuple[RemoteFile, ...]], tuple[RemoteFile, ...]] = tuple
    """What of a repo's files is to be seen: all."""

    async def repo_files(self, repo: str, *, revision: str | None = None) -> tuple[RemoteFile, ...]:
        """All files of a repo, with addresses that stay at the commit of now. Names are not checked yet."""
        return self.shown(await asyncio.to_thread(self._repo_files, repo, revision))

    def _repo_files(self, repo: str, revision: str | None) -> tuple[RemoteFile, ...]:
        api = HfApi(endpoint=self.endpoint, token=self.token or False, library_name="janagent")
        try:
            info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        except (HTTPError, HFValidationError, OSError) as error:
            raise self._in_words(error, repo, revision) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # a web page, or other JSON
            words = (
                f"{self.endpoint} answers, but not like a hub: check `hub_endpoint` or HF_ENDPOINT, and "
                "whether this network wants you to sign in"
            )
            raise FetchError(Code.SERVER_ERROR, words) from error
        commit = info.sha or revision or "main"
        name = info.id or repo
        return tuple(
            RemoteFile(
                name=sibling.rfilename,
                url=hf_hub_url(repo, sibling.rfilename, revision=commit, endpoint=self.endpoint),
                size_bytes=sibling.size,
                sha256=sibling.lfs.sha256 if sibling.lfs is not None else None,
                git_sha1=sibling.blob_id if sibling.lfs is None else None,
                is_hub=True,
                cached=blob(
                    self.cache, name, sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
                ),
            )
            for sibling in info.siblings or ()
        )

    def _in_words(self, error: Exception, repo: str, revision: str | None) -> FetchError:
        page = f"{self.endpoint}/{repo}"
        host = urlsplit(self.endpoint).netloc
        match error:
            case GatedRepoError():
                words = (
                    f"{repo} is gated: accept its terms at {page} and set HF_TOKEN to a token of that account"
                )
                return FetchError(Code.GATED, words, is_permanent=True)
            case RevisionNotFoundError():
                words = f"{repo} has no revision {revision!r}; {page}/tree/main shows what there is"
                return FetchError(Code.REPO_NOT_FOUND, words, is_permanent=True)
            case RepositoryNotFoundError():
                words = f"there is no repo {repo} at {host}; check the name. If it is private, set HF_TOKEN"
                return FetchError(Code.REPO_NOT_FOUND, words, is_permanent=True)
            case OfflineModeIsEnabled():
                return FetchError(Code.OFFLINE, "HF_HUB_OFFLINE is set; unset it to fetch", is_permanent=True)
            case HFValidationError():
                words = f"{repo!r} is not the name of a repo; write owner/repo"
                return FetchError(Code.BAD_ORIGIN, words, is_permanent=True)
            case HfHubHTTPError():
                return _of_status(error.response.status_code, error.response.headers, page, host)
            case _:
                return FetchError(
                    Code.NETWORK, f"{host} cannot be reached; check the network and `hub_endpoint`"
                )


def open_hub(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> Hub:
    """The hub of the settings, else of `HF_ENDPOINT`, else huggingface.co; with its token if it has one."""
    from_environment = environment.get("HF_ENDPOINT", "").rstrip("/")
    chosen = (endpoint or from_environment or HUGGING_FACE).rstrip("/")
    if chosen == HUGGING_FACE and from_environment in ("", HUGGING_FACE):
        return Hub(chosen, get_token())
    is_pair = chosen == from_environment
    return Hub(chosen, (environment.get("HF_TOKEN", "").strip() or None) if is_pair else None)


def _of_status(status: int, headers: Mapping[str, str], page: str, host: str) -> FetchError:
    if (passing := trouble(status, headers, host=host)) is not None:
        return passing
    if status == 401:
        words = f"{host} does not accept the token; set HF_TOKEN to a valid one"
        return FetchError(Code.UNAUTHORIZED, words, is_permanent=True)
    if status == 403:
        words = (
            f"{host} forbids access; accept the terms at {page} and set HF_TOKEN to a token that may read it"
        )
        return FetchError(Code.GATED, words, is_permanent=True)
    return FetchError(
        Code.BAD_ORIGIN, f"{host} answered {status} for {page}; check the origin", is_permanent=True
    )
