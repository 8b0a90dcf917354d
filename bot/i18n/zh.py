"""Simplified Chinese."""

from __future__ import annotations

from functools import partial

import discord

from bot.i18n.catalog import (
    BackfillTexts,
    Counted,
    ErrorTexts,
    ForgettingTexts,
    HelpTexts,
    LabelTexts,
    Language,
    OverviewTexts,
    PauseTexts,
    PrivacyTexts,
    QueryImageTexts,
    SearchTexts,
    TaggingTexts,
    Texts,
)
from bot.models import BackfillMode, BackfillState, MemberWish, Sort, TaggingMode

_counted = partial(Counted, "zh")

_FOR_GOOD = "这是永久的：`/magpie index` 也不会恢复。消息本身不会改变，以后发布的图片仍会被收录。"

CHINESE = Texts(
    language="zh",
    search=SearchTexts(
        found_for_query=_counted(other="“{query}”：找到 **{count}** 张"),
        similar_found=_counted(other="相似的图片：**{count}** 张"),
        no_matches="没有符合的图片。换个说法也许能找到。",
        no_similar="这里没有和它相似的图片。",
        nothing_to_search="这里还没有你能看到的、已收录的图片。新图片发出后稍等片刻就能搜到。",
        matches_unreachable="找到了图片，但向 Discord 查询时没有得到回应，请稍后再试。",
        more_unreachable=_counted(other="另有 {count} 张符合，但向 Discord 查询时没有得到回应。"),
        unverified="我刚从备份中恢复，以前的图片要先在 Discord 核对过才会显示，有些还没有核对完。",
        channel_empty="那个频道里没有你在这里能看到的、已收录的图片。",
        posted="{author} 发布于 {channel}，{when}",
        no_tags="无标签",
        open_message="打开消息",
        more_like_this="找相似",
        image_alt="图片，标签：{tags}",
        image_alt_without_tags="没有标签的图片",
        image_alt_spoiler="剧透遮盖的图片",
        only_public="这里只列出本频道所有人都能看到的图片。用 `/similar` 可以看到你有权查看的全部结果。",
        newest_pictures="图片",
        in_channel="在 {channel}",
        by_author="{author} 发布",
        since="{date} 起",
        until="{date} 之前",
        with_tag="标签：{tag}",
        sorted_by={Sort.BEST: "最符合的在前", Sort.NEWEST: "最新的在前", Sort.OLDEST: "最早的在前"},
        unreadable_date="我看不懂日期“{typed}”。可以写 `2026-03-21`、`三周前` 或 `上个月`。",
        understood_date="{typed} → {date}",
        often_wanted_dates=("今天", "一周前", "一个月前", "三个月前", "一年前"),
    ),
    query_image=QueryImageTexts(
        exactly_one="请给出一张用来比较的图片：`image` 或 `message`，二选一。",
        not_a_message_link="这不是本服务器的消息链接。消息菜单里的“复制消息链接”可以得到它。",
        message_not_found="这条消息不存在，或者你无权查看。",
        message_without_image="这条消息里没有我能读取的图片。",
        unusable="我无法把这个文件当作图片读取。支持 JPEG、PNG、WebP、GIF、AVIF、BMP 和 TIFF。",
        too_large="这张图片太大了，最大 {megabytes} MB。",
        too_many_pixels="这张图片的像素太多，最多 {pixels} 像素（宽 × 高）。",
        unreachable="暂时无法从 Discord 下载这张图片，请稍后再试。",
        reply_to_an_image="请回复一条带图片的消息，提到我并写“相似”；也可以使用 `/similar`。",
    ),
    tagging=TaggingTexts(
        mode_set="{channel}：{mode}",
        modes={
            TaggingMode.OFF: "关闭：不给新图片加标签",
            TaggingMode.SILENT: "安静：标签只显示在搜索结果里",
            TaggingMode.REACTION: "反应：用标签的表情符号回应新图片",
            TaggingMode.REPLY: "回复：用回复写出新图片的标签",
        },
        set_where="**另行设置的频道**",
        everywhere_else="其他频道：{mode}",
        more_channels=_counted(other="以及另外 {count} 个频道"),
    ),
    labels=LabelTexts(
        of_server="**本服务器的标签**",
        of_channel="**{channel} 的标签**",
        own_heading=_counted(other="自己的标签（{count}）"),
        set_heading=_counted(other="{name}（{count}）"),
        without_heading=_counted(other="不使用的（{count}）"),
        no_labels="没有标签，所以不会给图片加标签。用 `/labels add` 或 `/labels use` 可以添加。",
        prompts=_counted(other="{count} 条描述"),
        from_score="{score} 分起",
        elsewhere=_counted(other="有 {count} 个频道使用自己的标签：{channels}"),
        show_of="查看哪里的标签…",
        server="本服务器",
        retagging=_counted(other="正在给以前的图片重新加标签：已完成 {done} / {count}。"),
        retagging_soon="即将给以前的图片重新加标签。",
        page="第 {page} / {pages} 页",
        previous="上一页",
        next="下一页",
        sets={
            "default": "默认：最适合我的模型的标签",
            "photographs": "照片：日常事物、地点和食物",
            "memes": "梗图和截图",
            "art": "艺术：技法、题材和风格",
            "animals": "动物",
            "games": "游戏",
            "none": "无：只用本服务器自己的标签",
        },
        languages={"en": "英语", "zh": "中文"},
        imports={"merge": "加到现有的标签里", "replace": "替换现有的标签"},
        added="标签“{label}”已添加（{where}）。",
        changed="标签“{label}”已修改（{where}）。",
        removed="标签“{label}”已移除（{where}）。",
        used=_counted(other="现在使用 {count} 个标签（{where}）。"),
        imported=_counted(other="已导入，现在使用 {count} 个标签（{where}）。"),
        exported=_counted(
            other="{count} 个自己的标签，以及所用的标签集（{where}）。`/labels import` 可以读取这个文件。"
        ),
        in_server="本服务器",
        in_channel="{channel}",
        tagged_again="以前的图片会在后台重新加标签，`/labels list` 可以看到进度。",
        clear_ask="要移除全部标签吗（{where}）？再次添加标签之前，不会给那里的图片加标签。",
        clear="全部移除",
        cleared="标签已全部移除（{where}）。",
        reset_ask="要让本服务器恢复默认标签吗？自己的标签会丢失，可以先用 `/labels export` 保存。",
        reset_channel_ask="要让 {channel} 重新使用服务器的标签吗？它自己的标签会丢失，可以先用 `/labels export` 保存。",
        reset="恢复",
        reset_done="本服务器重新使用默认的标签。",
        reset_channel_done="{channel} 重新使用服务器的标签。",
        test_heading="**各个标签给这张图片的分数（{where}）**，50 是模型的门槛",
        test_line="{label}：{score}（需要 {needed}）",
        test_nothing_given="没有标签达到所需的分数，所以这张图片不会有标签。分数最高的是：",
        test_more=_counted(other="文件里有全部 {count} 个标签的分数。"),
        problems={
            "no_labels": "这个文件里没有标签。请每行写一个，或使用 JSON、CSV；`/labels export` 可以生成示例。",
            "name": "标签名称为一行，1 到 {limit} 个字符，不含逗号和分号。",
            "twice": "“{value}”重复了，第 {first} 行已经有它。",
            "prompts": "“{value}”的描述超过 {limit} 条。",
            "prompt": "一条描述最多 {limit} 个字符。",
            "threshold": "“{value}”不是有效的门槛。请填 1 到 99 的整数，通常是 50。",
            "language": "“{value}”不是语言代码，例如 `en` 或 `zh`。",
            "entry": "这不是标签：它要有名称，还可以有描述、门槛和语言。",
            "json": "这不是有效的 JSON。",
            "no_text": "这不是文本，请把文件保存为 UTF-8。",
            "unknown_set": "没有标签集“{value}”。`/labels use` 会列出可用的标签集。",
            "too_many": "同时最多使用 {limit} 个标签。",
            "too_large": "这个文件太大了，最大 256 KB。",
            "exists": "标签“{value}”已经有了。",
            "unknown": "没有标签“{value}”。用 `/labels list` 查看全部标签。",
        },
        on_line="第 {line} 行：{sentence}",
    ),
    overview=OverviewTexts(
        tags=_counted(other="你能看到的图片共有 **{count}** 种标签："),
        no_tags="没有你能看到的、带标签的图片。新图片发布时会加上标签。",
        chart_alt="条形图，最常见的标签：{tags}",
    ),
    privacy=PrivacyTexts(
        explained=(
            "**我为这里发布的图片保存什么：** 编号（服务器、频道、消息、文件、作者）、尺寸、文件的哈希值、"
            "一组描述画面的数字，以及标签。"
            "这些都留在运行我的那台机器上。\n"
            "**我不保存什么：** 图片本身、文件名和地址、消息文字、任何人的名字、搜索过的内容。"
            "这些也不会用来训练模型。\n"
            "**怎样删除：** 删除消息或图片，它的数据也随之删除；删除子区和频道也一样。"
            "把我移出服务器，一切都会删除。备份里的数据最多再保留 30 天。\n"
            "**谁能找到什么：** 只有能在原频道看到图片的人才能找到它。"
        ),
        kept_here=_counted(other="你在本服务器发布的图片中，我保存了 **{count}** 张的数据；"),
        kept_everywhere=_counted(other="在我们共同的所有服务器里，一共 **{count}** 张。"),
        opted_out="你已选择退出：除了你的编号，我不保存你的任何数据，也不再收录你的图片。",
        export="导出我的数据",
        exported=_counted(other="这是我在我们共同的所有服务器里保存的、关于你的 {count} 张图片的数据。"),
        export_too_large="数据太多，Discord 不允许我发送。请向机器人的管理者索取。",
        delete="删除我的数据",
        delete_ask="要删除你在本服务器发布的全部图片的数据吗？你的消息不会改变。以后发布的图片仍会被收录。",
        deleted=_counted(other="完成。已删除 {count} 张图片的数据。"),
        opt_out="退出收录",
        opt_out_ask=(
            "要退出收录吗？你在所有服务器里的图片的数据会被删除，以后我也不再收录你的任何图片。"
            "为了记住这一点，我只保留你的编号。"
        ),
        opted_out_now=_counted(other="完成。已删除 {count} 张图片的数据，以后我不再收录你的任何图片。"),
        opt_in="重新加入",
        opted_in_now="欢迎回来。从现在起，你发布的图片会被收录；以前的不会。",
        back="返回",
        waits=(
            "我的数据库现在不可用。从现在起，没有人会再搜到你的图片；数据库一恢复，它们的数据就会被删除。"
            "你不需要再做什么。"
        ),
    ),
    help=HelpTexts(
        introduction=(
            "我会记住这里发布的图片，按内容再把它们找出来。你只能找到自己在原频道里能看到的图片，你的提问也只有你能看到。\n"
            "在消息里写 `@Magpie 找 沙发上的猫`，所有人都能看到回答；"
            "回复一张图片并写 `@Magpie 相似`，可以找到和它相似的图片。\n\n**所有人都可以使用**"
        ),
        menu="消息菜单里的“应用 → {name}”",
        with_permission="**需要“{permission}”权限**",
    ),
    backfill=BackfillTexts(
        nothing_to_read="那里没有我能读取的内容。我需要“查看频道”和“读取消息历史”权限，并且那里的收录必须是开启的。",
        already_running="本服务器以前的图片正在收录，一次只能进行一项。",
        began_here="已经开始。本频道里的消息会显示进度，也可以在那里暂停或取消。",
        server="整个服务器",
        heading={
            BackfillState.RUNNING: "**正在收录以前的图片** · {place}",
            BackfillState.PAUSED: "**收录以前的图片已暂停** · {place}",
            BackfillState.CANCELLED: "**收录以前的图片已取消** · {place}",
            BackfillState.DONE: "**以前的图片已收录** · {place}",
        },
        modes={
            BackfillMode.QUICK: "快速：用 Discord 自己的搜索查找图片",
            BackfillMode.THOROUGH: "彻底：逐条读取消息，链接预览也能找到",
        },
        listing="正在查找已归档的子区……",
        counts="找到 **{found}** · 完成 **{done}** · 等待 **{waiting}** · 失败 **{failed}**",
        messages=_counted(other="已读取 {count} 条消息"),
        messages_expected=_counted(other="约 {count} 条带图片的消息中的 {messages} 条"),
        rate=_counted(other="每分钟 {count} 张"),
        left="大约还需 {time}",
        took="用时 {time}。",
        channels=_counted(other="{count} 个频道和子区中的 {read} 个"),
        refused=_counted(other="有 {count} 个频道或子区我无权读取，`/magpie status` 会说明缺少什么权限。"),
        later=_counted(other="有 {count} 张图片暂时无法下载，稍后会再试。"),
        reads_history="Discord 的搜索不可用，所以我逐条读取消息。",
        waits_for_discord="Discord 没有回应，或者还在准备搜索，我会再试。",
        server_paused="本服务器的收录已暂停，用 `/magpie resume` 继续。",
        pause="暂停",
        resume="继续",
        cancel="取消",
    ),
    forgetting=ForgettingTexts(
        channel_ask=_counted(other="要忘记到现在为止在 {channel} 及其子区发布的 {count} 张图片吗？" + _FOR_GOOD),
        server_ask=_counted(
            other="要忘记到现在为止在本服务器发布的全部 {count} 张图片吗？"
            + _FOR_GOOD
            + "设置、标签和被排除的成员保持不变。"
        ),
        member_ask=_counted(other="要忘记 {member} 到现在为止在本服务器发布的 {count} 张图片吗？" + _FOR_GOOD),
        leave_out_ask=_counted(
            other="要忘记 {member} 在本服务器的 {count} 张图片，并且以后不再收录其发布的图片吗？"
            "用 `/magpie forget member` 可以恢复收录。"
        ),
        message_ask=_counted(other="要永久忘记这条消息的 {count} 张图片吗？{link}\n消息本身不会改变。"),
        wishes={
            MemberWish.FORGET: "忘记：删除到现在为止其图片的数据",
            MemberWish.LEAVE_OUT: "排除：忘记，并且以后不再收录其图片",
            MemberWish.LET_IN: "恢复：从现在起重新收录其图片",
        },
        forget=_counted(other="忘记 {count} 张图片"),
        leave_out="排除",
        only_one="或者只忘记其中一张",
        picture="第 {number} 张：{tags}",
        done=_counted(other="完成。已忘记 {count} 张图片。"),
        waits="我的数据库现在不可用。从现在起没有人会再搜到这些图片；数据库一恢复，它们就会被删除。你不需要再做什么。",
        member_let_in="从现在起会重新收录 {member} 发布的图片。",
        member_not_out="{member} 没有被排除。",
    ),
    pause=PauseTexts(
        paused=(
            "已暂停。我不再收录本服务器的新图片。这期间发布的图片不会丢失：`/magpie resume` 之后我会读取它们。"
            "搜索和删除照常进行。"
        ),
        resumed="收录继续进行，正在读取这期间发布的内容。",
        already_paused="收录已经暂停，用 `/magpie resume` 继续。",
        not_paused="收录没有暂停。",
    ),
    errors=ErrorTexts(
        store_failed="我的数据库现在不可用，什么也没有改动。请过几分钟再试；如果一直这样，请告诉机器人的管理者。",
        not_yours="这是别人的回答里的按钮。请自己使用命令。",
        outdated="这个按钮来自另一个版本，请重新使用命令。",
        needs_permission="这需要“{permission}”权限。",
        permissions={"manage_guild": "管理服务器", "manage_messages": "管理消息"},
        only_in_servers="只能在服务器里使用。",
        on_cooldown="请慢一点：{seconds} 秒后再试。",
        busy="我正忙着处理很多图片，请一分钟后再试。",
        took_too_long="花的时间太长了，请再试一次。",
        unknown_channel="这个频道不存在，或者我无权查看。如果它是已归档的子区，请先打开它。",
        invalid_option="这个值无效。请从给出的选项中选择，然后重试。",
        failed="我这边出了问题。如果一直这样，请把编号 `{id}` 告诉机器人的管理者。",
    ),
)

COMMANDS = {
    "find": "找图",
    "Find pictures by what they show": "按内容查找图片",
    "query": "内容",
    "What the picture shows, in a few words": "用几个词说明图片里有什么",
    "channel": "频道",
    "Only pictures in this channel": "只看这个频道的图片",
    "Only pictures in this channel or category": "只找这个频道或分类的图片",
    "author": "作者",
    "Only pictures that this member posted": "只找这个成员发布的图片",
    "after": "起始",
    "Only pictures since then: a date, or 3 weeks ago": "只找从这时起的图片：日期，或“三周前”",
    "before": "截止",
    "Only pictures from before then: a date, or 3 weeks ago": "只找在这之前的图片：日期，或“三周前”",
    "tag": "标签",
    "Only pictures with this tag": "只找有这个标签的图片",
    "sort": "排序",
    "What comes first; by default, the best match": "哪些图片在前；默认是最符合的",
    "browse": "浏览",
    "Look through pictures by who posted them, when, and how they are tagged": "按作者、时间和标签浏览图片",
    "What comes first; by default, the newest": "哪些图片在前；默认是最新的",
    "similar": "相似",
    "Find pictures similar to one that you give": "查找与给出的图片相似的图片",
    "image": "图片",
    "The picture to compare with": "用来比较的图片",
    "message": "消息",
    "A link to a message with a picture": "带图片的消息链接",
    "Find similar pictures": "查找相似图片",
    "privacy": "隐私",
    "What Magpie keeps of you; export or delete it, or opt out": "Magpie 保存你的哪些数据；导出、删除或退出",
    "tags": "统计",
    "What the pictures here show: their tags, counted": "这里的图片有哪些内容：各种标签的数量",
    "help": "帮助",
    "What Magpie can do, and who may use what": "Magpie 能做什么，谁可以使用什么",
    "tagging": "标签方式",
    "See or choose how channels' new pictures are tagged": "查看或选择各频道怎样给新图片加标签",
    "mode": "方式",
    "What happens when a picture is posted; without it, you see what is set where": (
        "发布图片时怎样做；不填则显示各处的设置"
    ),
    "The channel; by default, this one": "频道；默认为当前频道",
    "labels": "标签",
    "The labels that this server's pictures are tagged with": "本服务器给图片加标签所用的词",
    "list": "列表",
    "See which labels are in use, and where": "查看各处使用哪些标签",
    "The labels that apply in this channel; by default, those of the server": "这个频道使用的标签；默认为服务器的标签",
    "add": "添加",
    "Add a label, or change one of that name": "添加标签，或修改同名的标签",
    "prompts": "描述",
    "What such a picture shows, in phrases with ; between them": "这类图片里有什么：几个短语，用分号隔开",
    "threshold": "门槛",
    "The score from 1 to 99 that a picture needs; 50 is usual, more is stricter": (
        "图片需要达到的分数，1 到 99；通常是 50，越高越严格"
    ),
    "language": "语言",
    "Readers of this language see the tag first": "使用这种语言的人会先看到这个标签",
    "Only for this channel and its threads": "只用于这个频道和它的子区",
    "remove": "移除",
    "Remove a label": "移除标签",
    "reset": "重置",
    "Go back to the default labels": "恢复默认标签",
    "Only for this channel: it uses the server's labels again": "只用于这个频道：它重新使用服务器的标签",
    "use": "选用",
    "Choose a set of labels that comes with me": "选用自带的一套标签",
    "set": "标签集",
    "The set; labels of your own stay": "标签集；自己的标签会保留",
    "together": "一起使用",
    "Together with the sets that are in use already": "和已经在用的标签集一起使用",
    "import": "导入",
    "Read labels from a file": "从文件读取标签",
    "file": "文件",
    "JSON, CSV with a first row of names, or one label a line; at most 256 KB": (
        "JSON、首行为列名的 CSV，或每行一个标签；最大 256 KB"
    ),
    "how": "怎样导入",
    "Whether the labels that there are stay": "现有的标签是否保留",
    "export": "导出",
    "Get the labels as a file": "把标签保存为文件",
    "test": "试一试",
    "See what every label would score for a picture": "查看每个标签给一张图片打多少分",
    "The picture": "图片",
    "The labels that apply in this channel; by default, where the picture is, or here": (
        "使用这个频道的标签；默认为图片所在的频道，或当前频道"
    ),
    "clear": "清空",
    "Remove all labels, so that nothing is tagged": "移除全部标签，不再加标签",
    "label": "标签",
    "One or a few words": "一个或几个词",
    "magpie": "喜鹊",
    "Run Magpie on this server": "管理本服务器的 Magpie",
    "index": "收录",
    "Index the pictures that were posted before Magpie joined": "收录 Magpie 加入之前发布的图片",
    "A channel, thread or forum; by default, the whole server": "频道、子区或论坛；默认为整个服务器",
    "How to look for pictures; quick by default": "怎样查找图片；默认为快速",
    "pause": "暂停",
    "Take in no new pictures until /magpie resume; nothing is lost": "暂停收录新图片，直到 /magpie resume；不会丢失",
    "resume": "继续",
    "Take in new pictures again, and those that were posted meanwhile": "继续收录新图片，包括暂停期间发布的图片",
    "forget": "忘记",
    "Have pictures forgotten for good; messages stay": "永久忘记图片，消息保持不变",
    "Forget the pictures of a channel or thread": "忘记一个频道或子区的图片",
    "The channel or thread": "频道或子区",
    "member": "成员",
    "Forget a member's pictures, or leave the member out": "忘记一名成员的图片，或排除这名成员",
    "The member": "成员",
    "wish": "处理方式",
    "What to do; by default, forget": "怎样处理；默认为忘记",
    "server": "服务器",
    "Forget all pictures of this server": "忘记本服务器的全部图片",
    "picture": "单张",
    "Forget the pictures of one message": "忘记一条消息的图片",
}

# Readers of traditional characters get these, too.
LANGUAGE = Language((discord.Locale.chinese, discord.Locale.taiwan_chinese), CHINESE, COMMANDS)
