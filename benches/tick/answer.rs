//! A list as a busy server answers it: most tasks done, a quarter failed with few distinct errors, the
//! tasks in no order. Everything follows from the numbers, so that each run measures the same.

use std::fmt::Write as _;

/// The errors of a bad week; the `#` differs from mount to mount.
const ERRORS: [&str; 10] = [
    "failed get [/drive#/movies/a film.mkv] link: The request is too frequent, please try again later",
    "Put \\\"https://upload#.example.com/v2/part?sign=0a1b2c3d4e5f&partNumber=7\\\": net/http: TLS handshake timeout",
    "failed to upload file: code: 40140125, message: access_token #",
    "read tcp 10.0.0.#:51422->93.184.216.34:443: read: connection reset by peer",
    "failed get objs: failed to list objs: object not found on drive#",
    "unexpected status code 503: {\\\"error\\\":\\\"backend # busy\\\"}",
    "context deadline exceeded while waiting for shard #",
    "no space left on device: write /data/cache#/part",
    "a driver's own words of kind #: retry with another account",
    "context canceled",
];

/// How many mounts there are, and so how many forms of each error.
const MOUNTS: u64 = 20;

/// A number that looks drawn.
pub(crate) fn mix(n: u64) -> u64 {
    let mut n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// An id as servers draw it.
fn id(n: u64) -> String {
    const LETTERS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 64)]);
    // Three draws of seven letters.
    (1..=3)
        .flat_map(|draw| mix(n ^ (draw << 56)).to_le_bytes().into_iter().take(7))
        .map(letter)
        .collect()
}

/// One task's JSON; `round` changes what a second run of it changes.
fn task(n: u64, round: u64, out: &mut String) {
    let draw = mix(n);
    let mount = draw % MOUNTS;
    let (state, error) = match draw / 100 % 100 {
        0..60 => (2, String::new()),
        60..85 => {
            let error = ERRORS[usize::try_from(draw / 10_000 % 10).unwrap_or(0)];
            (7, error.replace('#', &mount.to_string()))
        }
        85..95 => (0, String::new()),
        _ => (1, String::new()),
    };
    let folder = draw / 7 % 400;
    let name = match draw / 3 % 10 {
        0..6 => format!(
            "copy [/source{mount}](/library/season {folder}/Episode {n} - The one with a longer name.mkv) to [/drive{mount}](/backup/library/season {folder})"
        ),
        6..9 => format!("upload Photo {n} of the summer.jpg to [/drive{mount}](/photos/{folder})"),
        _ => format!(
            "download https://cdn{mount}.example.com/files/{n}.zip?sign={draw:x}&expires=1767225600 to (/drive{mount}/inbox/{folder})"
        ),
    };
    let (minute, second) = (draw / 11 % 60, draw / 13 % 60);
    let times = if state == 0 {
        "\"start_time\":null,\"end_time\":null".to_owned()
    } else {
        let end = if state == 1 {
            "null".to_owned()
        } else {
            format!("\"2026-03-01T10:{minute:02}:{second:02}.{:09}+08:00\"", round * 1000)
        };
        format!(
            "\"start_time\":\"2026-03-01T09:{minute:02}:{second:02}.123456789+08:00\",\"end_time\":{end}"
        )
    };
    let progress = if state == 2 { "100".to_owned() } else { format!("{}.25", draw % 100) };
    let status = match state {
        1 => "getting src object",
        7 => "uploading",
        _ => "",
    };
    let _ = write!(
        out,
        "{{\"id\":\"{}\",\"name\":\"{name}\",\"creator\":\"admin\",\"creator_role\":2,\
         \"state\":{state},\"status\":\"{status}\",\"progress\":{progress},{times},\
         \"total_bytes\":{},\"error\":\"{error}\"}}",
        id(n),
        draw % 4_000_000_000,
    );
}

/// A whole answer with so many tasks, listed in an order that `look` draws; every task of which
/// `changed` says so had another run.
pub(crate) fn answer(tasks: u64, look: u64, changed: impl Fn(u64) -> bool) -> String {
    let mut order: Vec<u64> = (0..tasks).collect();
    order.sort_by_key(|n| mix(n ^ (look << 40)));
    let mut out = String::from("{\"code\":200,\"message\":\"success\",\"data\":[");
    for (place, n) in order.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        task(n, if changed(n) { look } else { 0 }, &mut out);
    }
    out.push_str("]}");
    out
}

/// A rules file with so many rules: all but three look for an error of their own, as a file grows
/// when each new failure gets its rule.
pub(crate) fn rules(count: usize) -> String {
    let mut out =
        String::from("version: 1\nservers: [{name: home, url: 'http://h', token: t}]\nrules:\n");
    for n in 0..count.saturating_sub(3) {
        let _ = write!(
            out,
            "  - name: error {n}\n    match: {{ state: failed, error: \"code:? {n}[0-9]{{3}}, (message|reason) .*{n}\" }}\n    action: retry_some\n"
        );
    }
    out.push_str(concat!(
        "  - name: throttled\n    match: { state: failed, class: throttled }\n    action: retry_some\n",
        "  - name: others\n    match: { state: failed, not: { class: [not_found, canceled] } }\n    action: retry_some\n",
        "  - name: clean up\n    match: { state: succeeded, age: 720h }\n    action: delete_some\n",
    ));
    out
}
