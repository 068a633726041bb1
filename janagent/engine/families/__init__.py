"""How families of models write calls and thoughts: one small parser a family, told by the chat template."""
