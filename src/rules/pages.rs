//! What `check --explain CODE` says: what the finding means and why it matters, a file that has it,
//! and the same file mended.

use super::codes::Code;

/// The page of one code.
pub(super) struct Page {
    /// What is wrong, why it matters, and how to mend it.
    pub(super) what: &'static str,
    /// Lines that have the finding: rules where they begin with `-`, otherwise top-level keys.
    pub(super) wrong: &'static str,
    /// The same without it.
    pub(super) right: &'static str,
}

const fn of(what: &'static str, wrong: &'static str, right: &'static str) -> Page {
    Page { what, wrong, right }
}

#[allow(clippy::too_many_lines, reason = "one table of texts")]
pub(super) fn page(code: Code) -> Page {
    match code {
        Code::UnreadableFile => of(
            "The file is not there, is a folder, may not be read by this user, or is larger than any rules file. Nothing can be said of what is in it; the other files are checked all the same.",
            "rule_files: /root/private.yaml",
            "rule_files: rules.d/*.yaml",
        ),
        Code::YamlSyntax => of(
            "The text is not YAML, so nothing in it can be read. The place is where the reader stopped to understand, which may be a little behind the mistake. Most often a quote or a bracket is not closed, the indentation is uneven, or a value begins with a character that has a meaning in YAML (`@ % * & ! { [ |`): put such values in single quotes.",
            "- name: tidy up\n  schedule: @daily\n  match: { state: failed, age: 7d }\n  action: delete_some",
            "- name: tidy up\n  schedule: '@daily'\n  match: { state: failed, age: 7d }\n  action: delete_some",
        ),
        Code::EmptyFile => of(
            "The file is empty or holds only comments. A rules file has at least a `version`.",
            "---",
            "version: 1\nrules: []",
        ),
        Code::MultipleDocuments => of(
            "`---` begins a new YAML document. A rules file is one document.",
            "version: 1\nrules: []\n---\nrules: []",
            "version: 1\nrules: []",
        ),
        Code::TooComplex => of(
            "The file is larger or deeper than any real one: aliases that unfold into very many parts, groups in groups beyond 64 levels, or patterns that are too large together. The bounds keep a broken or hostile file from taking the daemon's memory.",
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]",
            "rules: []",
        ),
        Code::UnknownAlias => of(
            "`*name` stands for what `&name` marked earlier in the file, and nothing is marked so. A text that begins with `*`, as globs do, needs quotes.",
            "- name: films\n  match: { file: *.mkv }\n  action: notify",
            "- name: films\n  match: { file: '*.mkv' }\n  action: notify",
        ),
        Code::UnsupportedTag => of(
            "A word that begins with `!` is a YAML tag. Rules files have no use for them.",
            "- name: films\n  match: { file: !glob x.mkv }\n  action: notify",
            "- name: films\n  match: { file: x.mkv }\n  action: notify",
        ),
        Code::DuplicateKey => of(
            "A map holds each key once. Of two, one would silently win. For several values of a matcher write a list; for a second condition on the same key use `all:`.",
            "- name: retry\n  match: { error: timeout, error: reset }\n  action: notify",
            "- name: retry\n  match: { error: [timeout, reset] }\n  action: notify",
        ),
        Code::UnknownKey => of(
            "No such key exists here. It would be ignored, and the rule would do something else than it says.",
            "- name: retry\n  match: { errors: timeout }\n  action: notify",
            "- name: retry\n  match: { error: timeout }\n  action: notify",
        ),
        Code::MisplacedKey => of(
            "The key exists, and belongs elsewhere: matchers under `match:`, limits under `limits:`, what a rule does beside its `match:`.",
            "- name: tidy up\n  match: { state: failed }\n  age: 7d\n  action: delete_some",
            "- name: tidy up\n  match: { state: failed, age: 7d }\n  action: delete_some",
        ),
        Code::MissingKey => of(
            "A key that must be there is not. A file needs its `version`; a server a `name`, a `url` and a `token` or `username` with `password`; a rule a `name` and an `action`.",
            "- name: tidy up\n  match: { state: failed, age: 7d }",
            "- name: tidy up\n  match: { state: failed, age: 7d }\n  action: delete_some",
        ),
        Code::ConflictingKeys => of(
            "Two keys exclude each other, and it cannot be told which is meant.",
            "servers:\n  - name: home\n    url: http://127.0.0.1:5244\n    token: { env: TOKEN }\n    password: { env: PASSWORD }",
            "servers:\n  - name: home\n    url: http://127.0.0.1:5244\n    token: { env: TOKEN }",
        ),
        Code::WrongType => of(
            "The value is a list where one value is wanted, text where a map is wanted, or the like. `yes`, `no`, `on` and `off` are words in YAML 1.2; the booleans are `true` and `false`. A word that YAML reads as a boolean needs quotes where text is wanted.",
            "- name: tidy up\n  match: { state: failed }\n  action: delete_some\n  continue: yes",
            "- name: tidy up\n  match: { state: failed }\n  action: delete_some\n  continue: true",
        ),
        Code::EmptyValue => of(
            "The key has no value, or an empty one. An empty list would never match, an empty expression always; neither is what anyone means.",
            "- name: tidy up\n  match: { state: [] }\n  action: notify",
            "- name: tidy up\n  match: { state: [failed] }\n  action: notify",
        ),
        Code::UnsupportedVersion => of(
            "The number tells which form of rules files this is. This program knows version 1. A file with a higher one needs a newer program.",
            "version: 2\nrules: []",
            "version: 1\nrules: []",
        ),
        Code::OutOfRange => of(
            "The number has the right form and lies outside of what makes sense: a poll of less than a second, a share above the whole, a longest wait shorter than the first.",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: 0",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: 8",
        ),
        Code::InvalidDuration => of(
            "A duration is one or more whole numbers, each with a unit: `ms`, `s`, `m`, `h`, `d`, `w`. Months and years have no fixed length and are refused.",
            "- name: tidy up\n  match: { age: 30 }\n  action: delete_some",
            "- name: tidy up\n  match: { age: 30m }\n  action: delete_some",
        ),
        Code::InvalidSize => of(
            "A size is a number with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (in 1024s) or `KB`, `MB`, `GB`, `TB` (in 1000s).",
            "- name: large\n  match: { size: '> 10G' }\n  action: notify",
            "- name: large\n  match: { size: '> 10GiB' }\n  action: notify",
        ),
        Code::InvalidNumber => of(
            "The key takes a number, and this is none, or not a whole one.",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: many",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: 8",
        ),
        Code::InvalidComparison => of(
            "A comparison is an operator (`<`, `<=`, `==`, `!=`, `>=`, `>`) and a value, in quotes because `>` has a meaning in YAML. A size always needs an operator: no task has exactly that many bytes. A plain duration means at least that long, a plain number exactly that.",
            "- name: large\n  match: { size: 10GiB }\n  action: notify",
            "- name: large\n  match: { size: '>= 10GiB' }\n  action: notify",
        ),
        Code::InvalidRegex => of(
            "The regular expression cannot be read; the caret stands under the place. Write expressions in single quotes, where a backslash is itself. There is no look-around and no back-reference: say what must not hold under `not:`. For a plain text escape `( ) [ ] { } . * + ? | ^ $ \\` with a backslash.",
            "- name: retry\n  match: { error: 'timed out (again' }\n  action: notify",
            "- name: retry\n  match: { error: 'timed out \\(again' }\n  action: notify",
        ),
        Code::RegexWithoutGroup => of(
            "`retry_after` finds a wait in the error text. What stands in its first pair of parentheses is read, as seconds or as a duration.",
            "- name: retry\n  match: { class: throttled }\n  action: retry_some\n  max_attempts: 8\n  retry_after: 'again in \\d+'",
            "- name: retry\n  match: { class: throttled }\n  action: retry_some\n  max_attempts: 8\n  retry_after: 'again in (\\d+)'",
        ),
        Code::InvalidGlob => of(
            "The glob cannot be read. `*` stands for anything within one folder, `**` also across folders, `?` for one character, `[abc]` for one of these, `{a,b}` for one of these words.",
            "- name: films\n  match: { file: '*.{mkv,mp4' }\n  action: notify",
            "- name: films\n  match: { file: '*.{mkv,mp4}' }\n  action: notify",
        ),
        Code::InvalidCron => of(
            "A schedule is five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Each field is `*`, a value, a range `1-5`, a step `*/15`, or several with commas.",
            "- name: tidy up\n  schedule: '0 24 * * *'\n  match: { age: 7d }\n  action: delete_some",
            "- name: tidy up\n  schedule: '0 0 * * *'\n  match: { age: 7d }\n  action: delete_some",
        ),
        Code::CronNeverFires => of(
            "The schedule names a date that does not exist, so it would wait for ever.",
            "- name: tidy up\n  schedule: '0 4 31 6 *'\n  match: { age: 7d }\n  action: delete_some",
            "- name: tidy up\n  schedule: '0 4 L 6 *'\n  match: { age: 7d }\n  action: delete_some",
        ),
        Code::InvalidTimezone => of(
            "Zones have the names of the IANA database, `Area/City`. Abbreviations mean several zones, and plain offsets know nothing of summer time. Without a `timezone` the rule goes by UTC.",
            "- name: tidy up\n  schedule: '0 4 * * *'\n  timezone: CST\n  match: { age: 7d }\n  action: delete_some",
            "- name: tidy up\n  schedule: '0 4 * * *'\n  timezone: Asia/Shanghai\n  match: { age: 7d }\n  action: delete_some",
        ),
        Code::InvalidHours => of(
            "Hours are two times on the 24-hour clock, from the first (inside) to the second (outside). A window may go past midnight.",
            "- name: retry\n  match: { kind: copy }\n  action: notify\n  only_during: 22:00",
            "- name: retry\n  match: { kind: copy }\n  action: notify\n  only_during: 22:00-08:00",
        ),
        Code::InvalidUrl => of(
            "The address is the one a browser opens for the server's first page: `http` or `https`, host, port, and the base path if there is one.",
            "servers:\n  - name: home\n    url: 127.0.0.1:5244\n    token: { env: TOKEN }",
            "servers:\n  - name: home\n    url: http://127.0.0.1:5244\n    token: { env: TOKEN }",
        ),
        Code::InvalidAddress => of(
            "`listen` takes an IP address and a port. A name would have to be looked up, and could lead elsewhere tomorrow. A port alone is on this machine only. `hosts` takes names as a browser shows them, without `http://` and port.",
            "listen: { address: 'nas.lan:9790' }",
            "listen: { address: '127.0.0.1:9790' }",
        ),
        Code::OpenListener => of(
            "The dashboard and its API show the names of tasks, and rules can be paused and tasks be tried again there. On an address that other machines reach, callers must therefore show a token.",
            "listen: { address: '0.0.0.0:9790' }",
            "listen: { address: '0.0.0.0:9790', token: { env: TASKWARDEN_TOKEN } }",
        ),
        Code::UrlCredentials => of(
            "A user or a password inside an address gets into logs and error messages. Give them under keys of their own.",
            "servers:\n  - name: home\n    url: http://admin:secret@127.0.0.1:5244\n    token: { env: TOKEN }",
            "servers:\n  - name: home\n    url: http://127.0.0.1:5244\n    username: admin\n    password: { env: PASSWORD }",
        ),
        Code::UnknownValue => of(
            "The key takes one of a few words, and this is none of them.",
            "- name: tidy up\n  match: { age: 7d }\n  action: delete_some\n  mode: dry-run",
            "- name: tidy up\n  match: { age: 7d }\n  action: delete_some\n  mode: dry_run",
        ),
        Code::UnknownAction => of(
            "Actions carry the API's names: `retry_some`, `cancel_some`, `delete_some` (one call for many tasks), `retry`, `cancel`, `delete` (one call a task), `clear_succeeded`, `clear_done`, `retry_failed` (a whole kind), and `notify`.",
            "- name: tidy up\n  match: { age: 7d }\n  action: remove",
            "- name: tidy up\n  match: { age: 7d }\n  action: delete_some",
        ),
        Code::UnknownKind => of(
            "No kind of task is called so. Kinds are an open set: one that only your server has goes under its `kinds:` first.",
            "- name: tidy up\n  match: { kind: offline_downloads }\n  action: notify",
            "- name: tidy up\n  match: { kind: offline_download }\n  action: notify",
        ),
        Code::UnknownState => of(
            "The states are `pending`, `running`, `succeeded`, `canceling`, `canceled`, `errored`, `failing`, `failed`, `waiting_retry` and `before_retry`.",
            "- name: tidy up\n  match: { state: done }\n  action: notify",
            "- name: tidy up\n  match: { state: [succeeded, failed, canceled] }\n  action: notify",
        ),
        Code::UnknownClass => of(
            "No class of errors is called so, neither in the built-in table nor under `classes:` in this file.",
            "- name: slow down\n  match: { class: throttling }\n  action: notify",
            "- name: slow down\n  match: { class: throttled }\n  action: notify",
        ),
        Code::UnknownServer => of(
            "No server under `servers:` has this name, so the rule would never match.",
            "- name: tidy up\n  match: { server: hom }\n  action: notify",
            "- name: tidy up\n  match: { server: home }\n  action: notify",
        ),
        Code::MissingRuleFile => of(
            "A file that `rule_files` names without a wildcard is not there, so its rules would be missing. A running daemon keeps the rules it has. Where files may come and go, use a pattern such as `rules.d/*.yaml`.",
            "rule_files: [rules.d/downloads.yml]",
            "rule_files: [rules.d/downloads.yaml]",
        ),
        Code::DuplicateRule => of(
            "Attempts, waits and pauses are remembered under a rule's name, so each name stands once.",
            "- name: tidy up\n  match: { kind: copy }\n  action: notify\n- name: tidy up\n  match: { kind: move }\n  action: notify",
            "- name: tidy up copies\n  match: { kind: copy }\n  action: notify\n- name: tidy up moves\n  match: { kind: move }\n  action: notify",
        ),
        Code::DuplicateServer => of(
            "What is remembered of tasks is kept under a server's name, so each name stands once. So does each account of an address: two loops that see the same tasks would both retry them, and a task could run twice at once.",
            "servers:\n  - { name: a, url: 'http://x', token: { env: A } }\n  - { name: a, url: 'http://y', token: { env: B } }",
            "servers:\n  - { name: a, url: 'http://x', token: { env: A } }\n  - { name: b, url: 'http://y', token: { env: B } }",
        ),
        Code::RetryHarmfulState => of(
            "The server answers a retry of a running or pending task with success and runs the task a second time, at the same time; a succeeded task it runs again. A retry has its meaning on failed tasks, and on canceled ones where you say so.",
            "- name: restart stuck tasks\n  match: { state: running, stalled_for: 1h }\n  action: retry_some\n  max_attempts: 3",
            "- name: stop stuck tasks\n  match: { state: running, stalled_for: 1h }\n  action: cancel_some\n  max_attempts: 3",
        ),
        Code::ActionStateMismatch => of(
            "The action does harm or nothing in this state. A deleted pending or running task leaves the list and its work goes on unseen; a cancel of a finished task leaves it canceling for ever on AList. Cancel what is undone, delete what is done.",
            "- name: drop stuck tasks\n  match: { state: running, stalled_for: 1h }\n  action: delete_some",
            "- name: stop stuck tasks\n  match: { state: running, stalled_for: 1h }\n  action: cancel_some",
        ),
        Code::WholeKindMatcher => of(
            "`clear_succeeded`, `clear_done` and `retry_failed` are one call for a whole kind. The server asks for nothing but the kind, so a matcher on single tasks would be ignored and other tasks would be hit. Use the `*_some` action, which sends the ids of the tasks that match.",
            "- name: tidy up\n  match: { kind: copy, state: succeeded, age: 7d }\n  action: clear_succeeded",
            "- name: tidy up\n  match: { kind: copy, state: succeeded, age: 7d }\n  action: delete_some",
        ),
        Code::GiveUpAction => of(
            "What is done once with a task that the rule gives up is `notify`, `delete_some` (or `delete`), `cancel_some` (or `cancel`).",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: 8\n  on_give_up: retry",
            "- name: retry\n  match: { kind: copy }\n  action: retry_some\n  max_attempts: 8\n  on_give_up: notify",
        ),
        Code::NoServers => of(
            "Without servers there is nothing to run on. The file can still be checked and tested; `run` refuses it.",
            "rules:\n  - { name: tidy up, match: { age: 7d }, action: delete_some }",
            "servers:\n  - { name: home, url: 'http://127.0.0.1:5244', token: { env: TOKEN } }\nrules:\n  - { name: tidy up, match: { age: 7d }, action: delete_some }",
        ),
        Code::NoRules => of(
            "Without rules nothing will ever be done.",
            "servers:\n  - { name: home, url: 'http://127.0.0.1:5244', token: { env: TOKEN } }",
            "servers:\n  - { name: home, url: 'http://127.0.0.1:5244', token: { env: TOKEN } }\nrules:\n  - { name: tidy up, match: { age: 7d }, action: delete_some }",
        ),
        Code::NoRuleFiles => of(
            "No file fits this pattern of `rule_files`, so nothing comes of it yet. That is fine for a folder that fills later: a file that appears there is read as soon as it is saved. Patterns begin at the folder of the file they stand in, and know `*`, `?` and `[a-z]`, but no `{a,b}`.",
            "rule_files: rules.d/*.yml",
            "rule_files: rules.d/*.yaml",
        ),
        Code::LiteralSecret => of(
            "A token or a password stands in a file that every user of the machine can read. Move it to an environment variable or a file of its own, or close the rules file with `chmod 600`.",
            "servers:\n  - { name: home, url: 'http://127.0.0.1:5244', token: my-token }",
            "servers:\n  - { name: home, url: 'http://127.0.0.1:5244', token: { env: OPENLIST_TOKEN } }",
        ),
        Code::EmptyMatch => of(
            "A rule without matchers takes every task of every server and kind that its action fits.",
            "- name: tidy up\n  action: delete_some",
            "- name: tidy up\n  match: { kind: copy, age: 7d }\n  action: delete_some",
        ),
        Code::ShadowedRule => of(
            "A task belongs to the first rule that matches it, also while that rule waits, so this rule never gets one. Put the narrower rule first, let the earlier one go on with `continue: true`, or bound it with `max_attempts`: a rule that has given up on a task lets go of it.",
            "- name: tell of failures\n  match: { state: failed }\n  action: notify\n- name: drop old failures\n  match: { state: failed, age: 7d }\n  action: delete_some",
            "- name: tell of failures\n  match: { state: failed }\n  action: notify\n  continue: true\n- name: drop old failures\n  match: { state: failed, age: 7d }\n  action: delete_some",
        ),
        Code::ScheduleOutsideHours => of(
            "Each firing of `schedule` falls outside `only_during`, so the rule acts only when the hours begin, and not when the schedule says.",
            "- name: tidy up\n  schedule: '0 4 * * *'\n  only_during: 22:00-02:00\n  match: { age: 7d }\n  action: delete_some",
            "- name: tidy up\n  schedule: '0 23 * * *'\n  only_during: 22:00-02:00\n  match: { age: 7d }\n  action: delete_some",
        ),
        Code::NeverMatches => of(
            "The matchers exclude each other or what the action fits: an error on tasks that succeeded, a running time on tasks that ended, two kinds at once. All matchers of a `match` must hold; what may hold instead goes under `any:`.",
            "- name: tidy up\n  match: { state: failed, stalled_for: 1h }\n  action: delete_some",
            "- name: tidy up\n  match: { state: failed, age: 1h }\n  action: delete_some",
        ),
        Code::DuplicateTarget => of(
            "Messages that wait for a target are kept under its name, so each has its own.",
            "notify:\n  - { name: phone, service: ntfy, url: 'https://ntfy.example/a' }\n  - { name: phone, service: ntfy, url: 'https://ntfy.example/b' }",
            "notify:\n  - { name: phone, service: ntfy, url: 'https://ntfy.example/a' }\n  - { name: tablet, service: ntfy, url: 'https://ntfy.example/b' }",
        ),
        Code::InvalidTemplate => of(
            "The `body` of a webhook is a template in the manner of Jinja with three names: `title`, `text` and `bad`. A name or filter that does not exist is a mistake and not an empty text.",
            "notify:\n  - name: hook\n    service: webhook\n    url: https://hook.example/x\n    body: '{{ message }}'",
            "notify:\n  - name: hook\n    service: webhook\n    url: https://hook.example/x\n    body: '{{ text }}'",
        ),
        Code::GluedStars => of(
            "In a glob `**` stands for any number of folders where it is between slashes, and is no more than a `*` where it touches a name: `/media/**.mkv` takes `/media/a.mkv` and not `/media/films/a.mkv`.",
            "- name: films\n  match: { dst: '/media/**.mkv' }\n  action: notify",
            "- name: films\n  match: { dst: '/media/**/*.mkv' }\n  action: notify",
        ),
        Code::GiveUpTooSoon => of(
            "`give_up_after` counts from the first failure, and so does the first wait of `backoff`. When the time is up before the wait is over, the rule gives each task up without one try.",
            "- name: retry\n  match: { kind: copy, state: failed }\n  action: retry_some\n  backoff: { initial: 1h }\n  give_up_after: 30m",
            "- name: retry\n  match: { kind: copy, state: failed }\n  action: retry_some\n  backoff: { initial: 1h }\n  give_up_after: 1d",
        ),
        Code::CatchAllRegex => of(
            "The expression is found in every text, the empty one too, so the matcher holds always. Expressions are searched for anywhere: `.*` at an end says nothing.",
            "- name: retry\n  match: { kind: copy, error: '.*' }\n  action: notify",
            "- name: retry\n  match: { kind: copy, error: '.' }\n  action: notify",
        ),
        Code::ControlCharacter => of(
            "Inside double quotes YAML turns `\\b` into a backspace, which no error text holds. In single quotes it stays what the expression means.",
            "- name: retry\n  match: { error: \"\\b50[234]\\b\" }\n  action: notify",
            "- name: retry\n  match: { error: '\\b50[234]\\b' }\n  action: notify",
        ),
        Code::UnboundedRetry => of(
            "A task that never succeeds is retried for ever, and its drive is asked for ever. `max_attempts` ends it by count, `give_up_after` by time; `on_give_up: notify` tells of it.",
            "- name: retry\n  match: { kind: copy, class: network }\n  action: retry_some",
            "- name: retry\n  match: { kind: copy, class: network }\n  action: retry_some\n  max_attempts: 8\n  on_give_up: notify",
        ),
        Code::NoEffect => of(
            "The key changes nothing for this rule: a time zone without a schedule, a breaker on a rule that strains no drive, a count of attempts on `notify`. Keys under `defaults` are not told of.",
            "- name: tidy up\n  match: { age: 7d }\n  action: delete_some\n  catch_up: true",
            "- name: tidy up\n  schedule: '@daily'\n  match: { age: 7d }\n  action: delete_some\n  catch_up: true",
        ),
        Code::RepeatedValue => of(
            "The same value stands twice in a list. Probably another was meant.",
            "- name: tidy up\n  match: { state: [failed, failed] }\n  action: delete_some",
            "- name: tidy up\n  match: { state: [failed, canceled] }\n  action: delete_some",
        ),
        Code::UncleanPath => of(
            "Servers clean paths before they make tasks of them, so no path of a task has `.` or `..` as a folder, or two slashes in a row. A glob that asks for one never matches. Paths begin with the mount, such as `/nas/films/x.mkv`; where the folder of the rules file is makes no difference.",
            "- name: films\n  match: { src: '../films/**', state: failed }\n  action: notify",
            "- name: films\n  match: { src: '/nas/films/**', state: failed }\n  action: notify",
        ),
        Code::RelativePath => of(
            "Mounts and paths of tasks begin with `/`, and a glob matches the whole of one, so this one matches none.",
            "- name: tidy up\n  match: { dst_mount: media }\n  action: notify",
            "- name: tidy up\n  match: { dst_mount: /media }\n  action: notify",
        ),
        Code::KindNotOnServer => of(
            "None of the servers that the rule is for has tasks of this kind, so this word never matches. `move` is only on OpenList, `s3_transition` only on AList, and old servers lack others. Found only with `check --online`, and only when all those servers could be asked.",
            "- name: retry\n  match: { kind: s3_transition, state: failed }\n  action: notify",
            "- name: retry\n  match: { kind: copy, state: failed }\n  action: notify",
        ),
        Code::MountNotOnServer => of(
            "None of the servers that the rule is for has a storage whose mount path this glob matches, so the rule takes no task. A mount path is written as the server's page of storages shows it, case included. Found only with `check --online`, and only when the user is an admin on all those servers, since nobody else can list storages.",
            "- name: retry\n  match: { dst_mount: /Media, state: failed }\n  action: notify",
            "- name: retry\n  match: { dst_mount: /media, state: failed }\n  action: notify",
        ),
        Code::LimitedRights => of(
            "The user is no admin of this server. Such a user sees only their own tasks, so rules take no others, and a task of somebody else looks as if it were not there. That may be what is meant. Found only with `check --online`.",
            "servers:\n- name: home\n  url: http://127.0.0.1:5244\n  username: bob\n  password: { env: BOBS_PASSWORD }",
            "servers:\n- name: home\n  url: http://127.0.0.1:5244\n  token: { env: ADMIN_TOKEN }",
        ),
        Code::ServerUnreachable => of(
            "The server did not answer, or refused the token or login, so nothing could be said about rules on it. `taskwarden doctor` looks closer. Found only with `check --online`.",
            "servers:\n- name: home\n  url: http://127.0.0.1:5245\n  token: { env: ADMIN_TOKEN }",
            "servers:\n- name: home\n  url: http://127.0.0.1:5244\n  token: { env: ADMIN_TOKEN }",
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{Code, Source, Sources, load};

    fn has(code: Code, lines: &str) -> bool {
        let text = if lines.starts_with("- ") {
            let indented = format!("  {}\n", lines.replace('\n', "\n  "));
            format!(
                "version: 1\nservers: [{{ name: home, url: 'http://x', token: {{ env: T }} }}]\nrules:\n{indented}"
            )
        } else if lines.starts_with("version") || lines.starts_with("---") {
            lines.to_owned()
        } else {
            format!("version: 1\n{lines}\n")
        };
        // There are no files beside this one that are called so.
        let unmatched = ["rules.d/*.yml", "rules.d/downloads.yml"].map(str::to_owned).to_vec();
        let main = Source { path: "x", text: &text, world_readable: true };
        let loaded = load(Sources { main, included: Vec::new(), unmatched });
        loaded.findings.iter().any(|finding| finding.code == code)
    }

    #[test]
    fn each_page_shows_its_finding_and_the_mend() {
        for code in Code::ALL {
            let page = super::page(*code);
            assert!(page.what.ends_with('.'), "{code}");
            if code.is_of_no_text() {
                // What is wrong is not in the text; `online` and `check` have the tests.
                continue;
            }
            assert!(has(*code, page.wrong), "{code}: {}", page.wrong);
            assert!(!has(*code, page.right), "{code}: {}", page.right);
        }
    }
}
