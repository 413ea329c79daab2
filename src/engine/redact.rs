//! What must not get out of a text: URL credentials and signatures, archive passwords, tokens.
//!
//! Works on text that nobody escaped, so where the end of a secret cannot be told, more is taken
//! out rather than less. Every redaction reads `***` and is left alone by the next look.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;
use regex::{Captures, Regex};

/// What stands in the place of a secret.
const MASK: &str = "***";

/// What introduces an archive password in the name of a `decompress` (CONTRACT.md, "Names").
const PASSWORD_MARK: &str = " with password <";

/// The end of a name whose archive password was taken out.
pub(super) const PASSWORD_SHOWN: &str = " with password <***>";

/// How often a text is looked at again when a redaction uncovered something. Two looks are the rule.
const LOOKS: usize = 8;

/// What the redacted text is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be shown: no secret may be left.
    Show,
    /// To be hashed: what changes from one signing to the next goes, what tells one file from
    /// another stays.
    Identify,
}

/// Where a link begins and what sort it is.
struct Link {
    /// Where the redaction begins, behind the scheme.
    body: usize,
    sort: LinkSort,
}

#[derive(Clone, Copy)]
enum LinkSort {
    Url,
    Magnet,
    /// Base64 of an URL or of an account.
    Opaque,
    /// Hashes and a file name only.
    Ed2k,
}

/// What a token in a name begins with.
static BEGINNINGS: LazyLock<[memmem::Finder<'static>; 2]> =
    LazyLock::new(|| ["eyJ", "bot"].map(memmem::Finder::new));

static PASSWORD: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(PASSWORD_MARK));

/// Whether a name has nothing that a secret could begin with, as most have; the steps below would find
/// nothing, at some cost. Links and the tokens of bots have a colon, what introduces a password has a `<`.
pub(super) fn is_plain(name: &str) -> bool {
    let [web_token, _] = &*BEGINNINGS;
    let bytes = name.as_bytes();
    !name.starts_with("download ")
        && memchr::memchr2(b':', b'<', bytes).is_none()
        && web_token.find(bytes).is_none()
}

/// Whether a token may be in the text.
fn has_token(text: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| beginning.find(text.as_bytes()).is_some())
}

/// The name as it may be shown.
pub(super) fn redacted_name(raw: &str) -> Cow<'_, str> {
    settle(raw, |text| {
        let step = password_in_name(text);
        let step = then(step, |text| links_in_name(text, Purpose::Show));
        then(step, tokens)
    })
}

/// The name with everything dropped that differs when the same task is made again.
pub(super) fn redacted_identity(raw: &str) -> Cow<'_, str> {
    let step = password_in_name(raw);
    let step = then(step, |text| links_in_name(text, Purpose::Identify));
    then(step, tokens)
}

/// Takes URL credentials, query values, tokens, cookies and passwords out of free text such as an
/// error or a status. What tells the failure (status codes, hosts, paths, words) stays.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    if !SUSPICIOUS.is_match(text) {
        return Cow::Borrowed(text);
    }
    settle(text, |text| {
        let step = password_in_text(text);
        let step = then(step, |text| links(text, Purpose::Show));
        let step = then(step, tokens);
        then(step, named_secrets)
    })
}

/// Applies the step until it changes nothing more.
fn settle(text: &str, step: impl Fn(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    let mut settled = Cow::Borrowed(text);
    for _ in 0..LOOKS {
        let changed = match step(&settled) {
            Cow::Owned(changed) if changed != *settled => changed,
            _ => break,
        };
        settled = Cow::Owned(changed);
    }
    settled
}

/// Applies a step to what the one before left, without a copy where neither changes anything.
fn then(text: Cow<'_, str>, step: impl Fn(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    let changed = match step(&text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed),
    };
    changed.map_or(text, Cow::Owned)
}

// Archive passwords

/// In a `decompress`, and in a name of a form not known here, everything from the first mark on
/// goes: nothing is escaped, so a later mark may be part of the password. The other forms carry no
/// password, but a file may be called so; there the part that could be one goes.
fn password_in_name(text: &str) -> Cow<'_, str> {
    let known = ["upload ", "copy ", "move ", "transfer ", "download "];
    if known.iter().any(|form| text.starts_with(form)) {
        return password_in_text(text);
    }
    match text.split_once(PASSWORD_MARK) {
        Some((before, _)) => Cow::Owned([before, PASSWORD_SHOWN].concat()),
        None => Cow::Borrowed(text),
    }
}

/// In free text words may follow, behind the last `>`. If what follows does not read like the next
/// part of a message, the text was cut inside the password, and the rest goes as well.
fn password_in_text(text: &str) -> Cow<'_, str> {
    let Some(at) = PASSWORD.find(text.as_bytes()) else { return Cow::Borrowed(text) };
    let (before, secret) = (&text[..at], &text[at + PASSWORD_MARK.len()..]);
    let after = secret.rfind('>').map_or("", |end| &secret[end + 1..]);
    let follows = after.starts_with([':', ';', ',', '.', ')', ']', '"', '\'', '\n', '：', '，'])
        || after.contains(" to [");
    Cow::Owned([before, PASSWORD_SHOWN, if follows { after } else { "" }].concat())
}

// Links

/// The links of a name. A download's URL has a known place, so there blanks do not end it and a
/// missing scheme does not hide its credentials.
fn links_in_name(text: &str, purpose: Purpose) -> Cow<'_, str> {
    let Some(rest) = text.strip_prefix("download ") else {
        return links(text, purpose);
    };
    let end = download_link_end(rest);
    let (link, destination) = rest.split_at(end);
    let mut out = String::with_capacity(text.len());
    out.push_str("download ");
    whole_link(link, purpose, &mut out);
    out.push_str(&links(destination, purpose));
    Cow::Owned(out)
}

/// Where the link of a download ends for the purpose of redaction: where [`super::name`] reads the
/// end, or later if what stands between could still belong to a link.
fn download_link_end(rest: &str) -> usize {
    let Some(split) = super::name::download_split(rest) else { return rest.len() };
    let between = &rest[split.at..split.last];
    if between.contains(['@', '=']) { split.last } else { split.at }
}

/// Redacts a link that is known to fill the text.
fn whole_link(text: &str, purpose: Purpose, out: &mut String) {
    match next_link(text, 0) {
        // Behind other text it is no scheme of this link: `user:pass@host/https://x`.
        Some(link) if is_scheme(&text[..link.body]) => {
            out.push_str(&text[..link.body]);
            link_body(&text[link.body..], link.sort, purpose, out);
        }
        _ => {
            let slashes = text.len() - text.trim_start_matches('/').len();
            out.push_str(&text[..slashes]);
            url_body(&text[slashes..], Scheme::Missing, purpose, out);
        }
    }
}

/// Whether the text is a scheme with what ends it.
fn is_scheme(text: &str) -> bool {
    let name = text.trim_start().trim_end_matches(['/', '\\', '?']);
    name.strip_suffix(':').is_some_and(|name| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// The links of free text.
fn links(text: &str, purpose: Purpose) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut done, mut quoted) = (0, Quoted::default());
    while let Some(link) = next_link(text, done) {
        let end = match link.sort {
            LinkSort::Magnet => magnet_end(text, link.body, &mut quoted),
            _ => url_end(text, link.body, &mut quoted),
        };
        out.push_str(&text[done..link.body]);
        link_body(&text[link.body..end], link.sort, purpose, &mut out);
        done = end;
    }
    if done == 0 || out == text[..done] {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// The first link whose mark begins at `from` or later.
fn next_link(text: &str, from: usize) -> Option<Link> {
    let bytes = text.as_bytes();
    // Every mark has a colon.
    memchr::memchr_iter(b':', &bytes[from..]).find_map(|colon| {
        let at = from + colon;
        // PHP, which several drives run on, writes `https:\/\/` in its JSON.
        let marks: [&[u8]; 2] = [b"://", b":\\/\\/"];
        if let Some(mark) = marks.iter().find(|mark| bytes[at..].starts_with(mark)) {
            let body = at + mark.len();
            return Some(Link { body, sort: sort_of(&text[from..at], &text[body..]) });
        }
        let magnet = bytes[from..at].last_chunk::<6>()?.eq_ignore_ascii_case(b"magnet");
        let magnet = magnet && bytes[at + 1..].starts_with(b"?");
        magnet.then_some(Link { body: at + 2, sort: LinkSort::Magnet })
    })
}

/// What sort of link it is, by what stands before and behind `://`.
fn sort_of(before: &str, body: &str) -> LinkSort {
    let other = |b: u8| !b.is_ascii_alphanumeric() && !matches!(b, b'+' | b'-' | b'.');
    let scheme = before.bytes().rposition(other).map_or(before, |at| &before[at + 1..]);
    let is = |name: &&str| scheme.eq_ignore_ascii_case(name);
    if ["thunder", "flashget", "qqdl", "ss", "ssr", "vmess"].iter().any(is) {
        LinkSort::Opaque
    } else if is(&"ed2k") && body.starts_with('|') {
        LinkSort::Ed2k
    } else {
        LinkSort::Url
    }
}

/// What stands from a place up to the next quote, looked for once for all links there.
#[derive(Default)]
struct Quoted {
    from: usize,
    /// Where the quote is, or the end of the text.
    end: usize,
    /// The last `@` before the quote.
    at: Option<usize>,
}

impl Quoted {
    /// The last `@` before the next quote behind `from`; `None` if there is neither.
    fn last_at(&mut self, text: &str, from: usize) -> Option<usize> {
        if !(self.from..=self.end).contains(&from) {
            let quote = text[from..].find('"').map(|at| from + at);
            let at = quote.and_then(|quote| text[from..quote].rfind('@'));
            *self = Self { from, end: quote.unwrap_or(text.len()), at: at.map(|at| from + at) };
        }
        self.at.filter(|at| *at >= from)
    }
}

/// Where a link in free text ends: at a blank, a quote, a bracket of a kind that no URL holds, or
/// Chinese punctuation; and before the punctuation of the sentence around it.
fn url_end(text: &str, body: usize, quoted: &mut Quoted) -> usize {
    let end = word_end(text, body);
    // `parse "https://user:pa ss@host/": invalid userinfo`: Go quotes what it could not parse.
    let word = &text[body..end];
    if !word.contains(['/', '?', '#', '@'])
        && has_password_for_port(word)
        && let Some(at) = quoted.last_at(text, end)
    {
        return word_end(text, at);
    }
    body + word.trim_end_matches([':', ',', '.', ';', '!', ')', ']', '}', '\'']).len()
}

fn word_end(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = match c {
            '\\' => matches!(chars.peek(), Some((_, '"' | '\'' | 'n' | 'r' | 't' | '\\'))),
            '"' | '<' | '>' | '`' | '，' | '。' | '；' | '、' | '！' | '？' | '：' | '（'
            | '）' | '【' | '】' | '《' | '》' | '「' | '」' | '“' | '”' | '‘' | '’' => {
                true
            }
            c => c.is_whitespace() || c.is_control(),
        };
        if ends {
            return from + at;
        }
    }
    text.len()
}

/// A magnet's display name may hold blanks; its trackers behind it, up to the next magnet, are still part of it.
fn magnet_end(text: &str, body: usize, quoted: &mut Quoted) -> usize {
    const WINDOW: usize = 8192;
    let end = url_end(text, body, quoted);
    let mut window = (end + WINDOW).min(text.len());
    while !text.is_char_boundary(window) {
        window -= 1;
    }
    let line = &text[end..window];
    let line = &line[..memchr::memchr2(b'\n', b'"', line.as_bytes()).unwrap_or(line.len())];
    let next = line.match_indices(":?").find_map(|(at, _)| {
        let word = at.checked_sub(6)?;
        line.as_bytes()[word..at].eq_ignore_ascii_case(b"magnet").then_some(word)
    });
    let line = &line[..next.unwrap_or(line.len())];
    let lower = line.to_ascii_lowercase();
    ["&tr", "&ws", "&as", "&xs", "&amp;tr", "&amp;ws", "&amp;as", "&amp;xs"]
        .iter()
        .filter_map(|mark| lower.rfind(mark))
        .max()
        .map_or(end, |at| url_end(text, end + at, quoted))
}

fn link_body(body: &str, sort: LinkSort, purpose: Purpose, out: &mut String) {
    match (sort, purpose) {
        (LinkSort::Opaque, Purpose::Show) => out.push_str(MASK),
        (LinkSort::Opaque, Purpose::Identify) | (LinkSort::Ed2k, _) => out.push_str(body),
        (LinkSort::Magnet, _) => magnet_body(body, purpose, out),
        (LinkSort::Url, _) => url_body(body, Scheme::Present, purpose, out),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Present,
    Missing,
}

/// Whether the part of a URL before its first `/`, `?` or `#` looks like `user:pass` rather than
/// like `host:port`: then the password holds that character, and the credentials go on to an `@`.
fn has_password_for_port(authority: &str) -> bool {
    !authority.starts_with('[')
        && authority
            .split_once(':')
            .is_some_and(|(_, port)| port.bytes().any(|b| !b.is_ascii_digit()))
}

/// A URL behind its `scheme://`.
fn url_body(body: &str, scheme: Scheme, purpose: Purpose, out: &mut String) {
    let mut scheme = scheme;
    // Most names of downloads come here, so bytes are looked for, not characters.
    let path_end = |from: usize| {
        memchr::memchr2(b'?', b'#', &body.as_bytes()[from..]).map_or(body.len(), |at| from + at)
    };
    // How far it is written out, and what is looked for once: a hostile link holds a hundred thousand others.
    let (mut done, mut tail) = (0, path_end(0));
    let (last_in_path, last) = (body[..tail].rfind('@'), body.rfind('@'));
    // A proxy's URL holds another one in its path, credentials and all.
    loop {
        let rest = &body[done..];
        let ends = |byte| matches!(byte, b'/' | b'?' | b'#' | b'\\');
        let authority = rest.bytes().position(ends).unwrap_or(rest.len());
        let ahead = |at: Option<usize>| at.and_then(|at| at.checked_sub(done));
        let wide = || ahead(last_in_path).or_else(|| ahead(last));
        let credentials = match scheme {
            Scheme::Present => rest[..authority]
                .rfind('@')
                .or_else(|| has_password_for_port(&rest[..authority]).then(wide).flatten()),
            // Without a scheme a colon tells credentials from a file called `me@home`; the
            // password behind it may hold anything, and `http:/user:pass@host` comes here too.
            Scheme::Missing => rest[..authority].find(':').and_then(|colon| {
                let at = wide()?;
                let port = &rest[colon + 1..authority];
                let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                (at > colon && !(is_port && at > authority)).then_some(at)
            }),
        };
        if let Some(at) = credentials {
            if purpose == Purpose::Show {
                out.push_str(MASK);
                out.push('@');
            }
            done += at + 1;
            if done > tail {
                // It was the last of all.
                tail = path_end(done);
            }
        }
        let path = &body.as_bytes()[done..tail];
        let nested = memchr::memchr_iter(b':', path).find(|at| path[*at..].starts_with(b"://"));
        let Some(nested) = nested else { break };
        out.push_str(&body[done..done + nested + 3]);
        done += nested + 3;
        scheme = Scheme::Present;
    }
    let (path, tail) = body[done..].split_at(tail - done);
    url_path(path, out);
    if let Some(query) = tail.strip_prefix('?') {
        let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
        out.push('?');
        pairs(query, purpose, out);
        url_fragment(fragment, purpose, out);
    } else {
        url_fragment(tail, purpose, out);
    }
}

/// A tracker's path holds the member's key: `/0123abcd/announce`.
fn url_path(path: &str, out: &mut String) {
    if let Some((before, last)) = path.rsplit_once('/')
        && last.starts_with("announce")
        && let Some((host, _)) = before.split_once('/')
    {
        out.push_str(host);
        out.push_str("/***/announce");
    } else {
        out.push_str(path);
    }
}

/// A fragment with `=` is read like a query; one that is a lone long word is a key, as in the share
/// links of some drives.
fn url_fragment(fragment: &str, purpose: Purpose, out: &mut String) {
    let is_key = |text: &str| {
        text.len() >= 16
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'!'))
    };
    match fragment.strip_prefix('#') {
        Some(text) if text.contains('=') => {
            out.push('#');
            pairs(text, purpose, out);
        }
        Some(text) if purpose == Purpose::Show && is_key(text) => {
            out.push('#');
            out.push_str(MASK);
        }
        _ => out.push_str(fragment),
    }
}

/// The pairs of a query. Shown, the keys are kept if they look like keys; for the identity, the
/// values are, unless their key is one of those that sign.
fn pairs(query: &str, purpose: Purpose, out: &mut String) {
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match (pair.split_once('='), purpose) {
            (None, Purpose::Show) if !pair.is_empty() => out.push_str(MASK),
            (None, _) => out.push_str(pair),
            (Some((key, value)), Purpose::Show) => {
                // Base64 ends in `=` and stands for no key.
                let padded = value.bytes().all(|b| b == b'=');
                let plain = |b: u8| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'~' | b'$' | b';')
                };
                let is_key = key.len() <= 40
                    && key.bytes().all(plain)
                    && !(padded && (key.len() >= 12 || !value.is_empty()));
                if is_key {
                    out.push_str(key);
                    out.push('=');
                }
                if !is_key || !value.is_empty() {
                    out.push_str(MASK);
                }
            }
            (Some((key, value)), Purpose::Identify) => {
                out.push_str(key);
                out.push('=');
                if !signs(key) {
                    out.push_str(value);
                }
            }
        }
    }
}

/// Whether a query value under this key changes from one signing to the next, or is a credential.
fn signs(key: &str) -> bool {
    const FAMILIES: [&str; 6] = ["x-amz-", "x-oss-", "x-cos-", "x-goog-", "x-obs-", "q-"];
    let key = key.to_ascii_lowercase();
    let key = key.strip_prefix("amp;").unwrap_or(&key);
    let known = matches!(
        key,
        "sign"
            | "signature"
            | "sig"
            | "token"
            | "access_token"
            | "accesstoken"
            | "refresh_token"
            | "id_token"
            | "auth_token"
            | "auth"
            | "authkey"
            | "auth_key"
            | "authorization"
            | "key-pair-id"
            | "policy"
            | "expires"
            | "expire"
            | "expiry"
            | "exp"
            | "expiration"
            | "expires_in"
            | "expire_time"
            | "deadline"
            | "e"
            | "t"
            | "_t"
            | "ts"
            | "_"
            | "timestamp"
            | "time"
            | "nonce"
            | "rand"
            | "random"
            | "ossaccesskeyid"
            | "awsaccesskeyid"
            | "accesskeyid"
            | "googleaccessid"
            | "security-token"
            | "sv"
            | "se"
            | "sp"
            | "st"
            | "sr"
            | "spr"
            | "ske"
            | "skt"
            | "sks"
            | "skv"
            | "skoid"
            | "sktid"
            | "passkey"
            | "password"
            | "passwd"
            | "pwd"
            | "pass"
            | "api_key"
            | "apikey"
            | "upsig"
            | "wssecret"
            | "wstime"
            | "txsecret"
            | "txtime"
    );
    known || FAMILIES.iter().any(|family| key.starts_with(family))
}

/// A magnet behind its `magnet:?`. What names the content stays; a tracker keeps scheme and host,
/// since its path or query holds the member's key.
fn magnet_body(body: &str, purpose: Purpose, out: &mut String) {
    for (index, pair) in body.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        let Some((key, value)) = pair.split_once('=') else {
            // An empty piece, or an unescaped `&` in the display name.
            out.push_str(if pair.is_empty() || purpose == Purpose::Identify { pair } else { MASK });
            continue;
        };
        let lower = key.to_ascii_lowercase();
        let base = lower.strip_prefix("amp;").unwrap_or(&lower);
        let base = base.split_once('.').map_or(base, |(base, _)| base);
        match base {
            "xt" | "dn" | "xl" => out.push_str(pair),
            "tr" => {
                out.push_str(key);
                out.push('=');
                tracker(value, out);
            }
            _ if purpose == Purpose::Identify => out.push_str(pair),
            _ if key.len() <= 16 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') => {
                out.push_str(key);
                out.push_str("=***");
            }
            _ => out.push_str(MASK),
        }
    }
}

/// Scheme and host of a tracker, whether percent-encoded or not.
fn tracker(value: &str, out: &mut String) {
    static HOST: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r"(?i)^([a-z0-9+]{1,8}(?:://|%3a%2f%2f))(?:(?:[^/%]|%[01345-9a-f][0-9a-f]|%2[0-9a-e])*?(?:@|%40))?([a-z0-9.\-]+(?:(?::|%3a)[0-9]{1,5})?|(?:\[|%5b)[0-9a-f:%]+(?:\]|%5d)(?:(?::|%3a)[0-9]{1,5})?)(?:[/?#]|%2f|%3f|%23|$)",
        )
    });
    match HOST.captures(value) {
        Some(found) => {
            out.push_str(&found[1]);
            out.push_str(&found[2]);
        }
        None if value.is_empty() => {}
        None => out.push_str(MASK),
    }
}

// Tokens and named secrets

#[expect(clippy::expect_used, reason = "the patterns are constants, and the tests compile each")]
fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// Where nothing of this occurs there is nothing to take out: most errors end here. Of every secret that is looked for below
/// something must be here.
static SUSPICIOUS: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"://|:\\/\\/|@|eyJ|:[A-Za-z0-9_-]{30}|(?i-u:magnet:|pass[wcp]|pwd|token|authoriz|bearer|basic|cookie|secret|sig|(?:access|api|app|auth|pass|private|device)[_-]?key|session|sessdata|credential|bduss|jwt|__(?:puus|pus|kps|st)=|[ucsk]e?id=)|密码|提取码|访问码",
    )
});

/// Tokens that are known by their looks: JSON web tokens, and the bot tokens of Telegram in a path.
fn tokens(text: &str) -> Cow<'_, str> {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r"(?-u)(?:\b|(%[0-9A-Fa-f]{2}))eyJ[A-Za-z0-9_-]{5,}(?:(?:\.[A-Za-z0-9_-]{5,})(?:\.[A-Za-z0-9_-]*){0,3}|[A-Za-z0-9_-]{20,})",
            r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?",
            r"|\b(bot[0-9]{6,12}:)[A-Za-z0-9_-]{30,}",
        ))
    });
    if !has_token(text) {
        return Cow::Borrowed(text);
    }
    TOKEN.replace_all(text, "${1}${2}***")
}

/// Words that say what is wrong with a secret, in the place where it would stand.
fn is_diagnostic(value: &str) -> bool {
    const WORDS: &str = "invalid expired missing required failed failure error denied incorrect wrong \
        empty null nil none true false is not has was must no cannot could \
        unauthorized forbidden unknown timeout refused mismatch bad the a an \
        unexpected eof illegal too please context";
    let word = value.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    word.is_empty() || WORDS.split(' ').any(|known| known == word)
}

/// Whether the word looks made by a machine, as opposed to the next word of a sentence.
fn is_machine_made(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digit = bytes.iter().any(u8::is_ascii_digit);
    let mixed = bytes.iter().skip(1).any(u8::is_ascii_uppercase)
        && bytes.iter().any(u8::is_ascii_lowercase);
    let dotted_host = value.contains('.') && !mixed && value.len() < 24;
    value.len() >= 20 || (value.len() >= 6 && (digit || mixed) && !dotted_host)
}

/// The names of secrets, as a part of a pattern.
macro_rules! secret_keys {
    () => {
        r"(?:[a-z0-9]{1,16}[_-]){0,3}(?:(?:access|refresh|id|auth|session|csrf|xsrf|api|user|login|bot|oss|sts|sec|security|upload|device)?token|client_?secret|app_?secret|secret(?:_?access)?(?:_?key)?|access[_-]?key(?:_?id|_?secret)?|(?:api|app|auth|pass|private|session|device)[_-]?key|(?:js?|php|asp)?session[_-]?id|sign(?:ature)?|sig|credentials?|bduss|s(?:ec)?token|jwt)"
    };
}

macro_rules! password_keys {
    () => {
        r"(?:[a-z0-9]{1,16}[_-]){0,3}(?:[a-z]{0,12}password|passwd|passcode|passphrase|pwd)"
    };
}

/// Secrets that are known by the name before them: headers, cookies, `key=value`, JSON, XML.
fn named_secrets(text: &str) -> Cow<'_, str> {
    static COOKIE: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r#"(?i-u)\b((?:set-)?cookies?(?:\\*["'])?\s*[:=]\s*\[?(?:\\*["'])?)([A-Za-z0-9_.%$*~|!-]+=[\x21\x23-\x26\x28-\x3a\x3c-\x5b\x5d-\x7e]*(?:;\s*[A-Za-z0-9_.%$*~|!-]+(?:=[\x21\x23-\x26\x28-\x3a\x3c-\x5b\x5d-\x7e]*)?)*)"#,
        )
    });
    static DRIVE_COOKIE: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r"(?-u)\b((?:UID|CID|SEID|KID|BDUSS|STOKEN|COOKIE_LOGIN_USER|JSESSIONID|PHPSESSID|SESSION|SESSDATA|__puus|__pus|__kps|__uid|__st)=)([\x21\x23-\x25\x28-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{4,})",
        )
    });
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r#"(?i-u)\b((?:(?:proxy-|x-)?authorization|x-[a-z-]*(?:token|secret|signature|api-key))(?:\\*["'])?\s*[:=]\s*\[?(?:\\*["'])?(?:(?:bearer|basic|digest|token|oauth|negotiate|ntlm)(?:\s|%20)+)?)((?u:[^\s"',;\]}\\])+)"#,
        )
    });
    static SCHEME: LazyLock<Regex> =
        LazyLock::new(|| compile(r"(?i-u)\b((?:bearer|basic)(?:\s|%20)+)([a-z0-9._~+/=*-]{6,})"));
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r#"(?i-u)\b((?:"#,
            secret_keys!(),
            "|",
            password_keys!(),
            r#")(?:\\*["'])?\s*[:=]\s*)(?:"((?u:[^"\\]|\\.)+)|'((?u:[^'\\]|\\.)+)|\\+"((?u:[^"\\])+)|\\+'((?u:[^'\\])+))"#
        ))
    });
    static BARE: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r#"(?i-u)\b("#,
            secret_keys!(),
            r#"(?:\\*["'])?\s*([:=]|(?u:：))(\s*)\[?)((?u:[^\s"'&,;)\]}<>\\，。；）])+)"#
        ))
    });
    static PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r#"(?i-u)(\b"#,
            password_keys!(),
            r#"(?:\\*["'])?\s*(?:[:=]|(?u:：))\s*\[?)((?u:[^\s"'&<>\\，。；）\]])+)"#
        ))
    });
    static CHINESE: LazyLock<Regex> =
        LazyLock::new(|| compile(r"((?:密码|提取码|访问码)(?-u:\s)*(?:[:=]|：)(?-u:\s)*)([!-~]+)"));
    static XML: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r"(?i-u)(<(?:[a-z]*accesskeyid|signatureprovided|[a-z]*token|[a-z]*password|[a-z]*secret[a-z]*)>)((?u:[^<])+)",
        )
    });
    static BARE_CREDENTIALS: LazyLock<Regex> = LazyLock::new(|| {
        compile(
            r#"(?-u)(^|[\s"'(\[=,])[A-Za-z0-9._%+-]+:(?u:[^\s:/@"'<>()\[\]]){3,}@([A-Za-z0-9][A-Za-z0-9.-]*)"#,
        )
    });

    /// The first group stays, the second goes unless `spare` says that it is no secret.
    fn mask<'t>(
        text: &'t str,
        pattern: &Regex,
        spare: impl Fn(&Captures<'_>) -> bool,
    ) -> Cow<'t, str> {
        pattern.replace_all(text, |found: &Captures<'_>| {
            if spare(found) { found[0].to_owned() } else { [&found[1], MASK].concat() }
        })
    }

    let step = then(Cow::Borrowed(text), |text| mask(text, &COOKIE, |_| false));
    let step = then(step, |text| mask(text, &DRIVE_COOKIE, |_| false));
    let step = then(step, |text| mask(text, &HEADER, |found| is_diagnostic(&found[2])));
    let step = then(step, |text| mask(text, &SCHEME, |found| !is_machine_made(&found[2])));
    let step = then(step, |text| {
        QUOTED.replace_all(text, |found: &Captures<'_>| {
            let value = (2..6).find_map(|group| found.get(group)).map_or("", |m| m.as_str());
            let whole = &found[0];
            let kept = &whole[..whole.len() - value.len()];
            if is_diagnostic(value) { whole.to_owned() } else { [kept, MASK].concat() }
        })
    });
    let step = then(step, |text| {
        mask(text, &BARE, |found| {
            let value = &found[4];
            let sentence = &found[2] != "=" && !found[3].is_empty();
            // `token: Post "https://..."` goes on with what failed.
            is_diagnostic(value) || (sentence && !is_machine_made(value))
        })
    });
    let step = then(step, |text| mask(text, &PASSWORD, |found| is_diagnostic(&found[2])));
    let step = then(step, |text| mask(text, &CHINESE, |_| false));
    let step = then(step, |text| mask(text, &XML, |_| false));
    then(step, |text| BARE_CREDENTIALS.replace_all(text, "${1}***@${2}"))
}

/// The patterns compile lazily; a test reaches each through [`scrub`].
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_go_and_the_diagnosis_stays() {
        for (text, expected) in [
            (
                r#"Get "https://u:p4ss@dl.example.com/a/b.mkv?sign=abc:0&id=7": EOF"#,
                r#"Get "https://***@dl.example.com/a/b.mkv?sign=***&id=***": EOF"#,
            ),
            (
                "http request [https://h.example/x?t=1&u=2] failure,status: 403",
                "http request [https://h.example/x?t=***&u=***] failure,status: 403",
            ),
            ("(see https://h.example/doc?k=v).", "(see https://h.example/doc?k=***)."),
            ("https://h.example/x?1795462364: EOF", "https://h.example/x?***: EOF"),
            (
                "下载失败：https://h.example/x?auth_key=1-2-3，请稍后再试",
                "下载失败：https://h.example/x?auth_key=***，请稍后再试",
            ),
            ("https://tok@github.example/x", "https://***@github.example/x"),
            ("sftp://u:p@[::1]:22/x", "sftp://***@[::1]:22/x"),
            ("https://user:pa/ss@h.example/x", "https://***@h.example/x"),
            ("https://h.example:8080/a@2x.png", "https://h.example:8080/a@2x.png"),
            (
                r#"parse "https://user:pa ss@h.example/": net/url: invalid userinfo"#,
                r#"parse "https://***@h.example/": net/url: invalid userinfo"#,
            ),
            (
                "https://proxy.example/https://u:p@h/x?s=1",
                "https://proxy.example/https://***@h/x?s=***",
            ),
            (
                r#"{"url":"https:\/\/h.example\/f?a=1\u0026sign=xyz","code":429}"#,
                r#"{"url":"https:\/\/h.example\/f?a=***","code":429}"#,
            ),
            ("https://mega.example/file/ab#Zx81kPq-_0aa91kdQQ", "https://mega.example/file/ab#***"),
            ("https://h.example/page#top", "https://h.example/page#top"),
            ("https://h.example/s#pwd=1234&x", "https://h.example/s#pwd=***&***"),
            ("https://h.example/x?c2VjcmV0dG9rZW4=", "https://h.example/x?***"),
            (
                "https://tracker.example/0123456789abcdef/announce",
                "https://tracker.example/***/announce",
            ),
            ("magnet:?xt=urn:btih:AB&dn=A%20B&xl=5", "magnet:?xt=urn:btih:AB&dn=A%20B&xl=5"),
            (
                "magnet:?xt=urn:btih:AB&dn=A b&tr=http%3A%2F%2Ft.example%3A80%2Fkey1%2Fannounce&tr=udp://t2.example:6969/k?passkey=2&ws=https://u:p@h/f failed",
                "magnet:?xt=urn:btih:AB&dn=A b&tr=http%3A%2F%2Ft.example%3A80&tr=udp://t2.example:6969&ws=*** failed",
            ),
            (
                "magnet:?xt=1&dn=A b Magnet:?xt=2&dn=C d&tr=http://t/key1 bad",
                "magnet:?xt=1&dn=A b Magnet:?xt=2&dn=C d&tr=http://t bad",
            ),
            ("thunder://QUFodHRwOi8vdTpwQGgvWlo= bad", "thunder://*** bad"),
            ("ed2k://|file|a b.mkv|1|AB|/", "ed2k://|file|a b.mkv|1|AB|/"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("authorization: openlist-0a1b2c", "authorization: ***"),
            ("authorization has expired", "authorization has expired"),
            ("bearer eyJhbGciOiJIUzI1NiJ9.eyJpZCI6MX0.c2ln expired", "bearer *** expired"),
            ("bearer token expired", "bearer token expired"),
            ("Basic authentication required", "Basic authentication required"),
            ("token=abc123&x=1", "token=***&x=1"),
            (
                "refresh token: Post \"https://h.example/t\": EOF",
                "refresh token: Post \"https://h.example/t\": EOF",
            ),
            ("invalid token: 5f3aa10bc2", "invalid token: ***"),
            ("token is invalidated", "token is invalidated"),
            ("AccessTokenExpired:token expired", "AccessTokenExpired:token expired"),
            (r#"{"access_token":"a\"b","code":401}"#, r#"{"access_token":"***","code":401}"#),
            (r#"{\"refresh_token\":\"ab-c\",\"x\":1}"#, r#"{\"refresh_token\":\"***\",\"x\":1}"#),
            ("password=hunter2, code 5", "password=*** code 5"),
            ("wrong password: denied", "wrong password: denied"),
            ("Set-Cookie: UID=1_A; CID=2; HttpOnly", "Set-Cookie: ***"),
            (
                "invalid cookie: dial tcp 1.2.3.4:443: EOF",
                "invalid cookie: dial tcp 1.2.3.4:443: EOF",
            ),
            ("req UID=123_A1_99;CID=abcdef failed", "req UID=***;CID=*** failed"),
            ("sessionKey=0000-11,data flow is out", "sessionKey=***,data flow is out"),
            ("<OSSAccessKeyId>STS.abc</OSSAccessKeyId>", "<OSSAccessKeyId>***</OSSAccessKeyId>"),
            ("密码：abcd 错误", "密码：*** 错误"),
            ("解压密码错误", "解压密码错误"),
            ("dial bob:s3cr3t@ftp.example.com:21: timeout", "dial ***@ftp.example.com:21: timeout"),
            (
                "decompress [/a](/b)[/] to [/c](/) with password <x>y>: EOF",
                "decompress [/a](/b)[/] to [/c](/) with password <***>: EOF",
            ),
            (
                "decompress [/a](/b)[/] to [/c](/) with password <x> y",
                "decompress [/a](/b)[/] to [/c](/) with password <***>",
            ),
            (
                "code: 40140125, message: access_token 无效（已过期）",
                "code: 40140125, message: access_token 无效（已过期）",
            ),
            ("token [st invalid]", "token [st invalid]"),
            ("HoneyJumping.in.the.rain.mkv not found", "HoneyJumping.in.the.rain.mkv not found"),
        ] {
            assert_eq!(scrub(text), expected);
            assert_eq!(scrub(expected), expected, "again");
        }
        for clean in ["http status code 503", "context canceled", "", "风控"] {
            assert!(matches!(scrub(clean), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn a_secret_goes_by_each_of_its_names() {
        const SECRET: &str = "Zx81kPq0aa91kdQQ7";
        let shown = |before: &str, after: &str| {
            let text = [before, SECRET, after].concat();
            (scrub(&text) == text).then_some(text)
        };
        let forms = [("", "=", " x"), ("x ", ": ", ", y"), ("", "：", ""), ("{\"", "\":\"", "\"}")];
        let names = "token access_token refresh-token id_token auth_token user_token csrftoken \
            client_secret app_secret secret secret_key secret_access_key access_key access-key \
            access_key_id api_key api-key apikey app_key app-key auth_key auth-key pass_key passkey \
            private_key private-key session_key session-key device_key session_id session-id \
            jsessionid phpsession_id sign signature sig x-signature credential credentials bduss \
            stoken sectoken jwt password user_password passwd passcode passphrase pwd";
        let by_name = names.split(' ').flat_map(|name| {
            forms.map(|(before, sign, after)| shown(&[before, name, sign].concat(), after))
        });
        let cookies = "UID CID SEID KID BDUSS STOKEN COOKIE_LOGIN_USER JSESSIONID PHPSESSID SESSION \
            SESSDATA __puus __pus __kps __uid __st";
        let cookies = cookies.split(' ').map(|name| shown(&[name, "="].concat(), "; x"));
        let others = [
            ("Authorization: ", ""),
            ("X-Api-Key: ", ""),
            ("Basic ", ""),
            ("bearer ", " is bad"),
            ("cookie: a=", ""),
            ("bob:", "@h.example"),
            ("密码:", ""),
            ("提取码：", ""),
            ("访问码: ", ""),
            ("<OSSAccessKeyId>", "</OSSAccessKeyId>"),
            ("<SignatureProvided>", "<"),
            ("<UserPassword>", "<"),
            ("bot123456789:AAHdqTcvCH1vGW", "JxfSeofSAs0K5PALDsaw"),
            ("magnet:?dn=a&tr=http%3A%2F%2Ft.example%2F", ""),
            (r"https:\/\/h.example\/f?a=", ""),
            ("a with password <", ">"),
        ];
        let others = others.map(|(before, after)| shown(before, after));
        let left: Vec<String> = by_name.chain(cookies).chain(others).flatten().collect();
        assert!(left.is_empty(), "{left:#?}");
    }

    #[test]
    fn secrets_that_lie_in_others_go() {
        for (text, expected) in [
            ("https://user:pa?ss@h.example/x?sign=abc", "https://***@h.example/x?sign=***"),
            (
                "Post \"https://t.example/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe\": EOF",
                "Post \"https://t.example/bot123456789:***/getMe\": EOF",
            ),
            // What a token leaves looks like a key.
            ("https://h.example/#eyJabcdefgh.abcdefgha=b; x", "https://h.example/#***; x"),
        ] {
            assert_eq!(scrub(text), expected);
        }
    }

    #[test]
    fn a_hostile_text_takes_as_long_as_it_is() {
        // Were each of its links to look through all that follows, this would take minutes.
        for link in ["a:b/x://", "http://a:b ", "magnet:?xt=1&tr=http://t/key "] {
            let shown =
                scrub(&["http://", &link.repeat(1 << 16), "h?sign=key"].concat()).into_owned();
            assert!(shown.ends_with("h?sign=***") && !shown.contains("key"), "{link}");
        }
    }

    proptest! {
        #[test]
        fn scrubbing_twice_changes_nothing(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("://"), Just("https://"), Just("magnet:?"), Just("&tr="), Just("dn="), Just("?"),
                    Just("&"), Just("="), Just("#"), Just("@"), Just(":"), Just("/"), Just(" "),
                    Just("\""), Just("token"), Just("password"), Just("cookie: "), Just("a=b; "),
                    Just("Bearer "), Just("***"), Just("eyJabcdefgh.abcdefgh"), Just("x1Y2z3w4"),
                    Just(" with password <"), Just(">"), Just("Authorization: "), Just("\\"),
                    Just("，"), Just("announce"), Just("thunder://"), Just("[::1]"), Just(" to ("),
                ], 0..24),
            noise in ".{0,12}",
        ) {
            let text = pieces.concat() + &noise;
            let once = scrub(&text);
            prop_assert_eq!(scrub(&once), once.as_ref());
            for text in [&text, &format!("copy {text}"), &format!("decompress {text}")] {
                if is_plain(text) {
                    prop_assert_eq!(redacted_name(text), text.as_str());
                    prop_assert_eq!(redacted_identity(text), text.as_str());
                }
            }
        }

        #[test]
        fn a_secret_in_free_text_does_not_survive(
            secret in "[A-Za-z0-9]{2,4}[0-9][A-Za-z0-9_]{6,20}",
            around in prop_oneof![
                Just(("Get \"https://user:", "@h.example/x\": EOF")),
                Just(("Get \"https://", "@h.example/x\": EOF")),
                Just(("[https://h.example/x?sign=", "]: EOF")),
                Just(("https://h.example/x?", ": EOF")),
                Just(("https://h.example/x#access_token=", " EOF")),
                Just(("magnet:?xt=urn:btih:A&tr=http://t.example/", "/announce")),
                Just(("magnet:?xt=urn:btih:A&dn=b c&tr=http%3A%2F%2Ft.example%2Fa%3Fpasskey%3D", "")),
                Just(("thunder://", " failed")),
                Just(("Authorization: ", "")),
                Just(("Authorization: Bearer ", ", x")),
                Just(("bearer ", " is bad")),
                Just(("token=", ", x")),
                Just(("token: ", ", x")),
                Just(("\"access_token\":\"", "\"}")),
                Just(("password=", " x")),
                Just(("password: ", " x")),
                Just(("Cookie: a=", "; b=c")),
                Just(("Set-Cookie: sid=", "; HttpOnly")),
                Just(("decompress [/a](/b)[/] to [/c](/) with password <", ">: EOF")),
                Just(("eyJhbGciOi", ".abcdefgh.abc")),
            ],
        ) {
            let text = [around.0, &secret, around.1].concat();
            let shown = scrub(&text);
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
