"""Azure OpenAI for tests: its paths, its `api-key` header, its answers and its errors.

After Microsoft's "Azure OpenAI in Azure AI Foundry Models REST API reference" and "Content filtering".
"""

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.remote.upstream import DONE, Body, Upstream, chat, chunk, opened, plain

VERSION = "2023-05-15"
FINE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
PROMPT_FILTER = [{"prompt_index": 0, "content_filter_results": {"jailbreak": {"filtered": False}, **FINE}}]
FIRST_CHUNK = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
    b'[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n'
)
"""What every stream of Azure's begins with."""
DENIED = {
    "error": {
        "code": "401",
        "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
        "provide a valid key for an active subscription and use a correct regional API endpoint for your "
        "resource.",
    }
}
NO_DEPLOYMENT = {
    "error": {
        "code": "DeploymentNotFound",
        "message": "The API deployment for this resource does not exist. If you created the deployment "
        "within the last 5 minutes, please wait a moment and try again.",
    }
}
NOT_FOUND = {"error": {"code": "404", "message": "Resource not found"}}
FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy. Please modify your prompt and retry.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {**FINE, "hate": {"filtered": True, "severity": "high"}},
        },
    }
}
_PATH = re.compile(r"/openai/deployments/([^/]+)/(?:chat/completions|completions|embeddings)")


class Azure(Upstream):
    """One Azure resource with one deployment."""

    def __init__(self, *, deployment: str, **more: Any) -> None:
        super().__init__(**more)
        self.deployment = deployment
        self.answer = answer

    def refusal(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> web.Response | None:
        """Azure looks at the key first, then at the version, then at the deployment's name."""
        if headers.get("api-key") != self.key:
            return web.json_response(DENIED, status=401)
        named = _PATH.fullmatch(path)
        if named is None or not query.get("api-version"):
            return web.json_response(NOT_FOUND, status=404)
        if named[1] != self.deployment:
            return web.json_response(NO_DEPLOYMENT, status=404)
        return None


async def answer(request: web.Request, body: Body) -> web.StreamResponse:
    """A well-behaved answer: the name in it is the model's behind the deployment."""
    if not request.path.endswith("/chat/completions"):
        return await plain(request, {**body, "model": "text-embedding-ada-002"})
    if not body.get("stream"):
        whole = chat(model="gpt-4-1106-Preview")
        whole["choices"][0]["content_filter_results"] = FINE
        return web.json_response({**whole, "prompt_filter_results": PROMPT_FILTER})
    response = await opened(request)
    await response.write(FIRST_CHUNK)
    for word in ("one ", "two ", "three"):
        await response.write(chunk(word, model="gpt-4-1106-Preview", system_fingerprint=None))
    await response.write(DONE)
    return response
