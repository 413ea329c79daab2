//! Ten megabytes that mean `check` no good.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::daemon::program;
use crate::machine::{median, millis_of_children, try_proc_number};
use crate::{Bar, Table};

const SIZE: usize = 10_000_000;

/// A head behind which rules may stand.
const HEAD: &str = "version: 1\nservers: [{name: home, url: 'http://h', token: t}]\nrules:\n";

/// So many of a text that all of it together is of the wanted size.
fn many(text: &str) -> String {
    text.repeat(SIZE / text.len())
}

/// The same, each with a number of its own in the place of `#`.
fn counted(text: &str) -> String {
    let mut out = String::with_capacity(SIZE + 100);
    for n in 0.. {
        if out.len() >= SIZE {
            break;
        }
        out.push_str(&text.replace('#', &format!("{n:06}")));
    }
    out
}

/// Each anchor holds ten times what the one before it holds.
fn bomb(close: &str) -> String {
    let mut out = format!("a000000: &a000000 {close}\n");
    for n in 1..20 {
        let before = format!("*a{:06}, ", n - 1).repeat(10);
        out.push_str(&format!("a{n:06}: &a{n:06} {}\n", close.replace('x', &before)));
    }
    out + &many("# and so on\n")
}

fn kinds() -> Vec<(&'static str, String)> {
    let rule = |rule: &str| format!("{HEAD}{}", counted(rule));
    vec![
        // The eleven of the first hour.
        ("line breaks", many("\n")),
        ("a list in a list, `[`", many("[")),
        ("a map in a map, `{a: `", many("{a: ")),
        ("a list in a list, `- `", many("- ")),
        ("a list with two million members", format!("[{}]", many("x,"))),
        ("two million lines of a plain text", many("abcd\n")),
        ("one endless name", format!("{HEAD}  - name: {}\n", many("x"))),
        ("one endless comment", format!("# {}\n{HEAD}", many("x"))),
        ("keys", counted("k#: 1\n")),
        ("rules", rule("  - { name: r#, match: { kind: copy, error: 'e#' }, action: notify }\n")),
        ("an alias bomb", bomb("[x]")),
        // And what else comes to mind.
        (
            "findings",
            rule(
                "  - { k#: 1 } # a long line, so that there are no more parts than may be ..............\n",
            ),
        ),
        ("line breaks of Windows", many("\r\n")),
        ("line breaks of old", many("\r")),
        ("lines of blanks", many("                   \n")),
        ("blanks", many(" ")),
        ("tabs", many("\t")),
        ("lines of tabs", many("a:\t\t\t\t\t\t\t\n")),
        ("explicit keys, `? `", many("? ")),
        ("explicit keys in lines", many("? a\n")),
        ("comments", many("#\n")),
        ("comments far to the right", many("                  #\n")),
        ("comments between keys", counted("k#: 1 #\n#\n")),
        ("a literal text of line breaks", format!("a: |+\n{}", many("\n"))),
        ("a literal text", format!("a: |\n{}", many("  b\n"))),
        ("a folded text", format!("a: >\n{}", many("  b\n\n"))),
        ("a double quote never closed", format!("a: \"{}", many("b\n"))),
        ("a single quote never closed", format!("a: '{}", many("b\n"))),
        ("a quote of line breaks", format!("a: \"{}\"", many("\n"))),
        ("a quote of escapes", format!("a: \"{}\"", many("\\x41"))),
        ("quotes within quotes", format!("a: '{}'", many("''"))),
        (
            "a regex of wide characters",
            rule("  - { name: r#, match: { error: '\\w\\W\\d#' }, action: notify }\n"),
        ),
        (
            "a regex without end",
            format!("{HEAD}  - {{ name: a, match: {{ error: '{}' }} }}\n", many("(")),
        ),
        ("an anchor each", counted("- &a# x\n")),
        ("an anchor and its alias", format!("[{}]", many("&a x, *a, "))),
        ("an alias bomb of merges", bomb("{<<: [x]}")),
        ("merges", format!("a: &a {{b: 1, c: 2}}\nd: [{}]", many("{<<: *a}, "))),
        (
            "aliases to a long text",
            format!("a: &a {}\nb: [{}]", "x".repeat(SIZE / 2), "*a, ".repeat(SIZE / 8)),
        ),
        ("anchors in anchors", many("&a [")),
        ("tags", format!("[{}]", many("!t x, "))),
        ("documents", many("---\n")),
        ("ends of documents", many("...\n")),
        ("directives", many("%YAML 1.2\n")),
        ("byte-order marks", many("\u{feff}")),
        ("zeros", many("\0")),
        ("Chinese", format!("# {}", many("中"))),
        ("secrets", many("token:")),
        ("lines of secrets", many("token: a\n")),
        ("addresses", many("x://@")),
        ("colons", many(":")),
        ("pairs in a list", format!("[{}]", many("a: b, "))),
        ("the same key", many("a: 1\n")),
        ("unknown keys", format!("{HEAD}{}", counted("  - { k#: 1 }\n"))),
        (
            "servers",
            format!(
                "version: 1\nservers:\n{}rules: []\n",
                counted("  - { name: s#, url: 'http://h#', token: t }\n")
            ),
        ),
        (
            "a schedule without end",
            format!("{HEAD}  - {{ name: a, schedule: '{}' }}\n", many("1 ")),
        ),
        (
            "globs",
            rule("  - { name: r#, match: { dst: ['/a#/**', '{b#,c}/*'] }, action: notify }\n"),
        ),
        (
            "a list of globs",
            format!(
                "{HEAD}  - {{ name: a, match: {{ dst: [{}] }}, action: notify }}\n",
                counted("'/a#/**',")
            ),
        ),
        ("matchers in matchers", format!("{HEAD}  - {{ name: a, match: {}", many("{ not: "))),
    ]
}

/// How long `check` takes over each of them, and how much memory it needs at most. `KIND` names one,
/// `ALL` shows each.
pub(crate) fn check(table: &mut Table, runs: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let only = std::env::var("KIND").ok();
    let (mut slowest, mut largest) = ((0.0, ""), (0.0, ""));
    for (what, text) in kinds() {
        if only.as_ref().is_some_and(|only| only != what) {
            continue;
        }
        fs::write(dir.path().join("rules.yaml"), text).unwrap();
        let mut times = Vec::new();
        let mut most: f64 = 0.0;
        for _ in 0..runs {
            let mut command = program(dir.path(), &["check", "rules.yaml"]);
            let before = millis_of_children();
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let pid = child.id().to_string();
            let code = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status.code();
                }
                // The most so far; there is none once it has ended.
                let kib = try_proc_number(&pid, "status", "VmHWM:").unwrap_or(0);
                most = most.max(kib as f64 / 1024.0);
                std::thread::sleep(Duration::from_millis(1));
            };
            times.push(millis_of_children() - before);
            assert!(matches!(code, Some(0 | 1)), "{what}: {code:?}");
        }
        let time = median(times);
        if std::env::var_os("ALL").is_some() {
            println!("| {what} | {time:.0} ms, {most:.0} MiB | | |");
        }
        if time > slowest.0 {
            slowest = (time, what);
        }
        if most > largest.0 {
            largest = (most, what);
        }
    }
    let name = format!("the slowest `check` of 10 MB of hostile YAML ({})", slowest.1);
    table.row(&name, slowest.0, "ms", Bar::AtMost(1000.0));
    let name = format!("the largest ({})", largest.1);
    table.row(&name, largest.0, "MiB", Bar::AtMost(200.0));
}
