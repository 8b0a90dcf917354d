// The guided tour as data: two minutes in all, a step for each thing that is worth trying. To add one, add an entry here and
// nothing else; a step whose command is not registered is not shown. Texts are [English, Chinese].
//
// {
//   id,       kept in the browser when the step is done
//   seconds,  how long it takes
//   needs,    the command it is about, with the option it uses: "find", "find image", "labels add"; none for the page itself
//   go,       what its button does: { become: member, called: name } first, then { command, values: {option: text} }
//   title, press, notice: what it is about, what to press, and what to look at afterwards
//   done,     whether an event shows that it was done, see tour.js. An answer that found nothing shows nothing.
// }

const found = (event, command) => event.what === "answer" && event.command === command && event.pictures > 0;

export const STEPS = [
  {
    id: "find",
    seconds: 15,
    needs: "find",
    go: { command: "find", values: { query: ["a castle", "城堡"] } },
    title: ["Find a picture by words", "用文字找图"],
    press: [
      "Type /find and say what the picture shows, then press Enter.",
      "输入 /找图，说说图片里有什么，然后按回车。",
    ],
    notice: [
      "The best matches come first. Only you see the answer, and it has only pictures of channels that you can read.",
      "最符合的排在最前。答案只有您看得到，也只包含您能阅读的频道里的图片。",
    ],
    done: (event) => found(event, "find") && !event.options.includes("image"),
  },
  {
    id: "like",
    seconds: 15,
    needs: "similar",
    title: ["Find more like it", "查找相似图片"],
    press: [
      "Choose a picture under More like this in the answer, or choose Find similar pictures in a picture's menu (the three dots).",
      "在答案下方的“找相似…”中选一张图片，或在图片的“···”菜单中选择“查找相似图片”。",
    ],
    notice: ["No words were needed: pictures are compared with each other.", "不需要文字：图片之间直接比较。"],
    done: (event) =>
      found(event, "similar") ||
      (event.what === "answer" && event.pictures > 0 && (event.menu || /(^|:)like(:|$)/.test(event.button ?? ""))),
  },
  {
    id: "refine",
    seconds: 20,
    needs: "find image",
    go: { command: "find", values: { query: ["with a fish", "和一条鱼"] } },
    title: ["Change a picture by words", "用文字调整图片"],
    press: [
      "Open /find, press the first sample scene, a cat, to use it as the image, and say what should be different.",
      "打开 /找图，点第一个示例场景（猫）作为图片，再说明要有什么不同。",
    ],
    notice: ["The matches resemble the picture, and the words.", "找到的图片既像原图，也符合文字。"],
    done: (event) => found(event, "find") && event.options.includes("image") && event.options.includes("query"),
  },
  {
    id: "post",
    seconds: 15,
    title: ["Post a picture", "发送图片"],
    press: ["Press one of the sample scenes below the message box.", "点击输入框下方的一个示例场景。"],
    notice: [
      "Nothing else to do: a moment later /find finds it, and once it is deleted it is forgotten.",
      "无需其他操作：片刻之后 /找图 就能找到它；删除后，它也会被忘记。",
    ],
    done: (event) => event.what === "posted" && event.pictures > 0,
  },
  {
    id: "tags",
    seconds: 10,
    needs: "tags",
    go: { command: "tags" },
    title: ["See what pictures show", "看看图片的内容"],
    press: ["Run /tags.", "运行 /统计。"],
    notice: [
      "Tags are counted over the channels that you can read; the option tag of /find shows the pictures of one.",
      "标签只统计您能阅读的频道；用 /找图 的“标签”选项可查看某个标签的图片。",
    ],
    done: (event) => found(event, "tags"),
  },
  {
    id: "map",
    seconds: 10,
    needs: "map",
    go: { command: "map" },
    title: ["See all pictures at once", "一览所有图片"],
    press: ["Run /map.", "运行 /地图。"],
    notice: ["What is alike lies together.", "相似的图片会聚在一起。"],
    done: (event) => found(event, "map"),
  },
  {
    id: "switch",
    seconds: 15,
    go: { become: "dora", called: "Dora" },
    title: ["Look with other eyes", "换个身份看看"],
    press: [
      "Press another member's name at the top: Dora, for example, is new and sees fewer channels.",
      "点击顶部另一位成员的名字：例如新来的 Dora，她能看到的频道较少。",
    ],
    notice: [
      "Search again: what Dora cannot see in Discord, Magpie does not show her either.",
      "再搜一次：Dora 在 Discord 里看不到的，Magpie 也不会给她看。",
    ],
    done: (event) => event.what === "switched",
  },
  {
    id: "setup",
    seconds: 20,
    needs: "magpie setup",
    go: { become: "ann", command: "magpie setup" },
    title: ["Set Magpie up", "设置 Magpie"],
    press: ["As Ann, who owns the server, run /magpie setup.", "以服务器所有者 Ann 的身份运行 /喜鹊 向导。"],
    notice: [
      "Channels, tags and older pictures are chosen here; missing rights are explained one by one.",
      "在这里选择频道、标签和旧图片；缺少的权限会逐一说明。",
    ],
    done: (event) => event.what === "answer" && event.command === "magpie setup",
  },
];
