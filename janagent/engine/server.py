"""The worker's HTTP: OpenAI's three calls, `rerank` and a health check on a Unix socket.

Reads bodies and says what is wanted; `generating`, `vectors` and `ranking` do it. The daemon's
proxy is the only client meant.
"""

import functools

from aiohttp import web

from janagent.engine.chats import ChatReader, Shift
from janagent.engine.conversation import Conversation
from janagent.engine.faults import RequestError, context_exceeded, unsupported
from janagent.engine.generating import Generator, Wanted
from janagent.engine.media import Prompt
from janagent.engine.model import Model
from janagent.engine.prompt import ChatPrompt
from janagent.engine.ranking import Ranking
from janagent.engine.replies import errors, json_reply
from janagent.engine.requests import ChatBody, CompletionBody, read_body
from janagent.engine.scheduler import Scheduler
from janagent.engine.senses import Senses
from janagent.engine.tokenizing import each, prompt_tokens
from janagent.engine.tools import toolbox_of
from janagent.engine.vectors import Vectors

#: none: the daemon has one (max_body_bytes), which a person may set to what pictures need
_MAX_BODY_BYTES = 0


class Server:
    """The handlers over one loaded model. `can_generate` is False for models that only make embeddings."""

    def __init__(
        self,
        *,
        model: Model,
        scheduler: Scheduler,
        generator: Generator,
        vectors: Vectors,
        ranking: Ranking,
        chat_prompt: ChatPrompt,
        senses: Senses,
        ctx_len: int,
        shift: Shift,
        can_generate: bool,
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._generator = generator
        self._vectors = vectors
        self._ranking = ranking
        self._chat_prompt = chat_prompt
        self._chats = ChatReader(model, chat_prompt, senses, ctx_len=ctx_len, shift=shift)
        self._ctx_len = ctx_len
        self._shift = shift
        self._can_generate = can_generate

    def application(self) -> web.Application:
        """The aiohttp application with its routes."""
        app = web.Application(middlewares=[errors], client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/embeddings", self._vectors.answer)
        app.router.add_post("/v1/rerank", self._ranking.answer)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        live, queued = self._scheduler.counts()
        return json_reply({"status": "ok", "live": live, "queued": queued})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(await request.read(), ChatBody)
        self._require_generation()
        limit, param = body.max_tokens, "max_tokens"
        if body.max_completion_tokens is not None:
            limit, param = body.max_completion_tokens, "max_completion_tokens"
        if limit == 0:
            raise RequestError(f"{param}: must be at least 1", param=param, code="invalid_value")
        if body.top_logprobs is not None and not body.logprobs:
            raise RequestError(
                "top_logprobs: needs logprobs to be true", param="top_logprobs", code="invalid_value"
            )
        may_call_several = body.parallel_tool_calls is not False
        toolbox = toolbox_of(body.tools or (), body.tool_choice, may_call_several=may_call_several)
        text, prompt, n_keep = await self._chats.read(body, toolbox)
        reading = self._conversation.reading(text, toolbox, hides_thoughts=body.reasoning_format != "none")
        wanted = Wanted(
            body=body,
            prompts=[prompt],
            is_chat=True,
            n_keep=n_keep,
            limit=limit,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            stops=self._chat_prompt.stops,
            toolbox=toolbox,
            reading=reading,
        )
        return await self._generator.run(request, wanted)

    @functools.cached_property
    def _conversation(self) -> Conversation:
        return Conversation(self._model, self._chat_prompt.family)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(await request.read(), CompletionBody)
        self._require_generation()
        if body.echo and body.logprobs is not None:
            raise unsupported("logprobs", "not supported together with echo by this engine")
        items = each(body.prompt)
        if not items:
            raise RequestError("prompt: must not be empty", param="prompt", code="invalid_value")
        prompts = [
            self._fitting(Prompt(await prompt_tokens(self._model, item, suffix=body.suffix)))
            for item in items
        ]
        echoed = []
        if body.echo:
            shown = [item if isinstance(item, str) else self._model.text_of(item) for item in items]
            echoed = [text for text in shown for _ in range(body.n or 1)]
        wanted = Wanted(
            body=body,
            prompts=prompts,
            is_chat=False,
            limit=body.max_tokens,
            n_keep=int(self._model.adds_bos) if self._shift is Shift.ALL else None,
            top_logprobs=body.logprobs,
            echoed=echoed,
        )
        return await self._generator.run(request, wanted)

    def _require_generation(self) -> None:
        if not self._can_generate:
            raise RequestError(
                "this model writes no text; use /v1/embeddings, or /v1/rerank of a model that ranks",
                code="model_not_generative",
            )

    def _fitting(self, prompt: Prompt) -> Prompt:
        if prompt.tokens.size >= self._ctx_len:
            raise context_exceeded(prompt.tokens.size, self._ctx_len, param="prompt")
        return prompt
