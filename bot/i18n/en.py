"""English."""

from __future__ import annotations

from bot.i18n.catalog import Texts

ENGLISH = Texts(
    found_for_query="**{count}** found for “{query}”",
    found_alike="Look-alikes found: **{count}**",
    nothing_alike="Nothing like that here. Other words may find it.",
    nothing_looks_alike="Nothing here looks like that picture.",
    nothing_to_search=(
        "I remember no pictures yet that you could see from here. New ones are searchable a moment after they "
        "are posted."
    ),
    match="**{percent}%**",
    posted="{author} in {channel}, {when}",
    no_tags="no tags",
    open_message="Open message",
    more_like_this="More like this",
    image_alt="A picture tagged: {tags}",
    image_alt_without_tags="A picture without tags",
    only_public="Only pictures that everyone here may see. `/similar` shows you all that you may see.",
    give_image_or_message="Give me a picture to compare with: either `image` or `message`, one of the two.",
    not_a_link_here=(
        "That is not a link to a message of this server. *Copy Message Link* in a message's menu gives one."
    ),
    message_not_found="I cannot find that message, or you may not see it.",
    message_without_image="That message carries no picture that I can read.",
    image_unusable="I cannot read that file as a picture. JPEG, PNG, WebP, GIF, AVIF, BMP and TIFF work.",
    image_too_large="That picture is too large. I take up to {megabytes} MB.",
    image_too_many_pixels="That picture has too many pixels. I take up to {pixels} (width × height).",
    image_unreachable="Discord did not give me that picture just now. Please try again in a moment.",
    reply_to_an_image="Reply to a message with a picture, mention me and say “similar”; or use `/similar`.",
    channel_empty="I remember no pictures of that channel that you could see from here.",
    tagging_set="{channel}: {mode}",
    mode_off="new pictures are not tagged.",
    mode_silent="new pictures are tagged quietly; tags show in search results.",
    mode_reaction="new pictures are tagged, and I react with the tags' emoji.",
    mode_reply="new pictures are tagged, and I reply with the tags.",
    announced_tags="🏷️ {tags}",
    labels_default="This server tags with the {count} labels that I came with:\n{labels}",
    labels_own="This server tags with {count} labels of its own:\n{labels}",
    label_added="New pictures can now be tagged “{label}”.",
    label_known="“{label}” is already among the labels.",
    label_removed="New pictures are no longer tagged “{label}”.",
    label_unknown="There is no label “{label}”. `/labels list` shows them.",
    label_bad="Give me one label at a time: 1 to {most} characters on one line, without commas.",
    labels_full="There are already {most} labels. Remove one first.",
    labels_reset="Done. This server tags again with the labels that I came with.",
    privacy=(
        "**What I keep of a picture posted here:** ids (server, channel, message, file, author), its size, a "
        "hash of the file, "
        "a list of numbers that says what it looks like, and its tags. All of it stays on the machine that runs me.\n"
        "**What I do not keep:** the picture, its name or address, the text of messages, anyone's name, what was "
        "searched. "
        "Nothing is used to train a model.\n"
        "**How it goes away:** delete the message or the picture, and what I know goes with it; the same for "
        "threads and channels. "
        "`/forget-me` deletes what I keep of all the pictures you posted in this server. When I am removed from "
        "the server, everything goes.\n"
        "**Who finds what:** only people who can see a picture in its channel can find it."
    ),
    forget_me_ask=(
        "Shall I delete everything that I keep of the pictures you posted in this server? Your messages stay as "
        "they are. "
        "Pictures that you post later will be remembered again."
    ),
    forget_me_confirm="Delete it",
    forget_me_done="Done. Pictures forgotten: {count}.",
    not_your_button="This button belongs to someone else. `/forget-me` gives you your own.",
    needs_manage_server="You need the *Manage Server* permission for that.",
    only_in_servers="That works in servers only.",
    too_fast="One at a time, please: try again in {seconds} s.",
    busy="I am busy with many pictures right now. Please try again in a minute.",
    unknown_channel="I do not know that channel, or may not see it. If it is an archived thread, open it first.",
    unknown_option="I cannot use what you gave me there. Please choose from what Discord offers, and try again.",
    went_wrong=(
        "That did not work, and it is not your fault. The person who runs me finds the reason in the log under {id}."
    ),
)
