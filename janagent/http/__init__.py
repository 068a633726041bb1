"""The HTTP API (contract, section 3): `app.build_app` assembles it."""
