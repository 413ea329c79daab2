//! What pages say, in English and in Chinese.
//!
//! Templates hold the English; `CHINESE` has the Chinese for it, and a test finds what it lacks. Words of
//! rules files and answers have names for people in `WORDS`.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};

mod chinese;
mod sentences;

pub(super) use sentences::said;

/// A language that pages speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// English.
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

/// The cookie that keeps which language was chosen.
pub(super) const COOKIE: &str = "taskwarden_language";

impl Language {
    /// The language with this code, as the switch on the page has it.
    pub(super) fn of_code(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::English),
            "zh" => Some(Self::Chinese),
            _ => None,
        }
    }

    /// Its code, as the switch has it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }

    /// What it calls itself.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "中文",
        }
    }

    /// Its tag, for the `lang` attribute.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }

    /// The one that was chosen, or else the one that the browser would rather have.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let cookies =
            headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let chosen = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .find_map(Self::of_code);
        let accepted = || headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok();
        chosen.unwrap_or_else(|| Self::accepted(accepted().unwrap_or_default()))
    }

    /// The one that an `Accept-Language` header likes better; English when it likes neither.
    fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::English);
        for part in header.split(',') {
            let mut part = part.split(';');
            let tag = part.next().unwrap_or_default().trim().to_ascii_lowercase();
            let weight = part.find_map(|option| option.trim().strip_prefix("q=")?.parse().ok());
            let weight: f64 = weight.unwrap_or(1.0);
            let language = Self::of_code(tag.split('-').next().unwrap_or_default());
            if let Some(language) = language
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }
}

static CHINESE: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| chinese::TEXTS.iter().copied().collect());

/// A text of a template in the reader's language; as it is when there is no other.
pub(super) fn text(language: Language, english: &str) -> &str {
    match language {
        Language::English => english,
        Language::Chinese => CHINESE.get(english).copied().unwrap_or(english),
    }
}

/// What people call a word of the rules file or of an answer; `None` for a word that somebody made up.
pub(super) fn word(language: Language, of: &str, word: &str) -> Option<&'static str> {
    let found = WORDS.iter().find(|known| known.0 == of && known.1 == word)?;
    Some(match language {
        Language::English => found.2,
        Language::Chinese => found.3,
    })
}

/// What a word is about, the word, and its names in English and Chinese.
const WORDS: &[(&str, &str, &str, &str)] = &[
    ("state", "pending", "pending", "等待中"),
    ("state", "running", "running", "运行中"),
    ("state", "succeeded", "succeeded", "成功"),
    ("state", "canceling", "canceling", "取消中"),
    ("state", "canceled", "canceled", "已取消"),
    ("state", "errored", "errored", "出错"),
    ("state", "failing", "failing", "即将失败"),
    ("state", "failed", "failed", "失败"),
    ("state", "waiting_retry", "waiting to retry", "等待重试"),
    ("state", "before_retry", "about to retry", "即将重试"),
    ("state", "gone", "left the list", "已离开列表"),
    ("kind", "upload", "upload", "上传"),
    ("kind", "copy", "copy", "复制"),
    ("kind", "move", "move", "移动"),
    ("kind", "offline_download", "offline download", "离线下载"),
    ("kind", "offline_download_transfer", "download transfer", "离线下载转存"),
    ("kind", "decompress", "decompress", "解压"),
    ("kind", "decompress_upload", "decompress upload", "解压上传"),
    ("kind", "s3_transition", "S3 transition", "S3 转换"),
    ("outcome", "planned", "planned", "已计划"),
    ("outcome", "accepted", "accepted", "已接受"),
    ("outcome", "rejected", "rejected", "被拒绝"),
    ("outcome", "skipped_changed", "skipped, it had changed", "已跳过（任务已变化）"),
    ("outcome", "effective", "effective", "有效"),
    ("outcome", "ineffective", "ineffective", "无效"),
    ("outcome", "unknown", "unknown", "未知"),
    ("action", "retry_some", "retry", "重试"),
    ("action", "retry", "retry", "重试"),
    ("action", "retry_failed", "retry all failed", "重试全部失败任务"),
    ("action", "cancel_some", "cancel", "取消"),
    ("action", "cancel", "cancel", "取消"),
    ("action", "delete_some", "delete", "删除"),
    ("action", "delete", "delete", "删除"),
    ("action", "clear_succeeded", "clear succeeded", "清除成功任务"),
    ("action", "clear_done", "clear done", "清除已完成任务"),
    ("action", "notify", "notify", "通知"),
    ("action", "give_up", "give up", "放弃"),
    ("action", "reload", "reload rules", "重载规则"),
    ("action", "pause", "pause", "暂停"),
    ("action", "resume", "resume", "恢复"),
    ("action", "redrive", "redrive", "重新处理"),
    ("action", "drop", "put away", "归档"),
    ("class", "throttled", "throttled", "限流"),
    ("class", "network", "network", "网络"),
    ("class", "timeout", "timeout", "超时"),
    ("class", "auth", "auth", "认证"),
    ("class", "quota", "quota", "配额"),
    ("class", "storage_full", "storage full", "存储已满"),
    ("class", "not_found", "not found", "找不到"),
    ("class", "exists", "exists", "已存在"),
    ("class", "blocked", "blocked", "被屏蔽"),
    ("class", "server_error", "server error", "服务器错误"),
    ("class", "interrupted", "interrupted", "被中断"),
    ("class", "canceled", "canceled", "已取消"),
    ("class", "unknown", "unknown", "未知"),
    ("gate", "one_action", "another rule acts on it now", "另一条规则正在处理"),
    ("gate", "judging", "its last action is judged", "正在判断上次操作的效果"),
    ("gate", "paused", "the rule is paused", "规则已暂停"),
    ("gate", "schedule", "its schedule", "等待计划时间"),
    ("gate", "off_hours", "its hours", "等待允许时段"),
    ("gate", "backoff", "backs off", "退避等待"),
    ("gate", "breaker", "the storage is left alone", "存储暂不打扰"),
    ("gate", "undone", "the queue is long enough", "队列已足够长"),
    ("gate", "max_share", "the share of the list is used up", "列表份额已用尽"),
    ("gate", "per_tick", "the limit of a look", "单次数量已达上限"),
    ("gate", "per_hour", "the limit of an hour", "每小时数量已达上限"),
    ("gate", "noticed", "has been told already", "已通知过"),
    ("gate", "exhausted", "attempts are used up", "次数已用尽"),
    ("gate", "would_retry_unmeant", "would touch tasks it must not", "会误触其他任务"),
    ("mode", "live", "live", "执行"),
    ("mode", "dry_run", "dry run", "演练"),
    ("mode", "off", "off", "关闭"),
    ("health", "well", "well", "正常"),
    ("health", "starting", "not looked at yet", "尚未读取"),
    ("health", "partly", "read in part", "部分读取"),
    ("health", "away", "cannot be read", "无法读取"),
    ("health", "unwritable", "nothing is done", "暂停操作"),
    ("health", "stuck", "its loop is stuck", "循环卡住"),
    ("flavour", "openlist", "OpenList", "OpenList"),
    ("flavour", "alist", "AList", "AList"),
    ("breaker", "open", "open", "断开"),
    ("breaker", "half_open", "trying one task", "试探中"),
    ("breaker", "ramp", "slowly again", "逐步恢复"),
    ("breaker", "closed", "closed", "闭合"),
    ("verdict", "taken_before", "taken by an earlier rule", "已被前面的规则接管"),
    ("verdict", "no_match", "does not match", "不匹配"),
    ("verdict", "taken", "has it", "已接管"),
    ("verdict", "let_go", "has given it up", "已放弃"),
    ("verdict", "waits", "waits", "等待中"),
    ("verdict", "off", "off", "关闭"),
    ("verdict", "acts", "acts now", "立即执行"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_chooses_unless_the_reader_did() {
        let of = |accept: &str, cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            Language::of(&headers).code()
        };
        for (accept, cookie, expected) in [
            ("", "", "en"),
            ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
            ("en-GB,en;q=0.9,zh;q=0.8", "", "en"),
            ("de, zh-TW;q=0.3, en;q=0.2", "", "zh"),
            ("fr", "", "en"),
            ("en;q=nonsense, zh;q=0.5", "", "en"),
            ("zh", "other=1; taskwarden_language=en", "en"),
            ("en", "taskwarden_language=zh", "zh"),
            ("en", "taskwarden_language=xx; taskwarden_language_x=zh", "en"),
        ] {
            assert_eq!(of(accept, cookie), expected, "{accept} {cookie}");
        }
    }

    /// The English of the templates, in `t("...")` and as the many of `tn(n, "one", "many")`.
    fn said(template: &str) -> Vec<String> {
        let call = r#"\bt\(\s*(?:"([^"]*)"|'([^']*)')|\btn\([^"]*"[^"]*",\s*"([^"]*)"\)"#;
        let call = regex::Regex::new(call).unwrap();
        let found = call.captures_iter(template);
        found
            .map(|found| found.iter().skip(1).flatten().next().unwrap().as_str().to_owned())
            .collect()
    }

    #[test]
    fn all_that_templates_say_is_said_in_chinese_too() {
        let mut said: Vec<String> =
            super::super::render::TEMPLATES.iter().flat_map(|(_, text)| self::said(text)).collect();
        assert!(said.len() > 100, "{said:?}");
        let call = r#"(?:\bword\(|words::text\(language, )"([^"]*)"\)"#;
        let call = regex::Regex::new(call).unwrap();
        for calls in [include_str!("visit.rs"), include_str!("render.rs")] {
            said.extend(call.captures_iter(calls).map(|found| found[1].to_owned()));
        }
        said.extend(super::super::visit::said().map(str::to_owned));
        let chinese = |text: &String| CHINESE.get(text.as_str());
        let lacking: Vec<&String> = said.iter().filter(|text| chinese(text).is_none()).collect();
        assert_eq!(lacking, Vec::<&String>::new());
        let unused: Vec<&&str> =
            CHINESE.keys().filter(|text| !said.iter().any(|said| said == *text)).collect();
        assert_eq!(unused, Vec::<&&str>::new());
        let place = regex::Regex::new(r"\{\w+\}").unwrap();
        for (english, chinese) in chinese::TEXTS {
            let places = |text| {
                let mut places: Vec<&str> = place.find_iter(text).map(|one| one.as_str()).collect();
                places.sort_unstable();
                places
            };
            assert_eq!(places(english), places(chinese), "{english}");
        }
    }

    #[test]
    fn words_have_names() {
        use crate::engine::audit::Outcome;
        use crate::engine::rule::Action;
        use crate::engine::task::{Kind, State};
        use crate::engine::trace::Gate;
        let states =
            State::KNOWN.iter().filter_map(|state| state.name()).map(|name| ("state", name));
        let kinds = Kind::KNOWN.iter().map(|kind| ("kind", kind.as_str()));
        let all = states
            .chain(kinds)
            .chain(Outcome::ALL.iter().map(|outcome| ("outcome", outcome.as_str())))
            .chain(Action::ALL.iter().map(|action| ("action", action.as_str())))
            .chain(Gate::NAMES.map(|gate| ("gate", gate)));
        for (of, name) in all {
            assert!(word(Language::Chinese, of, name).is_some(), "{of} {name}");
        }
    }
}
