//! Task names: what they say, and what in them must not get out.
//!
//! Servers escape nothing in a name (CONTRACT.md, "Names"), so reading one can be a guess. A guess
//! says so, and a name that cannot be read at all is still a name: nothing here fails.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::LazyLock;

use memchr::memmem;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::redact;
pub use super::redact::scrub;

/// A task's name with archive passwords and URL secrets taken out. The raw text is not kept.
#[derive(Clone, Eq, Deserialize)]
pub struct TaskName {
    shown: Box<str>,
    /// Where it is not that of the name as it is shown. It is seldom asked for, and takes its time.
    identity: Option<NonZeroU64>,
}

/// The name as it is kept.
#[derive(Serialize)]
struct Kept<'n> {
    shown: &'n str,
    identity: u64,
}

impl TaskName {
    /// Takes a name as the server sent it.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        if redact::is_plain(raw) {
            return Self { shown: raw.into(), identity: None };
        }
        let identity = NonZeroU64::new(number(&redact::redacted_identity(raw)));
        Self { shown: redact::redacted_name(raw).into(), identity }
    }

    /// The name as anything may show it and as the matchers see it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A number that is the same for tasks made again under the same name (a fresh signature in a
    /// URL and another archive password make no difference).
    ///
    /// It comes from the name as the server sent it: the shown form of a name has another one.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.identity.map_or_else(|| number(&self.shown), NonZeroU64::get)
    }

    /// What the name says.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        parts(&self.shown)
    }
}

/// Kept for months, so it may depend neither on the process nor on the compiler's version.
fn number(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

impl PartialEq for TaskName {
    fn eq(&self, other: &Self) -> bool {
        let same_identity = || self.identity() == other.identity();
        self.shown == other.shown && (self.identity == other.identity || same_identity())
    }
}

impl Serialize for TaskName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Kept { shown: &self.shown, identity: self.identity() }.serialize(serializer)
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A place on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The mount, e.g. `/115`; empty for a path on the server's own disk.
    pub mount: &'a str,
    /// The path below the mount.
    pub path: &'a str,
}

/// What a task's name says, borrowed from it. All empty where the name has a form of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The file: an upload's file name, the last component of a source path or of a URL's path. As
    /// it stands in the name, so percent-encoded where a URL is.
    pub file: Option<&'a str>,
    /// A download's URL (secrets out), `magnet:` and the like included.
    pub url: Option<&'a str>,
    /// Where it comes from.
    pub src: Option<Location<'a>>,
    /// Where it goes. A download names a path only: its mount is empty.
    pub dst: Option<Location<'a>>,
    /// The path inside the archive, of a `decompress`.
    pub inner: Option<&'a str>,
    /// Whether the name carried an archive password.
    pub has_password: bool,
    /// Whether the name could be read in more than one way, so that this is the likelier guess.
    pub ambiguous: bool,
}

/// Reads a name whose secrets are out.
fn parts(name: &str) -> Parts<'_> {
    let form = name.split_once(' ').and_then(|(verb, rest)| match verb {
        "upload" => upload(rest),
        "copy" | "move" | "transfer" => two_places(rest),
        "download" => download(rest),
        "decompress" => {
            let rest = rest.strip_suffix(redact::PASSWORD_SHOWN).unwrap_or(rest);
            decompress(rest)
        }
        _ => None,
    });
    // In the other forms the words are a file's name.
    let may_carry_password = !["upload ", "copy ", "move ", "transfer ", "download "]
        .iter()
        .any(|v| name.starts_with(v));
    let has_password = may_carry_password && name.ends_with(redact::PASSWORD_SHOWN);
    Parts { has_password, ..form.unwrap_or_default() }
}

/// One way to read the end of a name.
struct Reading<'a> {
    /// Where what stands before the separator ends.
    at: usize,
    place: Location<'a>,
}

/// Reads `SEPARATOR[MOUNT](PATH)` off the end of the text, where `SEPARATOR` ends in `[` and begins
/// at `from` or later. Of several readings the last whose mount starts with `/` wins, since files
/// are called stranger things than folders; `bool` says whether there were several.
///
/// A mount runs to the first `](` behind it: one that holds these characters is not considered.
/// One pass from right to left, whatever the text repeats.
fn last_place<'a>(text: &'a str, from: usize, separator: &str) -> Option<(Reading<'a>, bool)> {
    let body = text.strip_suffix(')')?;
    let mut best: Option<Reading<'a>> = None;
    let mut readings = 0_usize;
    let mut close = None;
    let mut searched = body.len();
    for (at, _) in body.get(from..)?.rmatch_indices(separator) {
        let at = from + at;
        let mount = at + separator.len();
        // The separator may overlap what was searched by its own end only, which holds no `](`.
        if let Some(found) = body[mount..searched.max(mount)].find("](") {
            close = Some(mount + found);
        }
        searched = mount + 1;
        while !body.is_char_boundary(searched.min(body.len())) {
            searched += 1;
        }
        searched = searched.min(body.len());
        let Some(close) = close else { continue };
        readings += 1;
        let place = Location { mount: &body[mount..close], path: &body[close + 2..] };
        let better = best
            .as_ref()
            .is_none_or(|best| place.mount.starts_with('/') && !best.place.mount.starts_with('/'));
        if better {
            best = Some(Reading { at, place });
        }
    }
    best.map(|reading| (reading, readings > 1))
}

/// `FILE to [MOUNT](PATH)`
fn upload(rest: &str) -> Option<Parts<'_>> {
    let (reading, ambiguous) = last_place(rest, 0, " to [")?;
    Some(Parts {
        file: last_component(&rest[..reading.at]),
        dst: Some(reading.place),
        ambiguous,
        ..Parts::default()
    })
}

/// `[SRC_MOUNT](SRC_PATH) to [DST_MOUNT](DST_PATH)`
fn two_places(rest: &str) -> Option<Parts<'_>> {
    let (mount, path_at) = first_mount(rest)?;
    let (reading, ambiguous) = last_place(rest, path_at, ") to [")?;
    let src = Location { mount, path: &rest[path_at..reading.at] };
    Some(Parts {
        file: last_component(src.path),
        src: Some(src),
        dst: Some(reading.place),
        ambiguous,
        ..Parts::default()
    })
}

/// `[MOUNT](PATH)[INNER] to [MOUNT](PATH)`
fn decompress(rest: &str) -> Option<Parts<'_>> {
    let (mount, path_at) = first_mount(rest)?;
    let inner_from = path_at + rest[path_at..].find(")[")?;
    let (reading, ambiguous) = last_place(rest, inner_from + 2, "] to [")?;
    let source = &rest[path_at..reading.at];
    let mut splits = source.rmatch_indices(")[").map(|(at, _)| at);
    let last = splits.next()?;
    let several = splits.next().is_some();
    // The path inside an archive starts with a slash as well.
    let split = if source[last + 2..].starts_with('/') || !several {
        last
    } else {
        source.rfind(")[/").unwrap_or(last)
    };
    let src = Location { mount, path: &source[..split] };
    Some(Parts {
        file: last_component(src.path),
        src: Some(src),
        dst: Some(reading.place),
        inner: Some(&source[split + 2..]),
        ambiguous: ambiguous || several,
        ..Parts::default()
    })
}

/// The mount at the front of `[MOUNT](...`, and where its path begins.
fn first_mount(rest: &str) -> Option<(&str, usize)> {
    let close = rest.strip_prefix('[')?.find("](")?;
    Some((&rest[1..=close], close + 3))
}

/// Where the URL of a `download` ends.
pub(super) struct DownloadSplit {
    /// The place of ` to (`.
    pub(super) at: usize,
    /// The last place at which it could be split.
    pub(super) last: usize,
    ambiguous: bool,
}

/// Splits `URL to (PATH)`. Of several readings the first whose path starts with `/` wins: a URL
/// holds no blanks, a path may.
pub(super) fn download_split(rest: &str) -> Option<DownloadSplit> {
    const SEPARATOR: &str = " to (";
    static FINDER: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(SEPARATOR));
    let body = rest.strip_suffix(')')?;
    let mut splits = FINDER.find_iter(body.as_bytes()).peekable();
    let first = *splits.peek()?;
    let (mut rooted, mut last, mut count) = (None, first, 0);
    for at in splits {
        count += 1;
        last = at;
        if rooted.is_none() && body[at + SEPARATOR.len()..].starts_with('/') {
            rooted = Some(at);
        }
    }
    Some(DownloadSplit { at: rooted.unwrap_or(last), last, ambiguous: count > 1 })
}

/// `URL to (PATH)`
fn download(rest: &str) -> Option<Parts<'_>> {
    let split = download_split(rest)?;
    let url = &rest[..split.at];
    let path = rest[split.at..].strip_prefix(" to (")?.strip_suffix(')')?;
    Some(Parts {
        file: url_file(url),
        url: Some(url),
        dst: Some(Location { mount: "", path }),
        ambiguous: split.ambiguous,
        ..Parts::default()
    })
}

/// What a URL calls the file.
fn url_file(url: &str) -> Option<&str> {
    let scheme = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    if scheme.starts_with("magnet:?") {
        return url[8..].split('&').find_map(|pair| pair.strip_prefix("dn="));
    }
    if scheme.starts_with("ed2k://|") {
        return url[8..].split('|').nth(1).filter(|file| !file.is_empty());
    }
    let path = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let path = path.split_once("://").map_or(path, |(_, path)| path);
    last_component(path.split_once('/')?.1)
}

fn last_component(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|file| !file.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A location as `MOUNT:PATH`.
    fn place(location: Option<Location<'_>>) -> String {
        location.map(|l| format!("{}:{}", l.mount, l.path)).unwrap_or_default()
    }

    /// `file | url | src | dst | inner`, then what is set of `password` and `ambiguous`.
    fn outline(raw: &str) -> String {
        let name = TaskName::new(raw);
        let p = name.parts();
        let fields = [
            p.file.unwrap_or_default().to_owned(),
            p.url.unwrap_or_default().to_owned(),
            place(p.src),
            place(p.dst),
            p.inner.unwrap_or_default().to_owned(),
        ];
        let mut out = fields.join(" | ");
        if p.has_password {
            out.push_str(" password");
        }
        if p.ambiguous {
            out.push_str(" ambiguous");
        }
        out
    }

    #[test]
    fn names_say_what_a_task_does() {
        for (raw, expected) in [
            ("upload 1.png to [/s](/test)", "1.png |  |  | /s:/test | "),
            ("upload a to b.txt to [/s](/)", "a to b.txt |  |  | /s:/ | "),
            ("copy [/src](/a b.txt) to [/dst](/)", "a b.txt |  | /src:/a b.txt | /dst:/ | "),
            ("move [/src](/d/mv.bin) to [/dst](/x)", "mv.bin |  | /src:/d/mv.bin | /dst:/x | "),
            ("copy [/src](/) to [/dst](/)", " |  | /src:/ | /dst:/ | "),
            ("copy [/src](/dir/) to [/dst](/)", "dir |  | /src:/dir/ | /dst:/ | "),
            (
                "copy [/src](/weird [x](y) to [z](w).txt) to [/dst](/)",
                "weird [x](y) to [z](w).txt |  | /src:/weird [x](y) to [z](w).txt | /dst:/ |  ambiguous",
            ),
            ("copy [/s](/a [b](c).txt) to [/d](/)", "a [b](c).txt |  | /s:/a [b](c).txt | /d:/ | "),
            (
                "copy [/a](/x) to [/b](/y) to [/c](/z)",
                "y |  | /a:/x) to [/b](/y | /c:/z |  ambiguous",
            ),
            ("transfer [](/tmp/u/5000) to [/dst](/)", "5000 |  | :/tmp/u/5000 | /dst:/ | "),
            ("transfer [/p](/x) to [/dst](/中文)", "x |  | /p:/x | /dst:/中文 | "),
            (
                "download http://h:1/ok/5000?179 to (/dst)",
                "5000 | http://h:1/ok/5000?*** |  | :/dst | ",
            ),
            ("download http://h/x to (/a to (b))", "x | http://h/x |  | :/a to (b) |  ambiguous"),
            ("download http://h to (/dst)", " | http://h |  | :/dst | "),
            (
                "download magnet:?xt=urn:btih:AB&dn=How to (be) to (/dst)",
                "How to (be) | magnet:?xt=urn:btih:AB&dn=How to (be) |  | :/dst |  ambiguous",
            ),
            ("download ed2k://|file|a b|1|H|/ to (/d)", "a b | ed2k://|file|a b|1|H|/ |  | :/d | "),
            ("decompress [/m](/a.zip)[/] to [/d](/)", "a.zip |  | /m:/a.zip | /d:/ | /"),
            (
                "decompress [/m](/a.zip)[/i/j] to [/d](/x) with password <s3cr3t pass>word>",
                "a.zip |  | /m:/a.zip | /d:/x | /i/j password",
            ),
            (
                "decompress [/m](/a)[1].zip)[/in] to [/d](/)",
                "a)[1].zip |  | /m:/a)[1].zip | /d:/ | /in ambiguous",
            ),
            ("decompress [/m](/a.zip)[] to [/d](/)", "a.zip |  | /m:/a.zip | /d:/ | "),
            ("sync [/a](/b) with [/c](/d)", " |  |  |  | "),
            ("copy [/src](/a", " |  |  |  | "),
            ("copy", " |  |  |  | "),
            ("", " |  |  |  | "),
            ("unpack x with password <y>", " |  |  |  |  password"),
            (
                "upload x with password <y>.zip to [/d](/)",
                "x with password <***>.zip |  |  | /d:/ | ",
            ),
        ] {
            assert_eq!(outline(raw), expected, "{raw}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for (raw, expected) in [
            (
                "decompress [/m](/a)[/] to [/d](/) with password <a with password <b> c",
                "decompress [/m](/a)[/] to [/d](/) with password <***>",
            ),
            (
                "decompress [/m](/a)[/] to [/d](/) with password <cu",
                "decompress [/m](/a)[/] to [/d](/) with password <***>",
            ),
            (
                "download https://u:p w@h/x?a=1 2&b to (/d)",
                "download https://***@h/x?a=***&*** to (/d)",
            ),
            ("download u:p@h.example/f to (/d)", "download ***@h.example/f to (/d)"),
            ("download u:p/q?r#s@h.example/f to (/d)", "download ***@h.example/f to (/d)"),
            ("download http:/u:p@h/f to (/d)", "download ***@h/f to (/d)"),
            ("download h.example:80/me@home to (/d)", "download h.example:80/me@home to (/d)"),
            ("download h.example/f?sign=abc to (/d)", "download h.example/f?sign=*** to (/d)"),
            ("download thunder://QUE/eA== to (/d)", "download thunder://*** to (/d)"),
            ("download https://h/x?s=a to (b@c to (/d)", "download https://h/x?s=*** to (/d)"),
            ("upload https://u:p@h/x.url to [/d](/)", "upload https://***@h/x.url to [/d](/)"),
        ] {
            let name = TaskName::new(raw);
            assert_eq!(name.shown(), expected);
            assert_eq!(TaskName::new(expected).shown(), expected);
        }
    }

    #[test]
    fn a_task_made_again_keeps_its_identity() {
        let same = |a: &str, b: &str| TaskName::new(a).identity() == TaskName::new(b).identity();
        for (a, b) in [
            (
                "download http://h/x?sign=a:0&id=1 to (/d)",
                "download http://h/x?sign=b:9&id=1 to (/d)",
            ),
            (
                "download http://h/x?X-Amz-Date=1&e=5 to (/d)",
                "download http://h/x?X-Amz-Date=2&e=6 to (/d)",
            ),
            ("download http://u:p@h/x to (/d)", "download http://u:q@h/x to (/d)"),
            (
                "decompress [/m](/a)[/] to [/d](/) with password <a>",
                "decompress [/m](/a)[/] to [/d](/) with password <b>",
            ),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("download http://h/x?id=1 to (/d)", "download http://h/x?id=2 to (/d)"),
            ("download http://h/x?1 to (/d)", "download http://h/x?2 to (/d)"),
            ("download http://h/x to (/d)", "download http://h/x to (/e)"),
            ("download thunder://AAAA to (/d)", "download thunder://BBBB to (/d)"),
            ("copy [/a](/b) to [/c](/)", "copy [/a](/b2) to [/c](/)"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
        // Kept in databases: the number of a name may never change.
        assert_eq!(
            TaskName::new("upload 1.png to [/s](/test)").identity(),
            4_587_754_009_686_729_884
        );
    }

    #[test]
    fn recorded_names_can_be_read() {
        fn names(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    if let (Some(name), true) = (map.get("name"), map.contains_key("state")) {
                        found.extend(name.as_str().map(str::to_owned));
                    }
                    map.values().for_each(|value| names(value, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|value| names(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        for recording in [
            include_str!("../../tests/fixtures/recorded-openlist-4.json"),
            include_str!("../../tests/fixtures/recorded-alist-3.62.json"),
        ] {
            names(&serde_json::from_str(recording).unwrap(), &mut found);
        }
        assert!(found.len() > 40, "{}", found.len());
        for raw in found {
            let name = TaskName::new(&raw);
            let parts = name.parts();
            assert!(parts.dst.is_some() && parts.file.is_some(), "{raw}: {parts:?}");
            assert!(parts.src.is_some() || parts.url.is_some() || raw.starts_with("upload "));
            assert_eq!(parts.has_password, raw.contains("with password"));
            assert!(!format!("{name:?}").contains("s3cr3t"));
        }
    }

    #[test]
    fn a_hostile_name_is_read_in_one_pass() {
        // Each of these would take hours if every split were held against every other.
        let many = 40_000;
        for unit in [
            "] to [", ") to [", " to [", "](", ")[", ") to [](", " to (", "://", "a:b@", "magnet:?",
        ] {
            for verb in ["upload ", "copy [/a](/", "download ", "decompress [/a](/b)[/", ""] {
                let name = TaskName::new(&[verb, &unit.repeat(many), "](/x)"].concat());
                let _ = name.parts();
            }
        }
    }

    /// A mount or a path without the characters that separate the parts of a name.
    fn plain() -> impl Strategy<Value = String> {
        "/[a-zA-Z0-9 ._\u{4e00}-\u{4e10}é'&%-]{0,12}(/[a-z0-9 \u{4e00}-\u{4e10}]{1,6}){0,3}"
            .prop_filter("` to ` can end a part", |text| !text.contains(" to "))
    }

    proptest! {
        #[test]
        fn plain_parts_come_back(sm in plain(), sp in plain(), dm in plain(), dp in plain(), inner in plain()) {
            for verb in ["copy", "move", "transfer"] {
                let name = TaskName::new(&format!("{verb} [{sm}]({sp}) to [{dm}]({dp})"));
                let parts = name.parts();
                prop_assert_eq!(parts.src, Some(Location { mount: &sm, path: &sp }));
                prop_assert_eq!(parts.dst, Some(Location { mount: &dm, path: &dp }));
                prop_assert!(!parts.ambiguous);
            }
            let name = TaskName::new(&format!("decompress [{sm}]({sp})[{inner}] to [{dm}]({dp}) with password <{sp}>"));
            let parts = name.parts();
            prop_assert_eq!(parts.src, Some(Location { mount: &sm, path: &sp }));
            prop_assert_eq!(parts.dst, Some(Location { mount: &dm, path: &dp }));
            prop_assert_eq!(parts.inner, Some(inner.as_str()));
            prop_assert!(parts.has_password && !parts.ambiguous);
            let file = sp.trim_start_matches('/').replace('/', "_");
            let file = format!("x{file}");
            let name = TaskName::new(&format!("upload {file} to [{dm}]({dp})"));
            prop_assert_eq!(name.parts().file, Some(file.as_str()));
            prop_assert_eq!(name.parts().dst, Some(Location { mount: &dm, path: &dp }));
        }

        #[test]
        fn any_text_is_a_name(text in any::<String>(), verb in "(upload|copy|download|decompress|transfer|) \\[?") {
            for raw in [text.clone(), format!("{verb}{text})"), format!("{verb}/a](/b)[{text}] to [{text}](/)")] {
                let name = TaskName::new(&raw);
                let _ = name.parts();
                let again = TaskName::new(name.shown());
                prop_assert_eq!(again.shown(), name.shown());
            }
        }

        #[test]
        fn no_secret_survives(
            secret in "[A-Za-z0-9]{3}(zq)[A-Za-z0-9><:?#/+=;, -]{0,10}(qz)[0-9a-f]{4,10}",
            tail in "[> a-z]{0,6}",
        ) {
            let compact: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
            // With these the query itself would be another one.
            let unpaired = secret.replace(['=', '#'], "");
            for (raw, secret) in [
                (format!("decompress [/m](/a.zip)[/] to [/d](/) with password <{secret}{tail}>"), &secret),
                (format!("decompress [/m](/a.zip)[/] to [/d](/) with password <{secret}{tail}"), &secret),
                (format!("unpack x with password <{secret}{tail}>"), &secret),
                (format!("download https://user:{secret}@h.example/f.bin to (/d)"), &secret),
                (format!("download https://{compact}@h.example/f.bin to (/d)"), &compact),
                (format!("download user:{compact}@h.example/f.bin to (/d)"), &compact),
                (format!("download https://h.example/f.bin?id=1&sign={unpaired} to (/d)"), &unpaired),
                (format!("download https://h.example/f.bin?{unpaired} to (/d)"), &unpaired),
                (format!("download https://h.example/f#access_token={unpaired} to (/d)"), &unpaired),
                (format!("download magnet:?xt=urn:btih:A&tr=https%3A%2F%2Ft.example%2F{compact}%2Fannounce to (/d)"), &compact),
                (format!("download magnet:?xt=urn:btih:A&dn=b c&tr=https://t.example/a?passkey={compact} to (/d)"), &compact),
                (format!("download thunder://{compact}== to (/d)"), &compact),
                (format!("copy [/m](/https://u:{compact}@h/x?y={compact}) to [/d](/)"), &compact),
                (format!("upload eyJhbGciOi.{compact}.x to [/d](/)"), &compact),
            ] {
                let name = TaskName::new(&raw);
                let json = serde_json::to_string(&name).unwrap();
                for out in [name.shown().to_owned(), format!("{name:?} {name}"), format!("{:?}", name.parts()), json] {
                    prop_assert!(!out.contains(secret.as_str()) && !out.contains("zq"), "{} -> {}", raw, out);
                }
            }
        }
    }
}
