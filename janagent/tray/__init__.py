"""The tray: an icon, a menu and notifications, in a process of its own that is a client of the daemon's API.

`state` is what the daemon last said, `menu`, `icon` and `notices` turn it into what a person sees (pure),
`shell` alone knows pystray. `python -m janagent.tray` is what `janagent tray` becomes: without pydantic,
typer and rich, which would be a third of its memory.
"""
