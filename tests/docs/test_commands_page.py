from __future__ import annotations

from tools.commands_page import PAGE, commands_page


async def test_the_page_about_commands_is_what_discord_is_told() -> None:
    assert PAGE.read_text(encoding="utf-8") == await commands_page(), "run: make commands"


async def test_every_command_has_one_heading() -> None:
    headings = [line for line in (await commands_page()).splitlines() if line.startswith("#")]
    assert len(headings) == len({*headings})
