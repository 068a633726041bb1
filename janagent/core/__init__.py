"""The pure heart: what should run, decided from events. No I/O, no clock, no asyncio. See README.md here."""
