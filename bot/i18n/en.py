"""English."""

from __future__ import annotations

from functools import partial

import discord

from bot.i18n.catalog import (
    BackfillTexts,
    Counted,
    ErrorTexts,
    ForgettingTexts,
    HelpTexts,
    ImageTagTexts,
    LabelTexts,
    Language,
    MapTexts,
    MentionTexts,
    OverviewTexts,
    PauseTexts,
    PrivacyTexts,
    QueryImageTexts,
    RepostTexts,
    SearchTexts,
    SettingsTexts,
    SetupTexts,
    StatusTexts,
    TaggingTexts,
    Texts,
)
from bot.models import (
    Asked,
    BackfillMode,
    BackfillState,
    MemberWish,
    RepostKind,
    RepostNotice,
    SetupStep,
    Sort,
    Strength,
    TaggingMode,
)

_counted = partial(Counted, "en")

_FOR_GOOD = "For good: `/magpie index` will not bring them back. Messages stay, and later pictures are indexed."
_SETTINGS_STAY = " Settings, labels and members who are left out stay as they are."

ENGLISH = Texts(
    language="en",
    search=SearchTexts(
        query="“{query}”",
        pictures="Pictures",
        similar="Similar pictures",
        found=_counted(one="{count} picture found", other="{count} pictures found"),
        more_than=_counted(one="more than {count} picture found", other="more than {count} pictures found"),
        places="{first}–{last} shown",
        no_matches={
            Asked.WORDS: "No picture matches that.",
            Asked.LIKENESS: "No picture here is similar to that one.",
            Asked.FILTER: "There is no such picture.",
        },
        hint_other_words="Try other words: what is to be seen, in one or a few words.",
        hint_limits="Leave out a condition above.",
        hint_nearest="*Show nearest anyway* shows what comes closest.",
        hint_script="Words in {languages} find more: my model was trained on nothing else.",
        hint_first_answer="New here? `/help` shows what else I can do.",
        these_are_nearest="Nothing matches well enough. These pictures come nearest.",
        nothing_to_search=(
            "There are no indexed pictures that you can see from here. New pictures are searchable a moment after they "
            "are posted."
        ),
        matches_unreachable=(
            "I found something, but Discord didn't answer when I looked it up. Please try again in a moment."
        ),
        more_unreachable=_counted(
            one="One more matched, but Discord didn't answer when I looked it up.",
            other="{count} more matched, but Discord didn't answer when I looked them up.",
        ),
        unverified=(
            "I was restored from a backup, and compare earlier pictures with Discord before I show them. Some are "
            "missing until then."
        ),
        channel_empty="That channel has no indexed pictures that you can see from here.",
        posted="{author} in {channel}, {when}",
        strengths={
            Strength.STRONG: "strong match",
            Strength.FAIR: "fair match",
            Strength.WEAK: "weak match",
        },
        copies=_counted(one="+{count} copy", other="+{count} copies"),
        written="these words are in it",
        alike=_counted(one="+{count} near copy", other="+{count} near copies"),
        copies_once="Copies of a picture are shown once.",
        copies_each="Each copy is shown by itself.",
        no_tags="no tags",
        open_message="Open message",
        picture_number="Picture {number}",
        more_like_this="More like this…",
        previous_page="Previous",
        next_page="Next",
        list_view="List view",
        gallery_view="Gallery view",
        show_near_copies="Show near copies",
        fold_near_copies="Fold near copies",
        show_nearest="Show nearest anyway",
        expired="That answer is more than a day old. Please ask again.",
        image_alt="A picture tagged: {tags}",
        image_alt_without_tags="A picture without tags",
        image_alt_spoiler="A picture under a spoiler",
        only_public="Only pictures that everyone here can see. `/find` and `/similar` show all that you can see.",
        may_not_share=(
            "An answer can be shared only where both you and I may write. Leave out `share` to see it by yourself."
        ),
        in_channel="in {channel}",
        by_author="by {author}",
        since="since {date}",
        until="before {date}",
        with_tag="tagged {tag}",
        like_image="like the picture given",
        without="without “{what}”",
        sorted_by={Sort.BEST: "best match first", Sort.NEWEST: "newest first", Sort.OLDEST: "oldest first"},
        unreadable_date="“{typed}” isn't a date that I understand. Try `2026-03-21`, `3 weeks ago` or `last month`.",
        understood_date="{typed} → {date}",
        often_wanted_dates=("Today", "A week ago", "A month ago", "Three months ago", "A year ago"),
    ),
    query_image=QueryImageTexts(
        exactly_one="Give either `image` or `message`: one picture to compare with.",
        not_a_message_link=(
            "That isn't a link to a message in this server. *Copy Message Link* in a message's menu gives you one."
        ),
        message_not_found="That message doesn't exist, or you can't see it.",
        message_without_image="That message has no picture that I can read.",
        unusable="That file isn't a picture that I can read. I can read JPEG, PNG, WebP, GIF, AVIF, BMP and TIFF.",
        too_large="That picture is too large. The limit is {megabytes} MB.",
        too_many_pixels="That picture has too many pixels. The limit is {pixels} (width × height).",
        unreachable="I couldn't download that picture from Discord. Please try again in a moment.",
        reply_to_an_image=("Reply to a picture, or attach one, and write `@Magpie similar`; or use `/similar`."),
        which_one="That message has several pictures. Which one do you mean?",
        choose="Choose a picture…",
    ),
    tagging=TaggingTexts(
        mode_set="{channel}: {mode}",
        modes={
            TaggingMode.OFF: "off: new pictures are not tagged",
            TaggingMode.SILENT: "silent: tags appear in search results only",
            TaggingMode.REACTION: "reaction: I react to new pictures with their tags' emoji",
            TaggingMode.REPLY: "reply: I reply to new pictures with their tags",
        },
        set_where="**Where something else is set**",
        everywhere="Everywhere: {mode}",
        everywhere_else="Everywhere else: {mode}",
        more_channels=_counted(one="and one more channel", other="and {count} more channels"),
    ),
    labels=LabelTexts(
        of_server="**Labels in this server**",
        of_channel="**Labels in {channel}**",
        own_heading=_counted(other="Own labels ({count})"),
        set_heading=_counted(other="{name} ({count})"),
        without_heading=_counted(other="Left out ({count})"),
        no_labels="There are none, so no picture is tagged. `/labels add` and `/labels use` change that.",
        prompts=_counted(one="{count} prompt", other="{count} prompts"),
        from_score="from {score}",
        elsewhere=_counted(
            one="One channel has labels of its own: {channels}",
            other="{count} channels have labels of their own: {channels}",
        ),
        show_of="Show the labels of …",
        server="This server",
        retagging=_counted(
            one="Earlier pictures are being tagged again: {done} of {count}.",
            other="Earlier pictures are being tagged again: {done} of {count}.",
        ),
        retagging_soon="Earlier pictures are about to be tagged again.",
        page="Page {page} of {pages}",
        previous="Previous",
        next="Next",
        sets={
            "default": "Default: what suits my model best",
            "photographs": "Photographs: everyday things, places and food",
            "memes": "Memes and screenshots",
            "art": "Art: techniques, subjects and styles",
            "animals": "Animals",
            "games": "Games",
            "none": "None: only this server's own labels",
        },
        languages={"en": "English", "zh": "Chinese"},
        imports={"merge": "Add to the labels that there are", "replace": "Replace the labels that there are"},
        added="“{label}” is a label {where} now.",
        changed="The label “{label}” is changed {where}.",
        removed="“{label}” is no label {where} any more.",
        used=_counted(
            one="There is {count} label in use {where} now.", other="There are {count} labels in use {where} now."
        ),
        imported=_counted(
            one="Read. There is {count} label in use {where} now.",
            other="Read. There are {count} labels in use {where} now.",
        ),
        exported=_counted(
            one="{count} own label, and the sets that are used {where}. `/labels import` reads this file.",
            other="{count} own labels, and the sets that are used {where}. `/labels import` reads this file.",
        ),
        in_server="in this server",
        in_channel="in {channel}",
        tagged_again="Earlier pictures are tagged again in the background; `/labels list` shows how far that is.",
        clear_ask="Remove all labels {where}? No picture is tagged there until there are labels again.",
        clear="Remove all",
        cleared="There are no labels {where} any more.",
        reset_ask="Go back to the default labels in this server? Its own labels are lost; `/labels export` saves them.",
        reset_channel_ask="Use the server's labels in {channel} again? Its own are lost; `/labels export` saves them.",
        reset="Go back",
        reset_done="This server uses the default labels again.",
        reset_channel_done="{channel} uses the server's labels again.",
        test_heading="**What the labels {where} score for this picture** (50 is the model's threshold)",
        test_line="{label}: {score} (needs {needed})",
        test_nothing_given="No label scores enough, so the picture would have no tag. The highest are:",
        test_more=_counted(
            one="The file has all of them: {count} label.", other="The file has all of them: {count} labels."
        ),
        problems={
            "no_labels": "That file has no labels. Write one a line, or JSON, or CSV; see what `/labels export` makes.",
            "name": "A label's name has 1 to {limit} characters on one line, without commas or semicolons.",
            "twice": "“{value}” is there twice; it is on line {first}, too.",
            "prompts": "“{value}” has more than {limit} prompts.",
            "prompt": "A prompt has at most {limit} characters.",
            "threshold": "“{value}” is no threshold. Give a whole number from 1 to 99; 50 is usual.",
            "language": "“{value}” is no code of a language, such as `en` or `zh`.",
            "entry": "That is no label: it needs a name, and may have prompts, a threshold and a language.",
            "json": "That is not valid JSON.",
            "no_text": "That is no text. Save the file as UTF-8.",
            "unknown_set": "There is no set “{value}”. `/labels use` offers those that there are.",
            "too_many": "At most {limit} labels can be in use at a time.",
            "too_large": "That file is too large. The limit is 256 KB.",
            "exists": "There already is a label “{value}”.",
            "unknown": "There is no label “{value}”. `/labels list` shows them.",
        },
        on_line="Line {line}: {sentence}",
    ),
    overview=OverviewTexts(
        tags=_counted(
            one="The pictures that you can see have **one** tag:",
            other="The pictures that you can see have **{count}** different tags:",
        ),
        no_tags="You can see no tagged pictures. New pictures are tagged as they are posted.",
        more=_counted(one="and one more tag", other="and {count} more tags"),
        find_by_tag="`/find` and `/browse` show the pictures of a tag: option `tag`.",
        chart_alt="A bar chart of the most frequent tags: {tags}",
    ),
    image_tags=ImageTagTexts(
        heading="**Tags of this picture**",
        heading_of="**Tags of picture {number} of {count}**",
        none="It has no tags.",
        confirmed="✓ confirmed",
        scale="Scores go from 1 to 99; 50 is my model's threshold.",
        alt="The picture with these tags",
        remove="Remove tags; they don't come back by themselves",
        confirm="Confirm tags, so that they stay",
        add="Add a tag",
        name="Tag",
        name_hint="The name of a label, or any other in a few words",
        picture="Picture {number} of {count}",
        not_indexed="I have no picture of that message in my index.",
        too_many="So much has been decided about this picture's tags that I can't note any more.",
    ),
    map=MapTexts(
        newest=_counted(other="The **{count}** newest pictures that you can see, look-alikes together:"),
        all=_counted(other="All **{count}** pictures that you can see, look-alikes together:"),
        alt="A map of pictures in groups, with their tags and numbers: {groups}",
        unnamed="without tags",
        no_spoilers="Of identical files one is shown, and none under a spoiler.",
        missing=_counted(
            one="One more could not be fetched from Discord.", other="{count} more could not be fetched from Discord."
        ),
        too_few="There are too few pictures for a map that you can see from here.",
        unreachable="Discord didn't deliver the pictures for a map. Please try again in a moment.",
    ),
    reposts=RepostTexts(
        modes={
            RepostNotice.OFF: "off: I say nothing of reposts",
            RepostNotice.REACTION: "reaction: I put a ♻️ on pictures that were posted before",
            RepostNotice.REPLY: "reply: I reply with a link to the earlier post",
        },
        within=_counted(one=" (posts of the last day count)", other=" (posts of the last {count} days count)"),
        everywhere="I say nothing of reposts anywhere. `/reposts choose` changes that.",
        everywhere_else="Everywhere else I say nothing of reposts. `/reposts choose` changes that.",
        exempt="I say nothing of what {role} post again.",
        not_exempt="{role} are told of reposts like everybody else.",
        exempt_roles="Not told of are reposts by: {roles}",
        kinds={
            RepostKind.FILE: "The same file was posted {when}: {link}",
            RepostKind.PICTURE: "What seems to be the same picture was posted {when}, as another file: {link}",
            RepostKind.SIMILAR: "A picture that looks much like it was posted {when}: {link}",
        },
        numbered="Picture {number}: {sentence}",
        allow="May be posted again",
        allowed="I'll say no more of this picture, however often it's posted.",
    ),
    privacy=PrivacyTexts(
        explained=(
            "**What I store about a picture posted here:** ids (server, channel, message, file, author), its size, a "
            "hash of the file and one of how it looks, an embedding (numbers that describe what it shows), its tags, "
            "and, where moderators chose so, the words in it. All of it stays on the machine that runs me.\n"
            "**What I don't store:** the picture itself, its name or URL, the text of messages, anyone's name, "
            "searches. Nothing is used to train a model.\n"
            "**How it is deleted:** delete the message or the picture, and its data is deleted with it; the same goes "
            "for threads and channels. When I am removed from the server, everything is deleted. A backup may keep it "
            "for up to 30 days.\n"
            "**Who can find what:** only people who can see a picture in its channel can find it."
        ),
        kept_here=_counted(
            one="I keep the data of **one** picture that you posted in this server,",
            other="I keep the data of **{count}** pictures that you posted in this server,",
        ),
        kept_everywhere=_counted(other="and of **{count}** in all servers that we share."),
        opted_out="You have opted out: I keep nothing of you but your id, and take in none of your pictures anywhere.",
        export="Export my data",
        exported=_counted(
            one="Here is what I keep of your one picture, in all servers that we share.",
            other="Here is what I keep of your {count} pictures, in all servers that we share.",
        ),
        export_too_large="That is more than Discord lets me send. Please ask the bot's operator for it.",
        delete="Delete my data",
        delete_ask=(
            "Delete the data of all the pictures that you posted in this server? Your messages stay as they are. "
            "Pictures that you post later are indexed again."
        ),
        deleted=_counted(
            one="Done. The data of {count} picture was deleted.",
            other="Done. The data of {count} pictures was deleted.",
        ),
        opt_out="Opt out",
        opt_out_ask=(
            "Opt out? The data of your pictures in all servers is deleted, and I take in no picture of yours any more, "
            "anywhere. To know that, I keep your id, and nothing else. Opting in again does not bring them back."
        ),
        opted_out_now=_counted(
            one="Done. The data of {count} picture was deleted, and I take in nothing of yours any more.",
            other="Done. The data of {count} pictures was deleted, and I take in nothing of yours any more.",
        ),
        opt_in="Opt in again",
        opted_in_now="Welcome back. Pictures that you post from now on are indexed; earlier ones are not.",
        back="Back",
        waits=(
            "My database isn't available right now. From now on your pictures are not found any more, and their data "
            "will be deleted as soon as it is. You don't need to do anything else."
        ),
    ),
    mentions=MentionTexts(
        help=(
            "**In a message, answered for everyone who reads it**\n"
            "- `@Magpie find a cat on a sofa`\n"
            "- `@Magpie similar` in reply to a picture, or with one attached: its look-alikes\n"
            "- `@Magpie help`"
        ),
        more_help="`/help` lists all commands.",
        unknown=(
            "I understand `@Magpie find a cat on a sofa`, `@Magpie similar` (in reply to a picture, or with one "
            "attached) and `@Magpie help`."
        ),
        first_of_several=(
            "That message has several pictures; this is about the first. *Find similar pictures* in its menu lets you "
            "choose."
        ),
    ),
    help=HelpTexts(
        introduction=(
            "I remember the pictures that are posted here, and find them again by what they show. You find only what "
            "you could see in its channel, and only you see the answer, unless you share it."
        ),
        for_everybody="**For everybody**",
        menu="*Apps → {name}* in the menu of a message",
        with_permission="**For members with {permission}**",
    ),
    backfill=BackfillTexts(
        nothing_to_read=(
            "There is nothing there that I may read. I need *View Channel* and *Read Message History*, and indexing "
            "must be switched on."
        ),
        already_running="Earlier pictures of this server are being indexed already. One at a time, please.",
        began_here="It has begun. The message in this channel shows the progress, and can pause or cancel it.",
        server="the whole server",
        heading={
            BackfillState.RUNNING: "**Indexing earlier pictures** · {place}",
            BackfillState.PAUSED: "**Indexing earlier pictures is paused** · {place}",
            BackfillState.CANCELLED: "**Indexing earlier pictures was cancelled** · {place}",
            BackfillState.DONE: "**Earlier pictures are indexed** · {place}",
        },
        modes={
            BackfillMode.QUICK: "quick: by Discord's own search for pictures",
            BackfillMode.THOROUGH: "thorough: read every message, which finds link previews and emoji, too",
        },
        listing="Looking for archived threads …",
        counts="**{found}** found · **{done}** done · **{waiting}** waiting · **{failed}** failed",
        messages=_counted(one="{count} message read", other="{count} messages read"),
        messages_expected=_counted(
            one="{messages} of about {count} message with pictures",
            other="{messages} of about {count} messages with pictures",
        ),
        rate=_counted(one="{count} picture a minute", other="{count} pictures a minute"),
        left="about {time} left",
        took="It took {time}.",
        channels=_counted(one="{read} of {count} channel", other="{read} of {count} channels and threads"),
        refused=_counted(
            one="I may not read {count} channel or thread. `/magpie status` says what is missing.",
            other="I may not read {count} channels and threads. `/magpie status` says what is missing.",
        ),
        later=_counted(
            one="{count} picture could not be downloaded yet and is tried again later.",
            other="{count} pictures could not be downloaded yet and are tried again later.",
        ),
        reads_history="Discord's search was not available, so I read the messages one by one.",
        waits_for_discord="Discord doesn't answer, or is still preparing its search. I'll try again.",
        server_paused="Indexing is paused in this server. `/magpie resume` goes on.",
        pause="Pause",
        resume="Resume",
        cancel="Cancel",
    ),
    forgetting=ForgettingTexts(
        channel_ask=_counted(
            one="Forget the {count} picture that was posted in {channel} and its threads until now? " + _FOR_GOOD,
            other="Forget the {count} pictures that were posted in {channel} and its threads until now? " + _FOR_GOOD,
        ),
        server_ask=_counted(
            one="Forget the {count} picture that was posted in this server until now? " + _FOR_GOOD + _SETTINGS_STAY,
            other="Forget all {count} pictures that were posted here until now? " + _FOR_GOOD + _SETTINGS_STAY,
        ),
        member_ask=_counted(
            one="Forget the {count} picture that {member} posted in this server until now? " + _FOR_GOOD,
            other="Forget the {count} pictures that {member} posted in this server until now? " + _FOR_GOOD,
        ),
        leave_out_ask=_counted(
            one="Forget the {count} picture of {member} in this server, and index none that they post from now on? "
            "`/magpie forget member` lets them in again.",
            other="Forget the {count} pictures of {member} in this server, and index none that they post from now on? "
            "`/magpie forget member` lets them in again.",
        ),
        message_ask=_counted(
            one="Forget the picture of this message for good? {link}\nThe message stays as it is.",
            other="Forget all {count} pictures of this message for good? {link}\nThe message stays as it is.",
        ),
        wishes={
            MemberWish.FORGET: "forget: delete what I keep of their pictures until now",
            MemberWish.LEAVE_OUT: "leave out: forget, and index nothing that they post later",
            MemberWish.LET_IN: "let in: index again what they post from now on",
        },
        forget=_counted(one="Forget {count} picture", other="Forget {count} pictures"),
        leave_out="Leave out",
        only_one="Or forget only one of them",
        picture="Picture {number}: {tags}",
        done=_counted(one="Done. {count} picture was forgotten.", other="Done. {count} pictures were forgotten."),
        waits=(
            "My database isn't available right now. From now on nobody finds these pictures, and they will be deleted "
            "as soon as it is. You don't need to do anything else."
        ),
        member_let_in="What {member} posts from now on is indexed.",
        member_not_out="{member} was not left out.",
    ),
    pause=PauseTexts(
        paused=(
            "Paused. I take in no new pictures of this server. What is posted meanwhile is not lost: I read it after "
            "`/magpie resume`. Searches and deletions work as always."
        ),
        resumed="Indexing goes on. What was posted meanwhile is being read now.",
        already_paused="Indexing is paused already. `/magpie resume` goes on.",
        not_paused="Indexing is not paused.",
    ),
    status=StatusTexts(
        heading="**Magpie in this server**",
        searchable=_counted(one="**{count}** picture can be found", other="**{count}** pictures can be found"),
        waiting=_counted(one="**{count}** is waiting to be indexed", other="**{count}** are waiting to be indexed"),
        time_left="about {time} at the present speed",
        given_up=_counted(one="**{count}** was given up: {reasons}", other="**{count}** were given up: {reasons}"),
        reason="{reason} ({count})",
        reasons={
            "too_large": "too many megabytes",
            "too_many_bytes": "too many megabytes",
            "too_many_pixels": "too many pixels",
            "too_many_frames": "too many frames",
            "too_costly": "takes too much time or memory to decode",
            "empty": "empty file",
            "broken": "damaged file",
            "unknown_format": "not a picture that I can read",
            "unsupported_format": "not a picture that I can read",
            "forbidden": "in a place that I may not read",
            "unreachable": "could not be downloaded",
            "encoding_failed": "the model failed on it",
            "queue_full": "I was too busy",
            "interrupted": "I was stopped each time I tried",
        },
        reason_unexpected="an error of mine, which the log explains",
        being_compared=_counted(
            one="**{count}** comes from a backup and is shown again once I have found it in Discord",
            other="**{count}** come from a backup and are shown again once I have found them in Discord",
        ),
        unread=_counted(
            one="The words in **{count}** picture are yet to be recognized.",
            other="The words in **{count}** pictures are yet to be recognized.",
        ),
        by_channel="**Where they are:** {channels}",
        channel="{channel} {count}",
        more_channels=_counted(one="and one more channel", other="and {count} more channels"),
        elsewhere=_counted(one="{count} where you can't look", other="{count} where you can't look"),
        unreadable="**I may not read**",
        lacks="{channel}: I need *{permissions}*",
        unreadable_elsewhere=_counted(
            one="one more channel, which you can't see", other="{count} more channels, which you can't see"
        ),
        all_readable="I may read every channel that is to be indexed.",
        next_model=(
            "I'm changing to another model: it has looked at {percent}% of all pictures. "
            "Until it's done, the present one answers."
        ),
        model="**Model:** `{model}` on the {device}",
        on_cpu="CPU",
        on_gpu="GPU",
        rate=_counted(one="{count} picture a minute", other="{count} pictures a minute"),
        query_time="a search takes {milliseconds} ms",
        shared="Speeds of the last five minutes, over all servers that I work for.",
        growth_alt=(
            "A line chart: pictures by the day on which they were posted, from {first} to {last}. All in all: {total}; "
            "in the last 30 days: {recent}."
        ),
        refresh="Refresh",
    ),
    setup=SetupTexts(
        heading="**Setting up Magpie** · {step} of {steps} · {title}",
        titles={
            SetupStep.RIGHTS: "What I may do",
            SetupStep.CHANNELS: "Channels",
            SetupStep.TAGS: "Announcements",
            SetupStep.LABELS: "Labels",
            SetupStep.EARLIER: "Earlier pictures",
            SetupStep.DONE: "Summary",
        },
        applied="-# Each choice holds at once. You can stop anywhere, and come back with `/magpie setup`.",
        all_rights="I have every permission that I need.",
        some_rights=(
            "I lack some permissions. *Server Settings → Roles* gives them everywhere, *Edit Channel → Permissions* in "
            "one channel. Where you don't want me, nothing needs to be done."
        ),
        right="- **{permission}** {use}: {where}",
        uses={
            "view_channel": "to see what is posted",
            "read_message_history": "to read what was posted, and to find its pictures again",
            "connect": "to read the messages of a voice channel, for which Discord wants it",
            "send_messages": "to answer when I am mentioned, to reply with tags, and to show how indexing gets on",
            "send_messages_in_threads": "to do so in threads",
            "embed_links": "to show pictures in answers that everybody sees",
            "attach_files": "to show charts in answers that everybody sees",
            "add_reactions": "to react to new pictures with their tags' emoji",
        },
        everywhere="everywhere",
        hidden=_counted(one="one channel that you can't see", other="{count} channels that you can't see"),
        channels_ask="I index the pictures of every channel that I may read. Which ones shall I leave out?",
        choose_off="Channels to leave out …",
        too_many_off="There are more of them than this menu holds: `/magpie settings` sets single channels.",
        tags_ask=(
            "I tag new pictures, so that they can be found by their tags. Shall I show the tags in the channel, too? "
            "Choose how, and then where. Nobody is notified."
        ),
        choose_mode="How …",
        choose_where="In which channels …",
        labels_ask=(
            "Which sets of labels shall I tag pictures with? Several can be used together. `/labels add` adds labels "
            "of your own."
        ),
        choose_sets="Sets of labels …",
        earlier_ask=(
            "I remember what is posted from the day that I joined. Shall I look through what was posted before, too? "
            "That goes on in the background, even after a restart, and new pictures go first."
        ),
        start={
            BackfillMode.QUICK: "Look quickly, by Discord's search",
            BackfillMode.THOROUGH: "Look thoroughly, at every message",
        },
        has_begun="It has begun. `/magpie status` shows how it gets on.",
        done=(
            "That is all. `/find a cat on a sofa` finds pictures, and `/help` says what else there is. "
            "`/magpie settings`, `/tagging` and `/labels` set single channels."
        ),
        back="Back",
        next="Next",
        check_again="Check again",
        to_status="Status",
    ),
    settings=SettingsTexts(
        heading="Settings of this server",
        this_server="this server",
        server_on="Indexing is on.",
        server_paused="Indexing is paused. `/magpie resume` goes on.",
        new_channels_on="New channels are indexed.",
        new_channels_off="New channels are not indexed.",
        index_new="Index new channels",
        leave_out_new="Don't index new channels",
        words_read="Words in pictures are recognized and kept: `/find` finds a picture by what is written in it.",
        words_not_read="Words in pictures are not recognized.",
        read_words="Recognize words in pictures",
        forget_words="Stop, and delete the recognized words",
        kept_for_good="Pictures are kept for good.",
        kept_days=_counted(one="Pictures are kept for {count} day.", other="Pictures are kept for {count} days."),
        as_server=" That is what the server chose.",
        off_in="Not indexed: {channels}",
        kept_otherwise_in="Kept otherwise: {channels}",
        hidden=_counted(
            one="{count} channel that you can't see has a setting of its own.",
            other="{count} channels that you can't see have settings of their own.",
        ),
        left_out="Members left out: {members} (`/magpie forget member` lets them in)",
        and_more=_counted(one="and {count} more", other="and {count} more"),
        elsewhere="How tags are announced: `/tagging`. Which labels there are: `/labels`.",
        choose_channel="Settings of one channel …",
        choose_days="How long pictures are kept …",
        for_good="for good",
        days=_counted(one="{count} day", other="{count} days"),
        like_server="as the server",
        channel_on="New pictures are indexed.",
        channel_off="New pictures are not indexed. Those that are there stay searchable until you have them forgotten.",
        announced="Tags: {mode} (`/tagging`)",
        pictures=_counted(one="{count} picture is stored.", other="{count} pictures are stored."),
        switch_on="Index new pictures",
        switch_off="Don't index new pictures",
        expire_ask=_counted(
            one="{count} picture in {place} is older than {days} and would be deleted. Its message stays.",
            other="{count} pictures in {place} are older than {days} and would be deleted. Their messages stay.",
        ),
        expire=_counted(one="Delete {count} picture", other="Delete {count} pictures"),
        back="Back",
    ),
    errors=ErrorTexts(
        store_failed=(
            "My database isn't available right now, and nothing was changed. Please try again in a few minutes; if it "
            "persists, tell the bot's operator."
        ),
        not_yours="That belongs to someone else's answer. Use the command yourself to get your own.",
        outdated="That button is from another version of mine. Please use the command again.",
        needs_permission="You need the *{permission}* permission for that.",
        permissions={
            "manage_guild": "Manage Server",
            "manage_messages": "Manage Messages",
            "view_channel": "View Channel",
            "read_message_history": "Read Message History",
            "connect": "Connect",
            "send_messages": "Send Messages",
            "send_messages_in_threads": "Send Messages in Threads",
            "embed_links": "Embed Links",
            "attach_files": "Attach Files",
            "add_reactions": "Add Reactions",
        },
        only_in_servers="That works in servers only.",
        on_cooldown="You're going too fast. Try again in {seconds} s.",
        busy="I'm busy with many pictures right now. Please try again in a minute.",
        took_too_long="That took too long. Please try again.",
        unknown_channel="That channel doesn't exist, or I can't see it. If it is an archived thread, open it first.",
        invalid_option="That value isn't valid. Choose one of the suggestions and try again.",
        failed="Something went wrong on my side. If it persists, give the bot's operator this ID: `{id}`",
    ),
)

LANGUAGE = Language((discord.Locale.american_english, discord.Locale.british_english), ENGLISH, commands={})
