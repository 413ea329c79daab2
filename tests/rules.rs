//! Rules files as data: each file in `rules/broken` has one mistake (or what its first line says)
//! and a snapshot of what people see of it; each in `rules/good` is accepted without a word.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use taskwarden::cli::findings;
use taskwarden::rules::{Code, Loaded, Source, Sources, load};

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

fn check(text: &str) -> Loaded {
    load(Sources {
        main: Source { path: "rules.yaml", text, world_readable: true },
        included: Vec::new(),
        unmatched: ["no-such.yaml", "no-such.d/*.yaml"].map(str::to_owned).to_vec(),
    })
}

#[test]
fn each_broken_file_is_told_so() {
    let files = files("broken");
    assert!(files.len() > 120);
    let mut wrong = Vec::new();
    for (path, text) in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let loaded = check(&text);
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let expected: BTreeSet<&str> = expected.split(", ").collect();
        let found: BTreeSet<&str> = loaded.findings.iter().map(|f| f.code.as_str()).collect();
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
        let has_error =
            found.iter().any(|code| code.parse::<Code>().unwrap().severity().as_str() == "error");
        assert_eq!(loaded.config.is_none(), has_error, "{name}");
        for finding in &loaded.findings {
            assert!(text.get(finding.span.range()).is_some(), "{name}: {finding:?}");
        }
        for secret in ["hunter2", "super-secret", "7f9c2ba4"] {
            let printed = [
                findings::human(&loaded, true),
                findings::json(&loaded).join("\n"),
                findings::sarif(std::slice::from_ref(&loaded)),
                findings::github(&loaded).join("\n"),
                format!("{:?}", loaded.config),
            ];
            for printed in printed {
                assert!(!printed.contains(secret), "{name} prints a secret: {printed}");
            }
        }
        insta::with_settings!({
            snapshot_path => "rules/snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, findings::human(&loaded, false));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_broken_file() {
    let found: BTreeSet<Code> =
        files("broken").iter().flat_map(|(_, text)| check(text).findings).map(|f| f.code).collect();
    // tests/doctor.rs and tests/cli.rs have the others.
    let of_texts = Code::ALL.iter().filter(|code| !code.is_of_no_text());
    let missing: Vec<&str> =
        of_texts.filter(|code| !found.contains(code)).map(|code| code.as_str()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_good_file_is_accepted_without_a_word() {
    let mut files = files("good");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.yaml");
    let text = fs::read_to_string(&example).unwrap();
    files.push((example, text));
    for (path, text) in files {
        let loaded = check(&text);
        assert!(
            loaded.findings.is_empty() && loaded.config.is_some(),
            "{}:\n{}",
            path.display(),
            findings::human(&loaded, false)
        );
    }
}

#[test]
fn every_finding_says_its_mend() {
    for (path, text) in files("broken") {
        for finding in check(&text).findings {
            let help = finding.help.unwrap_or_default();
            assert!(!help.is_empty(), "{}: {}", path.display(), finding.message);
            assert!(finding.message.len() < 200 && help.len() < 400, "{}", path.display());
        }
    }
}

const HEAD: &str =
    "version: 1\nservers: [{ name: s, url: 'http://x', token: { env: T } }]\nrules:\n";

fn revision(text: &str) -> String {
    let loaded = check(text);
    let config = loaded.config.as_ref();
    config
        .unwrap_or_else(|| panic!("{text}\n{}", findings::human(&loaded, false)))
        .rules
        .revision
        .clone()
}

const WRITTEN: [&str; 3] = [
    include_str!("rules/good/everything.yaml"),
    include_str!("rules/good/design.yaml"),
    include_str!("../rules.example.yaml"),
];

/// The rules as they were compiled, whole.
fn compiled(text: &str) -> String {
    let loaded = check(text);
    let config = loaded.config.as_ref();
    let config = config.unwrap_or_else(|| panic!("{text}\n{}", findings::human(&loaded, false)));
    format!("{:?}", config.rules)
}

/// Writes a value as YAML, in a way that the bytes choose: quotes, blocks and brackets, indentation,
/// comments and blank lines.
struct Writer<'b> {
    bytes: &'b [u8],
    at: usize,
    out: String,
}

impl Writer<'_> {
    /// One of so many ways.
    fn way(&mut self, ways: u8) -> u8 {
        let byte = self.bytes[self.at % self.bytes.len()];
        self.at += 1;
        // The bytes come round again, and are to mean something else then.
        (byte ^ u8::try_from(self.at / self.bytes.len() % 251).unwrap()) % ways
    }

    fn block(&mut self, value: &serde_json::Value, indent: usize) {
        use serde_json::Value;
        let step = 1 + usize::from(self.way(4));
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    self.between(indent);
                    self.out.push_str(&" ".repeat(indent));
                    self.text(key);
                    self.out.push(':');
                    self.below(value, indent + step);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    self.between(indent);
                    self.out.push_str(&" ".repeat(indent));
                    self.out.push('-');
                    self.below(item, indent + step);
                }
            }
            other => {
                self.out.push_str(&" ".repeat(indent));
                self.flow(other, indent);
                self.out.push('\n');
            }
        }
    }

    /// What stands behind a key or a dash.
    fn below(&mut self, value: &serde_json::Value, indent: usize) {
        let whole = value.as_object().is_some_and(|fields| !fields.is_empty())
            || value.as_array().is_some_and(|items| !items.is_empty());
        if whole && self.way(3) > 0 {
            self.ending();
            self.block(value, indent);
        } else {
            let blanks = 1 + usize::from(self.way(3));
            self.out.push_str(&" ".repeat(blanks));
            self.flow(value, indent);
            self.ending();
        }
    }

    fn ending(&mut self) {
        let way = usize::from(self.way(4));
        self.out.push_str(["\n", "\n", "  # behind: [\n", " \n"][way]);
    }

    fn between(&mut self, indent: usize) {
        match self.way(8) {
            0 => self.out.push_str("# a comment: {\n"),
            1 => self.out.push('\n'),
            2 => self.out.extend([&" ".repeat(indent), "#- x\n"]),
            _ => {}
        }
    }

    fn flow(&mut self, value: &serde_json::Value, indent: usize) {
        use serde_json::Value;
        let pad = match self.way(4) {
            0 => String::new(),
            1 => format!("\n{}", " ".repeat(indent + 2)),
            _ => " ".to_owned(),
        };
        match value {
            Value::Object(fields) => {
                self.out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    self.out.push_str(if index > 0 { "," } else { "" });
                    self.out.push_str(&pad);
                    self.text(key);
                    self.out.push_str(": ");
                    self.flow(value, indent);
                }
                self.out.push_str(&pad);
                self.out.push('}');
            }
            Value::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.out.push_str(if index > 0 { "," } else { "" });
                    self.out.push_str(&pad);
                    self.flow(item, indent);
                }
                self.out.push_str(&pad);
                self.out.push(']');
            }
            Value::String(text) => self.text(text),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn text(&mut self, text: &str) {
        let word =
            text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let yaml = ["true", "false", "null", "yes", "no", "on", "off"].contains(&text);
        match self.way(3) {
            0 if word && !yaml => self.out.push_str(text),
            1 => self.out.push_str(&serde_json::to_string(text).unwrap()),
            _ => self.out.extend(["'", &text.replace('\'', "''"), "'"]),
        }
    }
}

#[test]
fn the_revision_follows_the_meaning_and_not_the_form() {
    let of = |rules: &str| revision(&format!("{HEAD}{rules}"));
    let one = of("  - { name: a, match: { kind: [copy, move], state: failed }, action: notify }\n");
    for same in [
        "  - action: notify # comment\n    match:\n      state: [failed]\n      kind: [move, copy]\n    name: 'a'\n",
        "  - name: a\n    match: { all: [{ kind: [copy, move] }, { any: [{ state: failed }] }] }\n    action: notify\n",
        "  - name: a\n    continue: false\n    mode: live\n    backoff: { initial: 60s }\n    match: { kind: [copy, move], state: failed }\n    action: notify\n",
    ] {
        assert_eq!(of(same), one, "{same}");
    }
    for other in [
        "  - { name: b, match: { kind: [copy, move], state: failed }, action: notify }\n",
        "  - { name: a, match: { kind: [copy], state: failed }, action: notify }\n",
        "  - { name: a, match: { kind: [copy, move], state: failed }, action: delete_some }\n",
        "  - { name: a, match: { kind: [copy, move], state: failed, dst: /a }, action: notify }\n",
        "  - { name: a, match: { kind: [copy, move], state: failed }, action: notify, mode: off }\n",
        "  - { name: a, match: { not: { kind: [copy, move], state: failed } }, action: notify }\n",
    ] {
        assert_ne!(of(other), one, "{other}");
    }
    let (a, b) = (
        "  - { name: a, match: { kind: copy }, action: notify }\n",
        "  - { name: b, match: { kind: move }, action: notify }\n",
    );
    assert_ne!(of(&format!("{a}{b}")), of(&format!("{b}{a}")), "the order of rules counts");
    assert_eq!(one.len(), 12);
}

#[test]
fn each_setting_counts_in_the_revision_also_behind_a_rule_without_it() {
    let settings = [
        "max_attempts: 3",
        "max_attempts: 4",
        "max_attempts: 3, mode: dry_run",
        "max_attempts: 3, continue: true",
        "max_attempts: 3, identity: name",
        "max_attempts: 3, give_up_after: 3h",
        "max_attempts: 3, on_give_up: notify",
        "max_attempts: 3, backoff: { initial: 3m }",
        "max_attempts: 3, retry_after: 'again in ([0-9]+)'",
        "max_attempts: 3, retry_after: 'again at ([0-9]+)'",
        "max_attempts: 3, schedule: '0 4 * * *'",
        "max_attempts: 3, schedule: '0 5 * * *'",
        "max_attempts: 3, only_during: '03:00-06:00'",
        "max_attempts: 3, only_during: '03:00-07:00'",
        "max_attempts: 3, limits: { per_tick: 7 }",
        "max_attempts: 3, breaker: { by: kind }",
    ];
    let mut seen = std::collections::BTreeMap::new();
    for own in settings {
        for before in settings {
            let rule = |name: &str, settings: &str| {
                let action = "match: { kind: copy }, action: retry_some";
                format!("  - {{ name: {name}, {action}, {settings} }}\n")
            };
            let rules = [rule("a", before), rule("b", own)].concat();
            let other = seen.insert(revision(&format!("{HEAD}{rules}")), rules.clone());
            assert_eq!(other, None, "{rules}");
        }
    }
}

#[test]
fn defaults_are_merged_field_by_field() {
    let text = format!(
        "{}defaults:\n  backoff: {{ initial: 2m, factor: 3 }}\n  limits: {{ per_hour: none }}\n",
        format_args!(
            "{HEAD}  - {{ name: a, match: {{ kind: copy }}, action: retry_some, max_attempts: 3, backoff: {{ factor: 4 }}, limits: {{ per_tick: 7 }} }}\n"
        )
    );
    let rule = check(&text).config.unwrap().rules.rules[0].clone();
    assert_eq!(rule.backoff.initial.as_secs(), 120);
    assert_eq!(rule.backoff.factor.to_bits(), 4.0_f64.to_bits());
    assert_eq!(rule.backoff.max.as_secs(), 6 * 3600);
    assert_eq!((rule.limits.per_tick, rule.limits.per_hour), (Some(7), None));
    let breaker = rule.breaker.unwrap();
    assert!(breaker.only_throttled);
    assert_eq!(
        (breaker.open_after, breaker.within.as_secs(), breaker.cool_down.as_secs()),
        (5, 1200, 1200)
    );
}

#[test]
fn columns_count_characters() {
    let text =
        format!("{HEAD}  - {{ name: '清理任务', match: {{ 种类: copy }}, action: notify }}\n");
    let loaded = check(&text);
    let finding = loaded.findings.iter().find(|f| f.code == Code::UnknownKey).unwrap();
    assert_eq!((finding.line, finding.column, finding.end_column), (4, 30, 32));
    assert_eq!(&text[finding.span.range()], "种类");
}

#[test]
fn a_secret_in_a_private_file_is_no_finding() {
    let text = "version: 1\nservers: [{ name: s, url: 'http://x', token: abc }]\nrules: [{ name: a, match: { kind: copy }, action: notify }]\n";
    assert_eq!(load(Source::new("x", text)).findings, []);
}

#[test]
fn hostile_texts_are_read_in_linear_time() {
    let size: usize = 1 << 18;
    let texts = [
        format!("{HEAD}  - name: {}\n", "x".repeat(4 * size)),
        format!("# {}\n{HEAD}", "x".repeat(4 * size)),
        "[".repeat(size),
        "{a: ".repeat(size / 4),
        "- ".repeat(size / 2),
        "[a,".repeat(size / 3),
        "a\n".repeat(size / 2),
        "token:".repeat(size / 6),
        "x://@".repeat(size / 5),
        format!("[{}]", "x,".repeat(size)),
        format!("{HEAD}{}", "  - name: a\n".repeat(5_000)),
        format!(
            "{HEAD}{}",
            "  - { name: a, match: { error: '(\\w{50}){5}' }, action: notify }\n".repeat(2_000)
        ),
        format!(
            "{HEAD}  - {{ name: a, match: {}{}, action: notify }}\n",
            "{ not: ".repeat(100),
            "}".repeat(100)
        ),
        format!("{{{}}}", (0..20_000).map(|n| format!("k{n}: 1, ")).collect::<String>()),
        format!(
            "{HEAD}  - {{ name: a, match: {{ error: '{}' }}, action: notify }}\n",
            "(".repeat(size)
        ),
        format!("{HEAD}  - {{ name: a, schedule: '{}' }}\n", "1 ".repeat(size)),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        let loaded = check(&text);
        let shown = findings::human(&loaded, false);
        let took = start.elapsed();
        // A debug build on a busy machine; what is not linear takes minutes.
        assert!(took.as_secs() < 60, "{took:?} for {}", &text[..text.len().min(200)]);
        assert!(loaded.config.is_none() || !shown.contains("error"));
    }
}

/// The rules of several files, as if they had been found: the first is the one that was named.
fn together(files: &[(&str, &str)], unmatched: &[&str]) -> Loaded {
    let mut sources = files.iter().map(|(path, text)| Source::new(path, text));
    load(Sources {
        main: sources.next().unwrap(),
        included: sources.collect(),
        unmatched: unmatched.iter().map(|pattern| (*pattern).to_owned()).collect(),
    })
}

const MAIN: &str = "version: 1
servers: [{ name: home, url: 'http://h', token: { env: T } }]
rule_files: rules.d/*.yaml
defaults: { max_attempts: 7 }
rules:
  - { name: tell, match: { state: failed, error: '404' }, action: notify }
";

#[test]
fn rules_of_included_files_follow_under_the_same_defaults() {
    let first = "version: 1\nrules:\n  - { name: retry, match: { state: failed, class: network }, action: retry_some }\n";
    let second = "version: 1\nrules:\n  - { name: stop, match: { state: running, stalled_for: 1h }, action: cancel_some }\n";
    let of = |files: &[(&str, &str)]| {
        let loaded = together(files, &[]);
        assert_eq!(loaded.findings, []);
        loaded.config.unwrap().rules
    };
    let rules = of(&[("rules.yaml", MAIN), ("rules.d/1.yaml", first), ("rules.d/2.yaml", second)]);
    let names: Vec<&str> = rules.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["tell", "retry", "stop"]);
    assert!(rules.rules.iter().all(|rule| rule.max_attempts == Some(7)));
    // The revision is of all of them, and not of how they are spread over files.
    let own = "rules:\n";
    let entries = |text: &str| text.split_once(own).unwrap().1.to_owned();
    let one = format!(
        "{}{}{}",
        MAIN.replace("rule_files: rules.d/*.yaml\n", ""),
        entries(first),
        entries(second)
    );
    assert_eq!(of(&[("rules.yaml", &one)]).revision, rules.revision);
    let other = second.replace("1h", "2h");
    let files = [("rules.yaml", MAIN), ("rules.d/1.yaml", first), ("rules.d/2.yaml", &*other)];
    assert_ne!(of(&files).revision, rules.revision);
}

#[test]
fn findings_point_into_the_file_that_they_are_about() {
    let loaded = together(
        &[
            ("rules.yaml", MAIN),
            (
                "rules.d/1.yaml",
                "# Einführung\nversion: 1\nmode: off\nrules:\n  - name: tell\n    match: { state: faild }\n    action: notify\n",
            ),
            (
                "rules.d/2.yaml",
                "version: 2\nrules:\n  - { name: more, match: { state: failed, error: '404' }, action: notify }\n",
            ),
            ("rules.d/3.yaml", "rules: [\n"),
            ("rules.d/4.yaml", ""),
            ("rules.d/5.yaml", "version: 1\npassword: hunter2\nrules: later\n"),
        ],
        &[],
    );
    assert!(loaded.config.is_none());
    let shown = findings::human(&loaded, false);
    assert!(!shown.contains("hunter2"), "{shown}");
    let machine = [findings::json(&loaded), findings::github(&loaded)].concat().join("\n");
    assert!(!machine.contains("hunter2"), "{machine}");
    let sarif = findings::sarif(std::slice::from_ref(&loaded));
    assert!(sarif.contains("rules.d/4.yaml") && !sarif.contains("hunter2"), "{sarif}");
    insta::with_settings!({
        snapshot_path => "rules/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("several-files", shown);
        insta::assert_snapshot!("several-files-machines", machine);
    });
}

#[test]
fn a_pattern_without_files_is_told_and_a_file_that_is_missing_stops() {
    let main = MAIN.replace(
        "rules.d/*.yaml",
        "[rules.d/*.yaml, 'more/[0-9].yaml', 'a/**/b.yaml', 'x[', one.yaml]",
    );
    let loaded = together(&[("rules.yaml", &main)], &["rules.d/*.yaml", "one.yaml"]);
    let found: Vec<(&str, usize, usize, &str)> = loaded
        .findings
        .iter()
        .map(|f| (f.code.as_str(), f.line, f.column, &main[f.span.range()]))
        .collect();
    assert_eq!(
        found,
        [
            ("no-rule-files", 3, 14, "rules.d/*.yaml"),
            ("invalid-glob", 3, 49, "'a/**/b.yaml'"),
            ("invalid-glob", 3, 64, "'x['"),
            ("missing-rule-file", 3, 70, "one.yaml"),
        ]
    );
}

#[test]
fn findings_for_machines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/broken");
    let text = fs::read_to_string(folder.join("several.yaml")).unwrap()
        + &fs::read_to_string(folder.join("duplicate-rule.yaml"))
            .unwrap()
            .replace("# ", "defaults: # ");
    let loaded = load(Source::new("my rules/ä,b.yaml", &text));
    let sarif: serde_json::Value =
        serde_json::from_str(&findings::sarif(std::slice::from_ref(&loaded))).unwrap();
    let results = serde_json::to_string_pretty(&sarif["runs"][0]["results"]).unwrap();
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len();
    assert_eq!(rules, Code::ALL.len());
    insta::with_settings!({
        snapshot_path => "rules/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("machines-json", findings::json(&loaded).join("\n"));
        insta::assert_snapshot!("machines-github", findings::github(&loaded).join("\n"));
        insta::assert_snapshot!("machines-sarif", results);
    });
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes);
        let loaded = check(&text);
        let _ = findings::human(&loaded, false);
        proptest::prop_assert!(loaded.config.is_none());
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([a-z]{1,6}: ?|- |\\{|\\}|\\[|\\]|,|'|\"|\\||>|&a|\\*a|<<|!|#|\n|  |\t|中|\\\\|[0-9]{1,3}|version: 1\n|rules:\n|match: |action: retry\n){0,60}") {
        let loaded = check(&text);
        let _ = findings::human(&loaded, false);
        for finding in &loaded.findings {
            proptest::prop_assert!(text.get(finding.span.range()).is_some());
        }
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_read_without_a_panic(
        at in 0_usize..3000, with in "\\PC{0,3}", cut: bool,
    ) {
        let text = include_str!("rules/good/everything.yaml");
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let rest = if cut { "" } else { &text[at..] };
        let text = format!("{}{with}{rest}", &text[..at]);
        let loaded = check(&text);
        let _ = findings::human(&loaded, false);
        let _ = findings::json(&loaded);
        let fails = loaded.findings.iter().any(|f| f.severity.as_str() == "error");
        proptest::prop_assert_eq!(loaded.config.is_none(), fails);
    }

    #[test]
    fn no_way_of_writing_the_same_changes_the_compiled_rules(
        which in 0_usize..3,
        bytes in proptest::collection::vec(0_u8.., 16..300),
    ) {
        static WANTED: LazyLock<[String; 3]> = LazyLock::new(|| WRITTEN.map(compiled));
        let value = serde_saphyr::from_str::<serde_json::Value>(WRITTEN[which]).unwrap();
        let mut writer = Writer { bytes: &bytes, at: 0, out: String::new() };
        writer.block(&value, 0);
        proptest::prop_assert_eq!(&compiled(&writer.out), &WANTED[which], "{}", writer.out);
    }

    #[test]
    fn comments_and_blank_lines_never_change_the_revision(lines: Vec<u8>) {
        let text = include_str!("rules/good/everything.yaml");
        let mut changed = String::new();
        for (index, line) in text.lines().enumerate() {
            match lines.get(index).map(|byte| byte % 4) {
                Some(0) => changed.push_str("# a comment: [\n"),
                Some(1) => changed.push('\n'),
                Some(2) => {
                    changed.push_str(line);
                    changed.push_str("   # behind\n");
                    continue;
                }
                _ => {}
            }
            changed.push_str(line);
            changed.push('\n');
        }
        proptest::prop_assert_eq!(revision(&changed), revision(text));
    }
}

#[test]
fn the_documentation_of_codes_is_what_explain_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes.md");
    let mut pages = "# The findings of `taskwarden check`\n\n\
        Each has a stable code. `taskwarden check --explain CODE` prints its page. This file is made \
        from the same texts: after a change run `UPDATE_DOCS=1 cargo test --test rules`.\n"
        .to_owned();
    for code in Code::ALL {
        pages.push_str("\n#");
        pages.push_str(&code.page());
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &pages).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == pages, "docs/codes.md is out of date; run with UPDATE_DOCS=1");
}

/// The part of JSON Schema that the schema uses.
fn fits(schema: &serde_json::Value, root: &serde_json::Value, value: &serde_json::Value) -> bool {
    use serde_json::Value;
    let Some(keywords) = schema.as_object() else { panic!("{schema}") };
    keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
        "$ref" => fits(root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), root, value),
        "anyOf" => wanted.as_array().unwrap().iter().any(|schema| fits(schema, root, value)),
        "const" => value == wanted,
        "enum" => wanted.as_array().unwrap().contains(value),
        "type" => {
            let is = |name: &Value| match name.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                other => panic!("{other}"),
            };
            wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
        }
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(key, value)| wanted.get(key).is_none_or(|schema| fits(schema, root, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known =
                |key: &String| schema.get("properties").is_some_and(|p| p.get(key).is_some());
            object
                .iter()
                .filter(|(key, _)| !known(key))
                .all(|(_, value)| wanted.as_bool().unwrap_or_else(|| fits(wanted, root, value)))
        }),
        "required" => value.as_object().is_none_or(|object| {
            wanted.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "propertyNames" => value.as_object().is_none_or(|object| {
            object.keys().all(|key| fits(wanted, root, &Value::from(key.as_str())))
        }),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| fits(wanted, root, item)))
        }
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap())
        }
        "minProperties" => {
            value.as_object().is_none_or(|object| object.len() as u64 >= wanted.as_u64().unwrap())
        }
        "maxProperties" => {
            value.as_object().is_none_or(|object| object.len() as u64 <= wanted.as_u64().unwrap())
        }
        "allOf" => wanted.as_array().unwrap().iter().all(|schema| fits(schema, root, value)),
        "oneOf" => {
            let hits = wanted.as_array().unwrap().iter();
            hits.filter(|schema| fits(schema, root, value)).count() == 1
        }
        "not" => !fits(wanted, root, value),
        "if" => !fits(wanted, root, value) || fits(&schema["then"], root, value),
        "exclusiveMinimum" => value.as_f64().is_none_or(|number| number > wanted.as_f64().unwrap()),
        "minLength" => {
            value.as_str().is_none_or(|text| text.len() as u64 >= wanted.as_u64().unwrap())
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "pattern" => value
            .as_str()
            .is_none_or(|text| regex::Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
        // `then` is looked at beside its `if`.
        "then" | "description" | "title" | "$schema" | "$defs" => true,
        other => panic!("the schema uses `{other}`, which this test does not know"),
    })
}

#[test]
fn the_schema_accepts_what_the_reader_accepts_and_sees_mistakes_of_form() {
    let schema = taskwarden::rules::schema();
    let json = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text);
    for (path, text) in files("good") {
        assert!(fits(&schema, &schema, &json(&text).unwrap()), "{}", path.display());
    }
    // What no schema can see: YAML itself, expressions, names used elsewhere, two values compared.
    let beyond = [
        Code::YamlSyntax,
        Code::EmptyFile,
        Code::MultipleDocuments,
        Code::TooComplex,
        Code::UnknownAlias,
        Code::UnsupportedTag,
        Code::DuplicateKey,
        Code::OutOfRange,
        Code::InvalidRegex,
        Code::RegexWithoutGroup,
        Code::InvalidGlob,
        Code::InvalidCron,
        Code::CronNeverFires,
        Code::InvalidTimezone,
        Code::InvalidAddress,
        Code::OpenListener,
        Code::UnknownKind,
        Code::UnknownClass,
        Code::UnknownServer,
        Code::DuplicateRule,
        Code::MissingRuleFile,
        Code::DuplicateServer,
        Code::DuplicateTarget,
        Code::InvalidTemplate,
    ];
    // And some values that need a look beside them.
    let needs_a_reader = [
        "clear-not-state.yaml",
        // To the reader of YAML here, and not to that of editors, `yes` is true.
        "continue-yes.yaml",
        "hours-same.yaml",
        "hours-to-24.yaml",
        "notify-mail-open.yaml",
        "retry-waiting.yaml",
        "server-dash.yaml",
        "url-page.yaml",
        "url-port.yaml",
    ];
    let mut wrong = Vec::new();
    for (path, text) in files("broken") {
        let Ok(value) = json(&text) else { continue };
        let findings = check(&text).findings;
        let accepted = fits(&schema, &schema, &value);
        let mut errors = findings.iter().filter(|finding| finding.severity.as_str() == "error");
        let path = path.file_name().unwrap().to_string_lossy().into_owned();
        match (errors.clone().next().is_some(), accepted) {
            (true, true)
                if !errors.any(|finding| beyond.contains(&finding.code))
                    && !needs_a_reader.contains(&&*path) =>
            {
                wrong.push(format!("{path} is accepted"));
            }
            (false, false) => wrong.push(format!("{path} is refused")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tests of one rule `slow`, each with one mistake of form or none.
const TESTS: &[(&str, bool)] = &[
    ("{ name: x, tasks: [{ kind: copy, state: failed }], expect: [{ action: none }] }", true),
    ("{ name: x, tasks: [], expect: [] }", true),
    (
        "{ name: x, start: '2026-01-01T00:00:00Z', server: home, flavour: alist, poll: 30s, until: 2h,
           away: [{ from: 1m, to: 2m }, { to: 9s }], nothing_else: true,
           tasks: [{ id: a, kind: copy, name: 'copy [/a](/b) to [/c](/d)', creator: me, role: 2,
             size: 5GiB, state: running, progress: 50%, status: s, age: 1h, timeline: [
               { at: 1m, state: failed, error: e }, { after_retry: 1m, times: none, state: running, progress: 3 },
               { after_cancel: 0s, times: 2, state: gone }] }],
           expect: [{ task: a, rule: slow, action: retry_some, at: 5m, attempt: 1, times: 1 },
             { action: notify, after: 1m, before: 1h }, { gives_up: true, after: 1m }, { waits: backoff, at: 6m },
             { taken_by: none }, { taken_by: slow, at: 7m }, { gives_up: false, rule: slow }] }",
        true,
    ),
    ("{ tasks: [], expect: [] }", false),
    ("{ name: x, expect: [] }", false),
    ("{ name: x, tasks: [] }", false),
    ("{ name: x, tasks: [], expect: [], untill: 5m }", false),
    ("{ name: x, tasks: {}, expect: [] }", false),
    ("{ name: x, tasks: [], expect: none }", false),
    ("{ name: x, tasks: [], expect: [], flavour: alists }", false),
    ("{ name: x, tasks: [], expect: [], poll: 15 }", false),
    ("{ name: x, tasks: [], expect: [], until: soon }", false),
    ("{ name: x, tasks: [], expect: [], nothing_else: 1 }", false),
    ("{ name: x, tasks: [], expect: [], away: [{ from: 1m }] }", false),
    ("{ name: x, tasks: [], expect: [], away: [{ from: 1m, two: 2m }] }", false),
    ("{ name: x, tasks: [{ state: failed }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: [copy], state: failed }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: faild }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: [failed] }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, error: e }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: failed, progress: '> 5' }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: failed, progress: 101 }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: failed, size: 5 }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: failed, age: 5 }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, state: failed, role: admin }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, timeline: [{ state: failed }] }], expect: [] }", false),
    ("{ name: x, tasks: [{ kind: copy, timeline: [{ at: 1m }] }], expect: [] }", false),
    (
        "{ name: x, tasks: [{ kind: copy, timeline: [{ at: 1m, after_retry: 1m, state: failed }] }], expect: [] }",
        false,
    ),
    (
        "{ name: x, tasks: [{ kind: copy, timeline: [{ at: 1m, times: 2, state: failed }] }], expect: [] }",
        false,
    ),
    (
        "{ name: x, tasks: [{ kind: copy, timeline: [{ after_retry: 1m, times: 0, state: failed }] }], expect: [] }",
        false,
    ),
    ("{ name: x, tasks: [], expect: [{}] }", false),
    ("{ name: x, tasks: [], expect: [{ action: fly }] }", false),
    ("{ name: x, tasks: [], expect: [{ action: none, gives_up: true }] }", false),
    ("{ name: x, tasks: [], expect: [{ gives_up: yes please }] }", false),
    ("{ name: x, tasks: [], expect: [{ gives_up: true, times: 2 }] }", false),
    ("{ name: x, tasks: [], expect: [{ taken_by: none, attempt: 2 }] }", false),
    ("{ name: x, tasks: [], expect: [{ action: none, times: 2 }] }", false),
    ("{ name: x, tasks: [], expect: [{ action: notify, attempt: 0 }] }", false),
    ("{ name: x, tasks: [], expect: [{ action: notify, at: 1m, after: 2m }] }", false),
    ("{ name: x, tasks: [], expect: [{ waits: sleep }] }", false),
    ("{ name: x, tasks: [], expect: [{ waits: backoff, after: 2m }] }", false),
    ("{ name: x, tasks: [], expect: [{ taken_by: none, before: 2m }] }", false),
];

#[test]
fn the_schema_of_tests_accepts_and_refuses_what_their_reader_does() {
    let rules = "version: 1\nservers: [{ name: home, url: 'http://h', token: { env: T } }]\nrules: [{ name: slow, match: { kind: copy, state: failed }, action: retry_some, max_attempts: 2 }]\n";
    let config = load(Source::new("rules.yaml", rules)).config.unwrap();
    let schema = taskwarden::rules::test_schema();
    let mut wrong = Vec::new();
    let mut held = |text: &str, good: bool| {
        let read = taskwarden::rules::cases::load(Source::new("x.test.yaml", text), &config);
        let value = serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
        let fits = fits(&schema, &schema, &value);
        if (read.cases.is_some(), fits) != (good, good) {
            wrong.push(format!("{text}\nread {}, schema {fits}", read.cases.is_some()));
        }
    };
    for (test, good) in TESTS {
        held(&format!("tests: [{test}]\n"), *good);
    }
    held("rules: rules.yaml\n", false);
    held("tests: 5\n", false);
    held("rule: rules.yaml\ntests: []\n", false);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let example = include_str!("../rules.example.test.yaml");
    assert!(fits(&schema, &schema, &serde_saphyr::from_str(example).unwrap()));
}

#[test]
fn the_schemas_in_the_docs_are_those_that_are_printed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, schema) in [
        ("rules.schema.json", taskwarden::rules::schema()),
        ("rules.test.schema.json", taskwarden::rules::test_schema()),
    ] {
        let schema = format!("{schema:#}\n");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(docs.join(name), &schema).unwrap();
        }
        let written = fs::read_to_string(docs.join(name)).unwrap_or_default();
        assert!(written == schema, "docs/{name} is out of date; run with UPDATE_DOCS=1");
    }
    for (example, name) in [
        (include_str!("../rules.example.yaml"), "rules.schema.json"),
        (include_str!("../rules.example.test.yaml"), "rules.test.schema.json"),
    ] {
        let first = example.lines().next().unwrap();
        assert_eq!(first, format!("# yaml-language-server: $schema=docs/{name}"));
    }
}

#[test]
fn a_file_that_is_no_text_is_a_finding_at_its_first_odd_byte() {
    let bytes = b"version: 1\n# \xc3\xa9 token: abc \xff\xfe\n";
    let loaded = taskwarden::rules::undecodable("rules.yaml", bytes);
    assert!(loaded.config.is_none());
    let finding = &loaded.findings[0];
    assert_eq!((finding.code, finding.line, finding.column), (Code::YamlSyntax, 2, 16));
    let shown = findings::human(&loaded, false);
    assert!(shown.contains("rules.yaml:2:16") && !shown.contains("abc"), "{shown}");
}
