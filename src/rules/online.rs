//! Rules held against what servers have: kinds and mounts that are not there, users without rights.
//!
//! What was seen comes in as values; who asks the servers is `cli`.

use super::codes::Code;
use super::finding::{self, Finding, Span};
use super::reader::{Reader, shorten};
use super::yaml::{self, Entry, Node, Value};
use super::{Loaded, Sources};
use crate::engine::pattern::Globs;
use crate::engine::task::{Kind, ServerName};

/// What was seen of a server.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The server.
    pub server: ServerName,
    /// Why it could not be asked.
    pub away: Option<String>,
    /// The kinds it has; `None` when that is not known whole.
    pub kinds: Option<Vec<Kind>>,
    /// The mount paths of its storages; `None` when the user may not list them.
    pub mounts: Option<Vec<String>>,
    /// The user, if that is no admin.
    pub limited: Option<String>,
}

impl Sighting {
    /// Of a server that could not be asked.
    #[must_use]
    pub fn away(server: ServerName, why: String) -> Self {
        Self { server, away: Some(why), kinds: None, mounts: None, limited: None }
    }
}

/// Adds to the findings of a file what is wrong with it for the servers that were seen. `sources` are
/// those it was loaded from; a file with errors stays as it is.
pub fn hold_against<'a>(loaded: &mut Loaded, sources: impl Into<Sources<'a>>, seen: &[Sighting]) {
    if loaded.config.is_none() {
        return;
    }
    let texts = sources.into().texts();
    let mut left = yaml::MOST_NODES;
    for (file, text) in texts.iter().enumerate() {
        // What is wrong with the text is told already.
        let root = yaml::parse_part(file, text, &mut left, &mut Vec::new());
        loaded.findings.extend(root.into_iter().flat_map(|root| of_file(&root, &texts, seen)));
    }
    finding::settle(&texts, &mut loaded.findings);
}

fn of_file(root: &Node, texts: &[&str], seen: &[Sighting]) -> Vec<Finding> {
    let mut found = Vec::new();
    for server in items(root, "servers") {
        found.extend(of_server(server, seen));
    }
    for rule in items(root, "rules") {
        let Some(condition) = entry(rule, "match") else { continue };
        let mut of_rule = OfRule { texts, servers: Vec::new(), found: Vec::new() };
        let named = servers_named(&condition.value);
        of_rule.servers = seen
            .iter()
            .filter(|seen| named.iter().all(|names| names.contains(&seen.server.as_str())))
            .collect();
        if !of_rule.servers.is_empty() {
            of_rule.group(&condition.value);
            found.append(&mut of_rule.found);
        }
    }
    found
}

fn of_server(server: &Node, seen: &[Sighting]) -> Vec<Finding> {
    let name = entry(server, "name").and_then(|name| text_of(&name.value));
    let Some(seen) = seen.iter().find(|seen| Some(seen.server.as_str()) == name) else {
        return Vec::new();
    };
    let spot = |key| entry(server, key).map(Entry::spot);
    let mut found = Vec::new();
    if let Some(why) = &seen.away {
        let span = spot("url").unwrap_or(server.span);
        let message = format!(
            "server `{}` could not be asked: {}",
            shorten(name.unwrap_or_default()),
            line(why)
        );
        let mut finding = Finding::new(Code::ServerUnreachable, span, message);
        finding.help("`taskwarden doctor` looks closer, and says what helps");
        found.push(finding);
    }
    if let Some(user) = &seen.limited {
        let span = spot("username")
            .or_else(|| entry(server, "token").map(|token| token.key_span))
            .unwrap_or(server.span);
        let message =
            format!("user `{}` is no admin, and sees only their own tasks", shorten(user));
        let mut finding = Finding::new(Code::LimitedRights, span, message);
        finding
            .help("use the static admin token, or an admin's name, unless that is what is meant");
        found.push(finding);
    }
    found
}

/// A rule, and the servers that it is for.
struct OfRule<'a> {
    texts: &'a [&'a str],
    servers: Vec<&'a Sighting>,
    found: Vec<Finding>,
}

impl OfRule<'_> {
    fn group(&mut self, node: &Node) {
        let Value::Map(entries) = &node.value else { return };
        for entry in entries {
            match &*entry.key {
                "all" | "any" => members(&entry.value).for_each(|member| self.group(member)),
                "kind" => members(&entry.value).for_each(|kind| self.kind(kind, entry)),
                "src_mount" | "dst_mount" => {
                    members(&entry.value).for_each(|mount| self.mount(mount, entry));
                }
                // Under `not` it does no harm to name what is not there.
                _ => {}
            }
        }
    }

    fn kind(&mut self, node: &Node, entry: &Entry) {
        let Some(text) = text_of(node) else { return };
        let kind = Kind::from(text);
        let mut have = Vec::new();
        for seen in &self.servers {
            let Some(kinds) = &seen.kinds else { return };
            if kinds.contains(&kind) {
                return;
            }
            have.extend(kinds.iter().map(Kind::as_str));
        }
        have.sort_unstable();
        have.dedup();
        let message = format!("{} tasks of kind `{}`", self.nobody_has(), shorten(text));
        let mut finding = Finding::new(Code::KindNotOnServer, spot(node, entry), message);
        finding.help(format!("there are {}; drop this one, or correct it", have.join(", ")));
        self.found.push(finding);
    }

    fn mount(&mut self, node: &Node, entry: &Entry) {
        /// So many mounts are named as what there is.
        const NAMED: usize = 8;
        let Some(text) = text_of(node) else { return };
        let Some(globs) = self.globs(node) else { return };
        let mut have = Vec::new();
        for seen in &self.servers {
            let Some(mounts) = &seen.mounts else { return };
            let fits = |mount: &String| match mount.trim_end_matches('/') {
                "" => globs.is_match("/"),
                mount => globs.is_match(mount),
            };
            if mounts.iter().any(fits) {
                return;
            }
            have.extend(mounts.iter().map(String::as_str));
        }
        have.sort_unstable();
        have.dedup();
        let message = format!("{} a mount that `{}` matches", self.nobody_has(), shorten(text));
        let near = super::suggest::nearest(text, have.iter().copied());
        let help = match (near, have.len()) {
            (Some(near), _) => format!("did you mean `{}`?", shorten(near)),
            (None, 0) => "it has no storages at all".to_owned(),
            (None, 1..=NAMED) => {
                let have: Vec<String> =
                    have.iter().map(|mount| format!("`{}`", shorten(mount))).collect();
                format!("there are {}", have.join(", "))
            }
            (None, count) => format!("the server's page of storages shows its {count} mount paths"),
        };
        let mut finding = Finding::new(Code::MountNotOnServer, spot(node, entry), message);
        finding.help(help);
        self.found.push(finding);
    }

    fn globs(&self, node: &Node) -> Option<Globs> {
        let mut reader = Reader::new(self.texts.to_vec(), Vec::new());
        let at = super::reader::At { node, span: node.span, key: "dst_mount", key_span: node.span };
        reader.globs(at, true).map(|(globs, _)| globs)
    }

    fn nobody_has(&self) -> String {
        match self.servers.as_slice() {
            [one] => format!("server `{}` does not have", shorten(one.server.as_str())),
            _ => "none of the servers that this rule is for has".to_owned(),
        }
    }
}

/// The servers that `server` matchers name which must hold: each list narrows the rule further.
fn servers_named<'n>(node: &'n Node<'n>) -> Vec<Vec<&'n str>> {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    let mut named = Vec::new();
    for entry in entries {
        match &*entry.key {
            "server" => named.push(members(&entry.value).filter_map(text_of).collect()),
            "all" => named.extend(members(&entry.value).flat_map(servers_named)),
            _ => {}
        }
    }
    named
}

fn entry<'n>(node: &'n Node<'n>, key: &str) -> Option<&'n Entry<'n>> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key)
}

/// The members of the list under a key.
fn items<'n>(node: &'n Node<'n>, key: &str) -> impl Iterator<Item = &'n Node<'n>> {
    entry(node, key).into_iter().flat_map(|entry| members(&entry.value))
}

/// The members of a list, or the one value.
fn members<'n>(node: &'n Node<'n>) -> impl Iterator<Item = &'n Node<'n>> {
    match &node.value {
        Value::Seq(items) => items.iter(),
        _ => std::slice::from_ref(node).iter(),
    }
}

fn text_of<'n>(node: &'n Node<'n>) -> Option<&'n str> {
    match &node.value {
        Value::Text(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn spot(node: &Node, entry: &Entry) -> Span {
    if node.span.is_empty() { entry.key_span } else { node.span }
}

/// Words from outside, as a message can hold them.
fn line(text: &str) -> String {
    crate::engine::text::shorten(&crate::engine::text::printable(text), 160).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Source, load};

    fn seen(server: &str, kinds: &[Kind], mounts: &[&str]) -> Sighting {
        Sighting {
            server: server.into(),
            away: None,
            kinds: Some(kinds.to_vec()),
            mounts: Some(mounts.iter().map(|mount| (*mount).to_owned()).collect()),
            limited: None,
        }
    }

    /// The codes that are found, with the words they point at.
    fn found(condition: &str, seen: &[Sighting]) -> Vec<(Code, String)> {
        let text = format!(
            "version: 1\nservers:\n  - {{ name: a, url: 'http://a', token: {{ env: T }} }}\n  \
             - {{ name: b, url: 'http://b', username: bob, password: {{ env: T }} }}\n\
             rules:\n  - {{ name: r, match: {{ {condition} }}, action: notify }}\n"
        );
        let mut loaded = load(Source::new("x", &text));
        assert!(loaded.config.is_some(), "{:?}", loaded.findings);
        hold_against(&mut loaded, Source::new("x", &text), seen);
        let online = loaded.findings.iter().filter(|finding| finding.code.is_of_no_text());
        online
            .map(|finding| {
                assert!(finding.line > 0 && finding.help.is_some());
                (finding.code, text[finding.span.range()].to_owned())
            })
            .collect()
    }

    #[test]
    fn kinds_and_mounts_that_are_not_there_are_told_of() {
        let openlist = || seen("a", &[Kind::Copy, Kind::Move], &["/media", "/百度"]);
        let alist = || seen("b", &[Kind::Copy, Kind::S3Transition], &["/", "/b.balance1"]);
        let unknown = || Sighting { kinds: None, mounts: None, ..seen("b", &[], &[]) };
        let kind = |word: &str| vec![(Code::KindNotOnServer, word.to_owned())];
        let mount = |word: &str| vec![(Code::MountNotOnServer, word.to_owned())];
        for (condition, servers, expected) in [
            ("kind: copy, dst_mount: /media", vec![openlist()], vec![]),
            ("kind: [copy, s3_transition]", vec![openlist()], kind("s3_transition")),
            ("kind: [copy, s3_transition]", vec![openlist(), alist()], vec![]),
            ("kind: s3_transition, server: a", vec![openlist(), alist()], kind("s3_transition")),
            ("kind: move, server: [a, b]", vec![openlist(), alist()], vec![]),
            ("kind: upload", vec![openlist(), alist()], kind("upload")),
            ("kind: upload", vec![openlist(), unknown()], vec![]),
            ("kind: copy, not: { kind: upload }", vec![openlist()], vec![]),
            ("any: [{ kind: upload }, { state: failed }]", vec![openlist()], kind("upload")),
            ("all: [{ server: b }, { kind: move }]", vec![openlist(), alist()], kind("move")),
            ("dst_mount: [/media/, /Media]", vec![openlist()], mount("/Media")),
            ("src_mount: '/百*'", vec![openlist()], vec![]),
            ("src_mount: /", vec![alist()], vec![]),
            ("src_mount: '/b*'", vec![alist()], vec![]),
            ("src_mount: '/c*'", vec![openlist(), alist()], mount("'/c*'")),
            ("src_mount: '/c*'", vec![openlist(), unknown()], vec![]),
        ] {
            assert_eq!(found(condition, &servers), expected, "{condition}");
        }
    }

    #[test]
    fn servers_that_are_away_and_users_without_rights_are_told_of() {
        let away = Sighting::away("a".into(), "connection refused".to_owned());
        let limited = Sighting { limited: Some("bob".to_owned()), ..seen("b", &[Kind::Copy], &[]) };
        assert_eq!(
            found("kind: move", &[away, limited]),
            [
                (Code::ServerUnreachable, "'http://a'".to_owned()),
                (Code::LimitedRights, "bob".to_owned()),
            ]
        );
    }

    #[test]
    fn the_pages_of_online_codes_show_their_finding() {
        let server = seen("home", &[Kind::Copy], &["/media"]);
        for code in [Code::KindNotOnServer, Code::MountNotOnServer] {
            let page = crate::rules::pages::page(code);
            let has = |lines: &str| {
                let text = format!(
                    "version: 1\nservers: [{{ name: home, url: 'http://x', token: {{ env: T }} }}]\n\
                     rules:\n{lines}\n"
                );
                let mut loaded = load(Source::new("x", &text));
                hold_against(&mut loaded, Source::new("x", &text), std::slice::from_ref(&server));
                loaded.findings.iter().any(|finding| finding.code == code)
            };
            assert!(has(page.wrong) && !has(page.right), "{code}");
        }
    }
}
