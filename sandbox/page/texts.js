// All texts of the page, in English and Simplified Chinese.

const TEXTS = {
  pageTitle: ["Magpie sandbox", "Magpie 沙盒"],
  brandHint: ["A small Discord on your own machine", "您电脑上的小型 Discord"],
  youAre: ["You are", "当前身份"],
  switchMember: ["Switch to {name}", "切换为 {name}"],
  seesChannels: ["Sees {seen} of {all} channels", "可见 {all} 个频道中的 {seen} 个"],
  languageSwitch: ["Language", "语言"],
  servers: ["Servers", "服务器"],
  channels: ["Channels", "频道"],
  members: ["Members", "成员"],
  openChannels: ["Show channels", "显示频道"],
  conversation: ["Messages", "消息"],
  botOnline: ["Magpie is online", "Magpie 在线"],
  botOffline: ["Magpie is starting …", "Magpie 正在启动……"],
  connecting: ["Connecting …", "正在连接……"],
  reconnecting: ["Connection lost. Reconnecting …", "连接已断开，正在重连……"],
  kindText: ["public channel", "公开频道"],
  kindPrivate: ["private channel", "私密频道"],
  kindThread: ["thread", "子区"],
  kindPrivateThread: ["private thread", "私密子区"],
  kindVoice: ["voice channel", "语音频道"],
  kindAdult: ["age-restricted channel", "年龄限制频道"],
  unread: ["unread", "未读"],
  channelStart: ["This is the beginning of {name}.", "这里是 {name} 的开端。"],
  channelEmpty: [
    "Nothing here yet. Post a scene from the tray below, or drop a picture.",
    "这里还没有内容。点击下方的示例场景，或拖入一张图片。",
  ],
  noChannels: ["This member sees no channel here.", "该成员在此看不到任何频道。"],
  loadOlder: ["Show older messages", "显示更早的消息"],
  jumpToPresent: ["Jump to the newest", "跳到最新消息"],
  todayAt: ["Today at {time}", "今天 {time}"],
  edited: ["edited", "已编辑"],
  app: ["APP", "应用"],
  usedCommand: ["{name} used {command}", "{name} 使用了 {command}"],
  onlyYou: ["Only you can see this", "仅您可见"],
  dismiss: ["Dismiss", "忽略"],
  thinking: ["{name} is thinking …", "{name} 正在思考……"],
  sendingCommand: ["Sending command …", "正在发送命令……"],
  didNotRespond: ["The application did not respond", "应用未响应"],
  interactionFailed: ["This interaction failed", "交互失败"],
  replyingTo: ["Replying to {name}", "正在回复 {name}"],
  originalDeleted: ["The original message was deleted", "原消息已被删除"],
  clickForAttachment: ["Picture", "图片"],
  forwarded: ["Forwarded", "已转发"],
  reply: ["Reply", "回复"],
  forwardTo: ["Forward to …", "转发到……"],
  edit: ["Edit", "编辑"],
  editHint: ["Enter saves, Escape cancels", "回车保存，Esc 取消"],
  save: ["Save", "保存"],
  cancel: ["Cancel", "取消"],
  remove: ["Delete", "删除"],
  removeQuestion: ["Delete this message?", "删除这条消息？"],
  removeExplained: ["Magpie forgets its pictures at once.", "Magpie 会同时忘记其中的图片。"],
  removePicture: ["Remove {name}", "移除 {name}"],
  copyLink: ["Copy message link", "复制消息链接"],
  copied: ["Link copied", "链接已复制"],
  apps: ["Apps", "应用"],
  more: ["More", "更多"],
  react: ["React with {emoji}", "用 {emoji} 回应"],
  reactionCount: ["{emoji}, {count}", "{emoji}，{count}"],
  messageMenu: ["Message actions", "消息操作"],
  spoiler: ["Spoiler", "剧透"],
  reveal: ["Show spoiler", "显示剧透内容"],
  openPicture: ["Open picture: {name}", "打开图片：{name}"],
  pictureUnavailable: ["This picture cannot be shown", "无法显示此图片"],
  closePicture: ["Close picture", "关闭图片"],
  previousPicture: ["Previous picture", "上一张"],
  nextPicture: ["Next picture", "下一张"],
  pictureOf: ["{at} of {all}", "第 {at} 张，共 {all} 张"],
  openOriginal: ["Open original", "打开原图"],
  messageIn: ["Message {name}", "发送消息到 {name}"],
  mayNotSend: ["This member can read this channel but not post in it.", "该成员可以阅读，但不能发言。"],
  attach: ["Add a picture", "添加图片"],
  dropHere: ["Drop pictures to post them in {name}", "松开即可将图片发送到 {name}"],
  removeFile: ["Remove {name}", "移除 {name}"],
  send: ["Send", "发送"],
  tray: ["Sample scenes", "示例场景"],
  trayHint: ["one click posts it", "点击即可发送"],
  trayPost: ["Post: {caption}", "发送：{caption}"],
  trayShow: ["Show", "展开"],
  noTray: ["No sample scenes are installed; drop a picture of your own.", "没有安装示例场景，可拖入您自己的图片。"],
  commands: ["Commands", "命令"],
  noCommand: ["No command of that name. Magpie may still be starting.", "没有这个命令。Magpie 可能仍在启动。"],
  commandPrompt: ["Command {name}", "命令 {name}"],
  required: ["Please fill in {name}", "请填写 {name}"],
  addOption: ["Add {name}: {about}", "添加 {name}：{about}"],
  moreOptions: ["+{count} more", "另有 {count} 项"],
  noneOfThese: ["Choose one of the list.", "请从列表中选择。"],
  removeOption: ["Remove {name}", "移除 {name}"],
  chooseFile: ["Choose or drop a picture", "选择或拖入图片"],
  runCommand: ["Run command", "运行命令"],
  closeCommand: ["Cancel the command", "退出命令"],
  yes: ["True", "是"],
  no: ["False", "否"],
  choose: ["Choose …", "请选择……"],
  chooseSome: ["Choose {min} to {max}", "请选择 {min} 到 {max} 项"],
  nothingToChoose: ["Nothing to choose from", "没有可选项"],
  suggestions: ["Suggestions", "建议"],
  submit: ["Submit", "提交"],
  modalFailed: [
    "Something went wrong; what you entered is still here. Try again.",
    "出了点问题，您填写的内容还在。请重试。",
  ],
  needed: ["Please fill this in.", "请填写此项。"],
  tooShort: ["At least {low} characters; so far {length}.", "至少 {low} 个字符，目前 {length} 个。"],
  tooLong: ["At most {high} characters; now {length}.", "最多 {high} 个字符，目前 {length} 个。"],
  tooFew: ["Choose at least {low}.", "请至少选择 {low} 项。"],
  tooMany: ["Choose at most {high}.", "最多选择 {high} 项。"],
  noNumber: ["Enter a number.", "请输入数字。"],
  noWholeNumber: ["Enter a whole number.", "请输入整数。"],
  tooLow: ["At least {low}.", "不能小于 {low}。"],
  tooHigh: ["At most {high}.", "不能大于 {high}。"],
  chooseAFile: ["Choose a file", "选择文件"],
  chooseFiles: ["Choose files", "选择文件"],
  modelNote: [
    "This trial uses the small bundled model, which only knows emoji scenes like the samples below: it will not recognize your photo. To try a model for photos, restart with",
    "本次试用的是内置小模型，只认识下方示例那样的表情符号场景，认不出您的照片。要试用能识别照片的模型，请用以下命令重新启动：",
  ],
  tourTitle: ["Two-minute tour", "两分钟导览"],
  tourIntro: [
    "A small Discord with the real bot in it. Nothing leaves this machine.",
    "一个小型 Discord，里面是真正的机器人。一切都留在本机。",
  ],
  tourOpen: ["Guided tour", "导览"],
  tourClose: ["Close the tour; the question mark opens it again", "关闭导览；点问号可再次打开"],
  tourTry: ["Open /{name}", "打开 /{name}"],
  tourBecome: ["Become {name}", "切换为 {name}"],
  tourSkip: ["Skip", "跳过"],
  tourDone: ["done", "已完成"],
  tourSkipped: ["skipped", "已跳过"],
  tourEnd: ["That was the tour. Everything else is in /help.", "导览到此结束。其余功能见 /help。"],
  tourAgain: ["Start again", "重新开始"],
  unreachable: ["The sandbox does not answer. Is it still running?", "沙盒没有响应。它还在运行吗？"],
  notVisible: ["This member cannot see that channel.", "该成员看不到该频道。"],
  messageUnshown: ["This message cannot be shown", "无法显示此消息"],
  messageGone: ["That message is no longer there.", "该消息已不存在。"],
  unknownUser: ["someone", "某人"],
  unknownChannel: ["a channel you cannot see", "您看不到的频道"],
  notifications: ["Notices", "通知"],
};

let current = "en";

export const language = () => current;

// Discord's locale, sent with each request: the bot responds in that language.
export const discordLocale = () => (current === "zh" ? "zh-CN" : "en-US");

export function setLanguage(name) {
  current = name === "zh" ? "zh" : "en";
  document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
}

// pair: [English, Chinese], of texts that stand elsewhere.
export const inLanguage = (pair) => pair[current === "zh" ? 1 : 0];

export function t(key, values = {}) {
  const text = inLanguage(TEXTS[key]);
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// A command's or option's translation, if the bot registered one.
export function localised(thing, field) {
  return thing[`${field}_localizations`]?.[discordLocale()] ?? thing[`${field}_localized`] ?? thing[field];
}
