"""janagent: a folder of models and manifests, served through an OpenAI-equivalent API."""

__version__ = "0.1.0"
