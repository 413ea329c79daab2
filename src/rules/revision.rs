//! The revision: a short hash over what the rules mean, the same for files that differ only in
//! form.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Config;
use super::servers::{AuthConfig, SecretRef};
use crate::engine::class::Class;
use crate::engine::pattern::Pattern;
use crate::engine::predicate::{Leaf, Predicate, Test};
use crate::engine::rule::Rule;
use crate::engine::task::{Kind, ServerName};

/// Twelve hex digits that change when the meaning of the file does. Secrets have no part in it.
pub(super) fn revision(config: &Config, classes: &str) -> String {
    let (mut digest, mut text) = (Sha256::new(), String::new());
    let rules = &config.rules;
    // Writing into a string cannot fail.
    let _ = writeln!(text, "mode {}", rules.mode);
    let mut servers: Vec<String> = config.servers.iter().map(server).collect();
    servers.sort();
    for server in servers {
        let _ = writeln!(text, "server {server}");
    }
    let _ = writeln!(text, "audit_log {:?}", config.audit_log);
    let listen =
        config.listen.as_ref().map(|listen| (listen.address, listen.token.as_ref().map(secret)));
    let _ = writeln!(text, "listen {listen:?}");
    let _ = writeln!(text, "retention {:?}", config.retention);
    let _ = writeln!(text, "classes {classes}");
    // Mostly the same for many rules in a row.
    let mut before: Option<(&Rule, String)> = None;
    for rule in &rules.rules {
        digest.update(&text);
        text.clear();
        let alike = before.take().filter(|(other, _)| are_set_alike(other, rule));
        let (_, settings) = before.insert(alike.unwrap_or_else(|| (rule, settings(rule))));
        let _ = writeln!(text, "rule {:?} {} {settings}", rule.name, predicate(&rule.condition));
    }
    digest.update(&text);
    digest.finalize().iter().take(6).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a rule says besides its name and its condition.
fn settings(rule: &Rule) -> String {
    let schedule = rule.schedule.as_ref().map(|schedule| {
        let fields: Vec<&str> = schedule.text.split_whitespace().collect();
        (fields.join(" "), schedule.zone.iana_name().map(str::to_owned), schedule.catch_up)
    });
    let hours = rule
        .only_during
        .as_ref()
        .map(|hours| (hours.windows.clone(), hours.zone.iana_name().map(str::to_owned)));
    format!(
        "{} {} {} {:?} {:?} {:?} {:?} {:?} {:?} {schedule:?} {hours:?} {:?} {:?}",
        rule.action,
        rule.mode,
        rule.continues,
        rule.identity,
        rule.max_attempts,
        rule.give_up_after,
        rule.on_give_up,
        rule.backoff,
        rule.retry_after.as_ref().map(regex::Regex::as_str),
        rule.limits,
        rule.breaker,
    )
}

/// Whether two rules say the same there. The few that have a schedule or hours are looked at one by one.
fn are_set_alike<'r>(one: &'r Rule, other: &'r Rule) -> bool {
    let timed = |rule: &Rule| rule.schedule.is_some() || rule.only_during.is_some();
    let said = |rule: &'r Rule| {
        (
            (rule.action, rule.mode, rule.continues, rule.identity),
            (rule.max_attempts, rule.give_up_after, &rule.on_give_up, &rule.backoff),
            (rule.retry_after.as_ref().map(regex::Regex::as_str), &rule.limits, &rule.breaker),
        )
    };
    !timed(one) && !timed(other) && said(one) == said(other)
}

fn secret(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Env(name) => format!("env {name:?}"),
        SecretRef::Credential(name) => format!("credential {name:?}"),
        SecretRef::File(path) => format!("file {:?}", path.display().to_string()),
        SecretRef::Literal(_) => "literal".to_owned(),
    }
}

fn server(server: &super::ServerConfig) -> String {
    let auth = match &server.auth {
        AuthConfig::Token(token) => format!("token {}", secret(token)),
        AuthConfig::Password { username, password, totp } => {
            format!("password {username:?} {} {:?}", secret(password), totp.as_ref().map(secret))
        }
    };
    let mut kinds: Vec<&str> = server.kinds.iter().map(Kind::as_str).collect();
    kinds.sort_unstable();
    format!(
        "{:?} {:?} {auth} {:?} {} {:?} {:?} {:?} {} {kinds:?}",
        server.name,
        server.url,
        server.poll,
        server.mode,
        server.ca_file,
        server.connect_timeout,
        server.timeout,
        server.max_body,
    )
}

/// A predicate in one form for one meaning: the order of matchers and of sets does not count.
pub(super) fn predicate(predicate: &Predicate) -> String {
    match predicate {
        Predicate::All(_) => {
            let mut members = Vec::new();
            conjuncts(predicate, &mut members);
            group("all", members.into_iter())
        }
        Predicate::Any(members) => group("any", members.iter()),
        Predicate::Not(member) => format!("not({})", self::predicate(member)),
        Predicate::Leaf(leaf) => self::leaf(leaf),
    }
}

fn group<'p>(word: &str, members: impl Iterator<Item = &'p Predicate>) -> String {
    let mut members: Vec<String> = members.map(predicate).collect();
    members.sort();
    members.dedup();
    match members.as_slice() {
        [_] => members.remove(0),
        members => [word, "(", &members.join(", "), ")"].concat(),
    }
}

/// What must hold for a predicate to hold, `all` in `all` laid flat.
pub(super) fn conjuncts<'p>(predicate: &'p Predicate, into: &mut Vec<&'p Predicate>) {
    match predicate {
        Predicate::All(members) => members.iter().for_each(|member| conjuncts(member, into)),
        other => into.push(other),
    }
}

fn leaf(leaf: &Leaf) -> String {
    let written: Vec<String> = match &leaf.test {
        Test::State(states) => states.iter().map(ToString::to_string).collect(),
        Test::Role(roles) => roles.iter().map(|role| format!("{role:?}")).collect(),
        Test::Number(_, comparison, bound) => vec![format!("{comparison}{bound:?}")],
        Test::Span(_, comparison, bound) => vec![format!("{comparison}{bound:?}")],
        _ => Vec::new(),
    };
    let mut set: Vec<&str> = match &leaf.test {
        Test::Server(names) => names.iter().map(ServerName::as_str).collect(),
        Test::Kind(kinds) => kinds.iter().map(Kind::as_str).collect(),
        Test::Class(classes) => classes.iter().map(Class::as_str).collect(),
        Test::Text(_, patterns) => patterns.iter().map(Pattern::as_str).collect(),
        Test::Creator(names) => names.iter().map(String::as_str).collect(),
        // A set of globs does not give its members back; their texts are what is expected.
        Test::Path(..) | Test::Mount(..) => leaf.expected.split(" | ").collect(),
        Test::State(_) | Test::Role(_) | Test::Number(..) | Test::Span(..) => {
            written.iter().map(String::as_str).collect()
        }
    };
    set.sort_unstable();
    set.dedup();
    let mut shown = String::with_capacity(128);
    shown.extend([leaf.key, " ["]);
    for (place, text) in set.iter().enumerate() {
        shown.push_str(if place > 0 { ", " } else { "" });
        quote(text, &mut shown);
    }
    shown.push(']');
    shown
}

/// Writes a text as `{:?}` does. Most have nothing that is escaped, which is found out in less time than it
/// takes to look at each character.
fn quote(text: &str, out: &mut String) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        out.extend(["\"", text, "\""]);
    } else {
        // Writing into a string cannot fail.
        let _ = write!(out, "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_quoted_as_they_are_for_people(text in "[ -~\\\\\"'\n\té]{0,9}|\\PC{0,4}") {
            let mut quoted = String::new();
            quote(&text, &mut quoted);
            prop_assert_eq!(quoted, format!("{text:?}"));
        }
    }
}
