"""The engine: a child program that loads one model with llama.cpp and answers OpenAI requests on a socket.

Started as `python -m janagent.engine`. It owns everything that touches llama.cpp and nothing else: it knows
no folder, no catalog and no settings, only the spec on its stdin (`janagent.children.wire`). Its neighbour
is `janagent.children.spawn`, which starts it and reads its status lines.

One request, in order: `server` reads the body with `requests`, `prompt` renders it, `model` turns it into
tokens, `scheduler` puts each answer into a slot and advances all slots in one `llama_decode` a step,
`sampling` picks the tokens, `text` turns them into whole characters and watches for stop strings, `answers`
writes the OpenAI shapes.
"""
