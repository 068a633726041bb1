"""Models that other machines serve: OpenAI, Azure, a cluster, another janagent. One engine each, no process.

`address` says where requests go, `keys` what opens the door, `fields` how requests differ between APIs,
`rewrite` how our id gets into their answers, `client` does the asking, `remotes` gives each its life.
"""
