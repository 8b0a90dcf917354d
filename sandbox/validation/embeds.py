"""The limits of classic embeds."""

from __future__ import annotations

from sandbox.validation.forms import Form
from sandbox.world import Json

MAX_TOTAL = 6000


def check_embeds(form: Form) -> list[Json]:
    """The `embeds` of a message, each marked as rich, as Discord gives them back."""
    total = 0
    found: list[Json] = []
    for embed in form.forms("embeds", high=10) or []:
        total += _check(embed)
        found.append({**embed.body, "type": "rich"})
    if total > MAX_TOTAL:
        message = f"Embed size exceeds maximum size of {MAX_TOTAL}"
        form.complain("embeds", "MAX_EMBED_SIZE_EXCEEDED", message)
    return found


def _check(embed: Form) -> int:
    texts = [embed.text("title", high=256), embed.text("description", high=4096)]
    for name, part, high in (("footer", "text", 2048), ("author", "name", 256)):
        inner = embed.form(name)
        if inner is not None:
            texts.append(inner.text(part, low=1, high=high, required=True))
    for field in embed.forms("fields", high=25) or []:
        texts.append(field.text("name", low=1, high=256, required=True))
        texts.append(field.text("value", low=1, high=1024, required=True))
    return sum(len(t) for t in texts if t)
