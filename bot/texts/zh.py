"""Simplified Chinese."""

from __future__ import annotations

from bot.texts.kind import Texts

CHINESE = Texts(
    found_for_query="“{query}”：找到 **{count}** 张",
    found_alike="找到 **{count}** 张相似的图片",
    nothing_alike="这里没有类似的图片。换个说法，或者少写几个词试试。",
    nothing_to_search="我还没有记住你在这里能看到的图片。新图片发出后稍等片刻就能搜到。",
    match="**{percent}%**",
    posted="{author} 发布于 {channel}，{when}",
    no_tags="无标签",
    open_message="打开消息",
    more_like_this="找相似",
    picture_alt="图片，标签：{tags}",
    picture_alt_without_tags="没有标签的图片",
    only_public="这里只列出本频道所有人都能看到的图片。用 `/similar` 可以看到你有权查看的全部结果。",
    give_image_or_message="请给我一张用来比较的图片：`image` 或 `message`，二选一。",
    not_a_link_here="这不是本服务器的消息链接。消息菜单里的“复制消息链接”可以得到它。",
    message_not_found="找不到这条消息，或者你无权查看。",
    message_without_picture="这条消息里没有我能读取的图片。",
    picture_unusable="我无法把这个文件当作图片读取。支持 JPEG、PNG、WebP、GIF、AVIF、BMP 和 TIFF。",
    picture_too_large="这张图片太大了，最大 {megabytes} MB。",
    picture_unreachable="Discord 暂时没有给我这张图片，请稍后再试。",
    reply_to_a_picture="请回复一条带图片的消息，提到我并说“相似”；也可以使用 `/similar`。",
    channel_empty="那个频道里没有我记住、而你在这里能看到的图片。",
    tagging_set="{channel}：{mode}",
    mode_off="不再给新图片加标签。",
    mode_silent="新图片会悄悄加上标签，标签显示在搜索结果里。",
    mode_reaction="新图片会加上标签，我会用标签的表情符号作出反应。",
    mode_reply="新图片会加上标签，我会回复标签内容。",
    announced_tags="🏷️ {tags}",
    labels_default="本服务器使用我自带的 {count} 个标签：\n{labels}",
    labels_own="本服务器使用自己的 {count} 个标签：\n{labels}",
    label_added="新图片现在可以加上标签“{label}”。",
    label_known="标签“{label}”已经有了。",
    label_removed="新图片不再加标签“{label}”。",
    label_unknown="没有标签“{label}”。用 `/labels list` 查看全部标签。",
    label_bad="标签应为一行，1 到 {most} 个字符。",
    labels_full="已经有 {most} 个标签了，请先移除一个。",
    labels_reset="本服务器重新使用我自带的标签。",
    privacy=(
        "**我为这里发布的图片保存什么：** 编号（服务器、频道、消息、文件、作者）、尺寸、文件的哈希值、"
        "一组描述画面的数字，以及标签。"
        "这些都留在运行我的那台机器上。\n"
        "**我不保存什么：** 图片本身、文件名和地址、消息文字、任何人的名字、搜索过的内容。这些也不会用来训练模型。\n"
        "**怎样删除：** 删除消息或图片，我所知道的也随之删除；删除子区和频道也一样。"
        "`/forget-me` 会删除你在本服务器发布的全部图片的记录。把我移出服务器，一切都会删除。\n"
        "**谁能找到什么：** 只有能在原频道看到图片的人才能找到它。"
    ),
    forget_me_ask="要删除我保存的、你在本服务器发布的全部图片的记录吗？你的消息不会改变。以后发布的图片仍会被记住。",
    forget_me_confirm="删除",
    forget_me_done="完成。已删除 {count} 张图片的记录。",
    not_your_button="这个按钮是别人的。用 `/forget-me` 得到你自己的。",
    needs_manage_server="这需要“管理服务器”权限。",
    only_in_servers="只能在服务器里使用。",
    too_fast="请慢一点：{seconds} 秒后再试。",
    busy="我正忙着处理很多图片，请一分钟后再试。",
    went_wrong="没有成功，这不是你的错。运行我的人可以在日志里用编号 {id} 查到原因。",
)

# The names and descriptions of commands, by their English wording.
COMMANDS = {
    "find": "找图",
    "Find pictures by what they show": "按内容查找图片",
    "query": "内容",
    "What the picture shows, in a few words": "用几个词说明图片里有什么",
    "channel": "频道",
    "Only pictures of this channel": "只找这个频道的图片",
    "similar": "相似",
    "Find pictures that look like one you give": "查找与给出的图片相似的图片",
    "image": "图片",
    "A picture to compare with": "用来比较的图片",
    "message": "消息",
    "A link to a message with a picture": "带图片的消息链接",
    "Find similar pictures": "查找相似图片",
    "privacy": "隐私",
    "What Magpie keeps, and how to have it deleted": "Magpie 保存什么，怎样删除",
    "forget-me": "忘记我",
    "Delete what Magpie keeps of your pictures in this server": "删除 Magpie 保存的、你在本服务器的图片记录",
    "tagging": "标签方式",
    "Choose what a channel sees of a new picture's tags": "选择频道如何显示新图片的标签",
    "mode": "方式",
    "What happens when a picture is posted": "发布图片时怎样做",
    "The channel; this one if left out": "频道；不填则为当前频道",
    "off: no tags": "关闭：不加标签",
    "silent: tags in search results only": "安静：只在搜索结果里显示",
    "reaction: the tags' emoji under the picture": "反应：在图片下用表情符号表示",
    "reply: the tags as a reply": "回复：用回复写出标签",
    "labels": "标签",
    "The words that this server's pictures are tagged with": "本服务器给图片加标签所用的词",
    "list": "列表",
    "Show the labels": "查看标签",
    "add": "添加",
    "Add a label": "添加标签",
    "remove": "移除",
    "Remove a label": "移除标签",
    "reset": "重置",
    "Go back to the labels that Magpie came with": "恢复 Magpie 自带的标签",
    "label": "标签",
    "One or a few words": "一个或几个词",
}
