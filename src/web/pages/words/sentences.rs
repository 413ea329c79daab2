//! The Chinese for the sentences that the engine and the daemon write: why something is done, what keeps
//! it from being done, what came of it. Audit rows keep them in English, so they are known again by their
//! wording; what is not known stays as it is.

use super::{Language, word};

/// A sentence in Chinese; `None` when it is none of ours, such as what a server said.
pub(in super::super) fn said(sentence: &str) -> Option<String> {
    SENTENCES.iter().find_map(|(english, chinese)| {
        let parts = parts(english, sentence)?;
        let mut pieces = chinese.split('{');
        let mut text = pieces.next()?.to_owned();
        for (number, after) in pieces.filter_map(|piece| piece.split_once('}')) {
            text.push_str(parts.get(number.parse::<usize>().ok()?)?);
            text.push_str(after);
        }
        Some(text)
    })
}

/// What stands in the places of a form, in Chinese where it is known; `None` when the sentence has
/// another form.
fn parts(form: &str, sentence: &str) -> Option<Vec<String>> {
    let (head, mut form) = form.split_once('{').unwrap_or((form, ""));
    let mut rest = sentence.strip_prefix(head)?;
    let mut parts = Vec::new();
    while let Some((place, after)) = form.split_once('}') {
        let (next, later) = after.split_once('{').unwrap_or((after, ""));
        // The last place takes all that is left.
        let end = match next {
            "" => rest.len(),
            next => rest.find(next)?,
        };
        let (part, tail) = (&rest[..end], &rest[end + next.len()..]);
        parts.push(in_chinese(place, part)?);
        (rest, form) = (tail, later);
    }
    rest.is_empty().then_some(parts)
}

fn in_chinese(place: &str, part: &str) -> Option<String> {
    let known = |of| word(Language::Chinese, of, part).map(str::to_owned);
    match place {
        "n" => part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.to_owned()),
        "state" => known("state").or_else(|| Some(part.to_owned())),
        "kind" => known("kind").or_else(|| Some(part.to_owned())),
        "action" => known("action"),
        "length" => length(part),
        "why" => Some(said(part).unwrap_or_else(|| part.to_owned())),
        _ => Some(part.to_owned()),
    }
    .filter(|_| !part.is_empty())
}

/// A length of time, such as `1h30m`.
fn length(text: &str) -> Option<String> {
    let mut chinese = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
        let (number, unit) = rest.split_at(digits);
        let units = [("ms", "毫秒"), ("d", "天"), ("h", "小时"), ("m", "分"), ("s", "秒")];
        let (unit, name) = units.into_iter().find(|(short, _)| unit.starts_with(short))?;
        chinese.push_str(number);
        chinese.push_str(name);
        rest = &rest[digits + unit.len()..];
    }
    (!chinese.is_empty()).then_some(chinese)
}

/// The form of a sentence, with what stands in its places in braces; and its Chinese, with their
/// numbers. The first that fits is taken.
const SENTENCES: &[(&str, &str)] = &[
    // Why something is done.
    (
        "on_give_up: the rule gave the task up; {state} for {length}",
        "on_give_up：规则已放弃该任务；{0}已 {1}",
    ),
    ("{state} for {length}; attempt {n} of {n}", "{0}已 {1}；第 {2} 次尝试，最多 {3} 次"),
    ("{state} for {length}; attempt {n}", "{0}已 {1}；第 {2} 次尝试"),
    ("running for {length}, at {}% for {length}", "已运行 {0}，停在 {1}% 已 {2}"),
    ("{state} for {length}", "{0}已 {1}"),
    ("{n} of {n} tasks of kind {kind} are meant", "{2}的 {1} 个任务中有 {0} 个符合"),
    ("given up before: {why}", "此前已放弃：{0}"),
    ("a person asked for it", "由人工要求"),
    ("the rules file cannot be used", "规则文件无法使用"),
    ("nothing changed", "没有变化"),
    // Why a rule lets a task go.
    ("all {n} attempts are used up", "全部 {0} 次尝试已用尽"),
    ("{action} did not take twice in a row: {why}", "{0}连续两次没有生效：{1}"),
    (
        "the first failure was {length} ago, and the rule tries for {length}",
        "首次失败已过去 {0}，规则最多尝试 {1}",
    ),
    ("{action} does nothing good to a task that is {state}", "{0}不适用于{1}的任务"),
    (
        "a task that a person canceled is retried only by a rule that says `state: canceled` or `class: canceled`",
        "被人工取消的任务只有写明 `state: canceled` 或 `class: canceled` 的规则才会重试",
    ),
    (
        "the task had succeeded; a restart of the server lists it as failed again",
        "任务此前已成功；服务器重启后又把它列为失败",
    ),
    // What keeps a rule from acting.
    ("another rule acts on the task in this tick", "本轮由另一条规则处理该任务"),
    ("waits to see whether the last action took", "等待确认上次操作是否生效"),
    ("paused until {}: {}", "暂停至 {0}：{1}"),
    ("paused: {}", "已暂停：{0}"),
    ("its schedule fires next at {}", "计划下次触发于 {0}"),
    ("its schedule never fires again", "计划不会再触发"),
    ("outside its hours until {}", "不在允许时段内，直到 {0}"),
    ("outside its hours", "不在允许时段内"),
    ("backs off until {}, then attempt {n} of {n}", "退避至 {0}，然后第 {1} 次尝试，最多 {2} 次"),
    ("backs off until {}, then attempt {n}", "退避至 {0}，然后第 {1} 次尝试"),
    ("the breaker of {} is open until {} at least", "{0} 的熔断器断开，至少到 {1}"),
    (
        "{n} tasks are undone; the rule acts below {n}",
        "有 {0} 个任务未完成；少于 {1} 个时规则才操作",
    ),
    ("max_share allows {n} of {n} tasks in one tick", "max_share 每轮只允许 {1} 个任务中的 {0} 个"),
    ("per_tick allows {n} tasks in one tick", "per_tick 每轮只允许 {0} 个任务"),
    (
        "per_hour allows {n} tasks an hour; room again at {}",
        "per_hour 每小时只允许 {0} 个任务；{1} 起又有余量",
    ),
    ("has told of it already", "已经通知过"),
    (
        "it would also retry {n} tasks that were canceled or had succeeded; use `retry_some`",
        "它还会重试 {0} 个已取消或已成功的任务；请使用 `retry_some`",
    ),
    // What came of it.
    ("the task is still {state}", "任务仍为{0}"),
    ("the task is still listed", "任务仍在列表中"),
    ("the task is gone", "任务已不在"),
    ("the task is {state} now; it was {state}", "任务现在是{0}，之前是{1}"),
    (
        "the task is {state} again, with another start, end or error",
        "任务又变为{0}，但开始、结束时间或错误不同",
    ),
    ("the task is {state}", "任务现在是{0}"),
    ("{} does harm to a task that is {state}", "{0} 会损害{1}的任务"),
    ("the rule is gone", "规则已不存在"),
    ("the rule does not match the task any more", "规则已不再匹配该任务"),
    ("nothing that it is meant for is left", "已没有符合的任务"),
    ("nothing that it was meant for is left", "已没有符合的任务"),
    ("tasks that it was meant for are still there", "符合的任务仍在"),
    ("no sign that it was carried out", "没有已执行的迹象"),
    ("{n} more tasks failed since the decision", "决定之后又有 {0} 个任务失败"),
    ("it left the list", "它已离开列表"),
    ("the task left the list before its state could be seen", "在看到任务状态之前，它已离开列表"),
    ("the server lost its kind", "服务器上已没有这一类任务"),
    ("the task stayed as it was", "任务没有变化"),
    (
        "the task stayed canceled: the server does not allow retrying canceled tasks (its setting allow_retry_canceled)",
        "任务仍为已取消：服务器不允许重试已取消的任务（其设置 allow_retry_canceled）",
    ),
    (
        "the task failed again at once with `context canceled`: the server does not allow retrying canceled tasks (its setting allow_retry_canceled)",
        "任务立即又以 `context canceled` 失败：服务器不允许重试已取消的任务（其设置 allow_retry_canceled）",
    ),
    (
        "no answer came, and the task had no times that would tell whether it ran",
        "没有收到应答，任务也没有可据以判断是否运行过的时间",
    ),
    (
        "no answer came, and the task shows no sign that it was carried out",
        "没有收到应答，任务也没有已执行的迹象",
    ),
    (
        "the server lost the task's times, so it was restarted, and nothing tells whether the task ran again",
        "服务器丢失了任务的时间，说明它重启过，无从判断任务是否又运行过",
    ),
    ("the server lost its kind", "服务器已没有这种任务"),
    ("taskwarden ended before the answer came", "应答到达之前 taskwarden 已结束"),
    ("taskwarden ends", "taskwarden 正在结束"),
    ("the second look failed: {}", "第二次读取失败：{0}"),
    ("the server refused: {}", "服务器拒绝：{0}"),
    (
        "the server answers too slowly to look at all of them again",
        "服务器应答太慢，无法再次读取全部任务",
    ),
    // Advice of the report.
    (
        "attempt {n} and later succeed in {n}% ({n} of {n}): lower max_attempts to {n}",
        "第 {0} 次及以后的尝试只有 {1}% 成功（{3} 次中 {2} 次）：可将 max_attempts 降到 {4}",
    ),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::predicate::format_duration;
    use crate::engine::report::{Advice, Worth};
    use crate::engine::trace::Gate;

    #[test]
    fn sentences_are_known_by_their_wording() {
        for (english, chinese) in [
            ("failed for 1h30m; attempt 2 of 8", "失败已 1小时30分；第 2 次尝试，最多 8 次"),
            ("waiting_retry for 5s; attempt 2", "等待重试已 5秒；第 2 次尝试"),
            ("running for 2d, at 12.5% for 40m", "已运行 2天，停在 12.5% 已 40分"),
            ("3 of 8 tasks of kind copy are meant", "复制的 8 个任务中有 3 个符合"),
            (
                "retry_some did not take twice in a row: the server refused: no such task",
                "重试连续两次没有生效：服务器拒绝：no such task",
            ),
            ("given up before: all 3 attempts are used up", "此前已放弃：全部 3 次尝试已用尽"),
            ("paused until {1}: why: not {0} or {1}", "暂停至 {1}：why: not {0} or {1}"),
        ] {
            assert_eq!(said(english).as_deref(), Some(chinese));
        }
        for other in ["429 Too Many Requests", "", "failed for ever", "all of it", "paused: "] {
            assert_eq!(said(other), None, "{other}");
        }
        for millis in [0, 1, 999, 1000, 61_000, 3_600_000, 90_061_000] {
            let text = format_duration(Duration::from_millis(millis));
            assert!(length(&text).is_some(), "{text}");
        }
    }

    #[test]
    fn every_sentence_is_said_somewhere() {
        let sources = [
            include_str!("../../../engine/decide.rs"),
            include_str!("../../../engine/memory.rs"),
            include_str!("../../../engine/order.rs"),
            include_str!("../../../engine/report.rs"),
            include_str!("../../../engine/trace.rs"),
            include_str!("../../../daemon/act.rs"),
            include_str!("../../../daemon/supervise.rs"),
        ];
        // A literal goes on in the next line.
        let lines = sources.iter().flat_map(|source| source.split("\\\n"));
        let sources: Vec<&str> = lines.map(str::trim_start).collect();
        let sources = sources.concat();
        for (english, _) in SENTENCES {
            for part in english.split('{').map(|part| part.split_once('}').map_or(part, |(_, p)| p))
            {
                assert!(sources.contains(part), "{english}: {part}");
            }
        }
    }

    #[test]
    fn every_gate_and_advice_has_its_sentence() {
        let until = Timestamp::from_second(1_790_000_000).unwrap();
        let (at, why, of) = (Some(until), "the drive moves".to_owned(), Some(8));
        let gates = [
            Gate::OneAction,
            Gate::Judging { since: until },
            Gate::Paused { until: at, why: why.clone() },
            Gate::Paused { until: None, why },
            Gate::Schedule { until: at },
            Gate::Schedule { until: None },
            Gate::OffHours { until: at },
            Gate::OffHours { until: None },
            Gate::Backoff { until, attempt: 2, of },
            Gate::Backoff { until, attempt: 2, of: None },
            Gate::Breaker { key: "/115".to_owned(), until },
            Gate::Undone { undone: 4, below: 3 },
            Gate::MaxShare { at_most: 4, of: 9 },
            Gate::PerTick { limit: 4 },
            Gate::PerHour { limit: 4, until },
            Gate::Noticed,
            Gate::Exhausted { attempts: 3 },
            Gate::WouldRetryUnmeant { count: 3 },
        ];
        for name in Gate::NAMES {
            assert!(gates.iter().any(|gate| gate.name() == name), "{name}");
        }
        for gate in gates {
            assert!(said(&gate.to_string()).is_some(), "{gate}");
        }
        let worth = Worth { succeeded: 1, failed: 59, unknown: 0 };
        let advice = Advice { rule: "r".into(), from: 4, worth };
        assert!(said(&advice.text()).is_some(), "{}", advice.text());
    }
}
