//! The keys of a rules file: what each is called, what it takes, what it is about. The reader, the
//! JSON Schema and the documentation all go by these tables.

use crate::engine::rule::Action;

/// A key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// For people who write rules: what it says, its default, its bounds.
    pub(super) about: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// The number 1.
    Version,
    /// Text that is not empty.
    Text,
    /// A list of servers.
    Servers,
    /// A list of rules.
    Rules,
    /// A list of maps.
    Maps(&'static [Key]),
    /// A list of targets of `notify`.
    Targets,
    /// A map.
    Map(&'static [Key]),
    /// A map, or `none`.
    MapOrNone(&'static [Key]),
    /// A map, or `off`.
    MapOrOff(&'static [Key]),
    /// Paths with wildcards, one or a list.
    Files,
    /// Names of classes, each with patterns.
    Classes,
    /// Text, or a place to read it from.
    Secret,
    /// An address as text, or a place to read it from.
    Address,
    /// Names of headers, each with a text or a place to read it from.
    Headers,
    /// True or false.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One action.
    Action,
    /// Actions for a task given up, one or a list, or `none`.
    GiveUp,
    /// A set: one of these words, or a list of them.
    Words(Words),
    /// One text or a list of them, any of which will do.
    Texts,
    /// A duration.
    Duration,
    /// A duration, or `none`.
    DurationOrNone,
    /// A size in bytes.
    Size,
    /// A size in bytes, or `none`.
    SizeOrNone,
    /// A whole number from this on.
    Count(u32),
    /// A whole number from this on, or `none`.
    CountOrNone(u32),
    /// A number from 1 on.
    Factor,
    /// A share, or `full`.
    Jitter,
    /// A share, or `none`.
    ShareOrNone,
    /// A regular expression, or `none`.
    RegexOrNone,
    /// A cron expression, or `none`.
    Cron,
    /// Hours of the day, one or several, or `none`.
    Hours,
    /// Regular expressions, one or a list.
    Regexes,
    /// Globs, one or a list.
    Globs,
    /// Roles by word or number, one or a list.
    Roles,
    /// A number with or without an operator.
    CompareNumber,
    /// A size with an operator.
    CompareSize,
    /// A duration with or without an operator.
    CompareDuration,
    /// Matchers.
    Match,
    /// A list of matchers.
    Matches,
}

/// Words that the program knows by a table of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words {
    Kinds,
    States,
    Classes,
    Servers,
    Topics,
}

pub(super) const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, about }
}

pub(super) const MODES: &[&str] = &["live", "dry_run", "off"];
pub(super) const NONE: &[&str] = &["none", "unlimited"];
pub(super) const ACTIONS: [Action; 10] = Action::ALL;

pub(super) const TOP: &[Key] = &[
    key("version", Form::Version, "The version of the file format: 1."),
    key(
        "mode",
        Form::Word(MODES),
        "Whether rules act (`live`, the default), only show what they would do (`dry_run`), or rest (`off`). Servers and rules have their own; the most careful one holds.",
    ),
    key("servers", Form::Servers, "The servers whose task queues are looked after."),
    key(
        "defaults",
        Form::Map(SETTINGS),
        "Keys that hold for every rule that does not set them itself.",
    ),
    key("rules", Form::Rules, "The rules. A task belongs to the first that matches it."),
    key(
        "rule_files",
        Form::Files,
        "More files with rules: paths from the folder of this file on, with `*`, `?` and `[a-z]`, one or a list. Their rules follow those of this file, sorted by path within each entry.",
    ),
    key(
        "classes",
        Form::Classes,
        "Classes of errors, each with a regular expression or a list of them, beside the built-in ones; an entry with a built-in name is looked at before the built-in patterns.",
    ),
    key(
        "audit_log",
        Form::Text,
        "A file to which every action is appended, one JSON object a line.",
    ),
    key(
        "listen",
        Form::Map(LISTEN),
        "Where the dashboard (`/`), its API (`/api/v1`), metrics (`/metrics`) and health checks (`/healthz`, `/readyz`) are served; nowhere by default.",
    ),
    key(
        "notify",
        Form::Targets,
        "Whom the daemon tells what: give-ups, breakers, servers that do not answer.",
    ),
    key(
        "retention",
        Form::Map(RETENTION),
        "How long the store keeps what was done; old rows go in small steps once an hour.",
    ),
];

/// What a file that another includes may hold.
pub(super) const INCLUDED: &[Key] = &[
    key("version", Form::Version, "The version of the file format: 1."),
    key("rules", Form::Rules, "The rules; the `defaults` of the including file hold for them."),
];

pub(super) const NOTIFY: &[Key] = &[
    key("name", Form::Text, "What `taskwarden notify test` and the logs call the target; unique."),
    key(
        "service",
        Form::Word(SERVICES),
        "What takes the messages: `ntfy`, `gotify`, `bark`, `serverchan`, `telegram`, `discord`, `slack`, `apprise`, `email` or any `webhook`.",
    ),
    key(
        "url",
        Form::Address,
        "Where messages go: the topic of ntfy, the server of Gotify, the server and device key of Bark, the webhook of Discord, Slack or another, the `/notify/KEY` of Apprise, the mail server (`smtps://HOST`, `starttls://HOST`, or `smtp://HOST` without encryption); as text, or where to read it from.",
    ),
    key(
        "token",
        Form::Secret,
        "The access token of ntfy, the application's of Gotify, the send key of ServerChan, the bot's of Telegram, or where to read it from.",
    ),
    key(
        "to",
        Form::Texts,
        "The chat of Telegram, by number or `@name`; of e-mail the addresses, one or a list.",
    ),
    key("from", Form::Text, "The sender of e-mail, such as `taskwarden@example.org`."),
    key("username", Form::Text, "Who logs in at the mail server."),
    key("password", Form::Secret, "With what, or where to read it from."),
    key("method", Form::Word(super::notify::METHODS), "The method of a webhook; default `POST`."),
    key("headers", Form::Headers, "The headers of a webhook: text, or where to read it from."),
    key(
        "body",
        Form::Text,
        "The body of a webhook: a template with `{{ title }}`, `{{ text }}` and `{{ bad }}`, and `| tojson` for text in JSON; default a JSON object of the three.",
    ),
    key("events", Form::Words(Words::Topics), "What the target is told of; default all."),
    key(
        "wait",
        Form::Duration,
        "How long more news is waited for after the first, 0s to 7d; default 30s.",
    ),
    key("interval", Form::Duration, "The least time between two messages, 0s to 7d; default 5m."),
    key(
        "repeat",
        Form::DurationOrNone,
        "After how long what still lasts is told again, 1m to 7d, or `none`; default 12h.",
    ),
    key(
        "digest",
        Form::Cron,
        "When to tell what was done since the last time: five-field cron, such as `0 9 * * *`; default never.",
    ),
    key("timezone", Form::Text, "The IANA time zone that `digest` speaks of; default UTC."),
];

pub(super) const SERVICES: &[&str] = &[
    "ntfy",
    "gotify",
    "bark",
    "serverchan",
    "telegram",
    "discord",
    "slack",
    "apprise",
    "email",
    "webhook",
];

pub(super) const LISTEN: &[Key] = &[
    key(
        "address",
        Form::Text,
        "An IP address and a port, such as `127.0.0.1:9790`; a port alone is on this machine only.",
    ),
    key(
        "token",
        Form::Secret,
        "What people log in to the dashboard with, and programs send as `Authorization: Bearer TOKEN`; needed on an address that others reach.",
    ),
    key(
        "hosts",
        Form::Texts,
        "The names under which it may be asked for, such as `nas.lan`; a reverse proxy's name belongs here.",
    ),
    key(
        "read_only",
        Form::Bool,
        "Whether the dashboard and its API only show, and pause, redrive and reload nothing.",
    ),
];

pub(super) const RETENTION: &[Key] = &[
    key(
        "audit",
        Form::DurationOrNone,
        "How long audit rows are kept, 1h to 10 years, or `none` for ever; default 90d.",
    ),
    key(
        "observations",
        Form::DurationOrNone,
        "How long what was seen of tasks is kept for `history`, `report` and `backtest`, 1h to 10 years, or `none` for ever; default 30d.",
    ),
    key(
        "size",
        Form::SizeOrNone,
        "How large the store may grow before the oldest rows go, 16MiB to 1TiB, or `none` for no limit; default 500MiB.",
    ),
];

pub(super) const SERVER: &[Key] = &[
    key("name", Form::Text, "What rules, logs and the audit trail call the server."),
    key(
        "url",
        Form::Text,
        "The address that a browser would open, such as `http://127.0.0.1:5244`, with the base path if there is one.",
    ),
    key(
        "token",
        Form::Secret,
        "The server's admin token, or `{ env: NAME }` or `{ file: PATH }` to read it from.",
    ),
    key("username", Form::Text, "The user to log in as, where no token is given."),
    key("password", Form::Secret, "The password of the user, or where to read it from."),
    key(
        "totp",
        Form::Secret,
        "The secret of the second factor in base32, or where to read it from.",
    ),
    key(
        "poll",
        Form::Duration,
        "The time between two looks, 1s to 1h; default 15s. Slows down by itself while nothing is undone.",
    ),
    key("mode", Form::Word(MODES), "The mode of this server."),
    key(
        "ca_file",
        Form::Text,
        "A file with certificates to trust beside the system's, in PEM form.",
    ),
    key(
        "connect_timeout",
        Form::Duration,
        "The longest wait for a connection, 1s to 5m; default 10s.",
    ),
    key("timeout", Form::Duration, "The longest wait for an answer, 1s to 10m; default 60s."),
    key("max_body", Form::Size, "The largest answer that is read, 1MiB to 4GiB; default 256MiB."),
    key("kinds", Form::Texts, "Kinds of tasks to look for beside the known ones."),
];

pub(super) const SECRET: &[Key] = &[
    key("env", Form::Text, "The environment variable that holds it."),
    key("file", Form::Text, "The file that holds it."),
    key(
        "credential",
        Form::Text,
        "The name of a credential that systemd hands the service (`LoadCredential=`).",
    ),
];

macro_rules! with_settings {
    ($($own:expr,)*) => { &[
        $($own,)*
        key("mode", Form::Word(MODES), "The mode of the rule."),
        key("continue", Form::Bool, "Whether later rules look at this rule's tasks too; default false."),
        key("identity", Form::Word(&["id", "name"]), "What makes two tasks the same for the count of attempts: the server's `id` (default), or kind and `name`, so that a task made again keeps its count."),
        key("max_attempts", Form::CountOrNone(1), "The most accepted actions of this rule on one task; default none."),
        key("give_up_after", Form::DurationOrNone, "How long after the first failure the rule still tries; default none."),
        key("on_give_up", Form::GiveUp, "What is done once with a task that the rule gives up: `notify`, `delete_some`, `cancel_some`, or a list of them."),
        key("backoff", Form::Map(BACKOFF), "The wait between a failure and the next try: `initial * factor^n`, at most `max`."),
        key("retry_after", Form::RegexOrNone, "A regular expression that captures a wait in the error text, in seconds or as a duration; lengthens the wait. Common forms are known without it."),
        key("schedule", Form::Cron, "Five-field cron, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Without one the rule is looked at on every tick."),
        key("timezone", Form::Text, "The IANA time zone that `schedule` and `only_during` speak of, such as `Asia/Shanghai`; default UTC."),
        key("catch_up", Form::Bool, "Whether a firing missed while the daemon was down runs once when it is back; default false."),
        key("only_during", Form::Hours, "Hours of the day in which the rule may act, such as `22:00-08:00`, or a list of such."),
        key("limits", Form::MapOrNone(LIMITS), "How much the rule may do; `none` lifts all limits."),
        key("breaker", Form::MapOrOff(BREAKER), "When the rule leaves a failing storage alone; `off` for never. Retries have one by default that counts throttling errors."),
    ] };
}

/// What may stand under `defaults`.
pub(super) const SETTINGS: &[Key] = with_settings!();

pub(super) const RULE: &[Key] = with_settings![
    key(
        "name",
        Form::Text,
        "What logs and the audit trail call the rule; unique. What is remembered of tasks is kept under it."
    ),
    key("match", Form::Match, "Which tasks the rule takes: all of the matchers must hold."),
    key("action", Form::Action, "What is done with the tasks."),
];

pub(super) const BACKOFF: &[Key] = &[
    key("initial", Form::Duration, "The first wait, 1s or more; default 1m."),
    key("factor", Form::Factor, "What each further wait is multiplied by, 1 to 100; default 2."),
    key(
        "max",
        Form::Duration,
        "The longest wait, at least `initial`; default 6h, or twice `initial` if that is longer.",
    ),
    key(
        "jitter",
        Form::Jitter,
        "How waits are spread: a share from 0 to 1 (default 0.2), or `full`.",
    ),
];

pub(super) const LIMITS: &[Key] = &[
    key(
        "per_tick",
        Form::CountOrNone(1),
        "The most tasks in one tick on one server; default 20 for retry and cancel, 100 for others.",
    ),
    key(
        "per_hour",
        Form::CountOrNone(1),
        "The most tasks in any hour on one server; default 200 for retry.",
    ),
    key(
        "max_share",
        Form::ShareOrNone,
        "The largest share of a kind's list in one tick, such as 0.1 or 10%; at least one task may always go.",
    ),
    key(
        "only_if_undone_below",
        Form::CountOrNone(1),
        "Acts only while the kind has fewer undone tasks than this.",
    ),
];

pub(super) const BREAKER_KEYS: &[&str] = &["dst_mount", "src_mount", "kind", "server"];

pub(super) const BREAKER: &[Key] = &[
    key("by", Form::Word(BREAKER_KEYS), "What tasks share a breaker; default `dst_mount`."),
    key("open_after", Form::Count(1), "How many failures open it; default 5."),
    key(
        "within",
        Form::Duration,
        "The time in which they must come; default ten times the first backoff.",
    ),
    key(
        "cool_down",
        Form::Duration,
        "How long it stays open the first time; default ten times the first backoff.",
    ),
];

pub(super) const MATCH: &[Key] = &[
    key("server", Form::Words(Words::Servers), "The server, by its name in this file."),
    key("kind", Form::Words(Words::Kinds), "The kind of task."),
    key(
        "state",
        Form::Words(Words::States),
        "Where the task stands. Without it a rule looks at the states in which its action has a meaning.",
    ),
    key(
        "error",
        Form::Regexes,
        "Found in the error text; where the server forgot it, in the last one seen.",
    ),
    key("name", Form::Regexes, "Found in the task's name."),
    key("status", Form::Regexes, "Found in the driver's status text."),
    key("class", Form::Words(Words::Classes), "What the error is about."),
    key("file", Form::Globs, "The name of the file."),
    key(
        "src",
        Form::Globs,
        "Where the task comes from, mount and path together; a download's URL.",
    ),
    key("dst", Form::Globs, "Where the task goes, mount and path together."),
    key("src_mount", Form::Globs, "The mount it comes from."),
    key("dst_mount", Form::Globs, "The mount it goes to."),
    key("creator", Form::Texts, "The user who made the task."),
    key("role", Form::Roles, "The role of that user: `admin`, `guest`, `user`, or a number."),
    key("progress", Form::CompareNumber, "Percent, such as `\"< 50\"`."),
    key("size", Form::CompareSize, "Size in bytes, such as `\">= 10GiB\"`."),
    key(
        "age",
        Form::CompareDuration,
        "Time since the end, else the start; a plain duration means at least that.",
    ),
    key(
        "running_for",
        Form::CompareDuration,
        "How long it has been running; a plain duration means at least that.",
    ),
    key(
        "stalled_for",
        Form::CompareDuration,
        "How long it has been running without its progress moving; a plain duration means at least that.",
    ),
    key("attempts", Form::CompareNumber, "This rule's own accepted actions on the task so far."),
    key("all", Form::Matches, "All of these must hold."),
    key("any", Form::Matches, "At least one of these must hold."),
    key("not", Form::Match, "These, taken together, must not hold."),
];

/// Words that people bring from other programs, with the key that says it here.
pub(super) const SYNONYMS: &[(&str, &str)] = &[
    ("when", "match"),
    ("if", "match"),
    ("where", "match"),
    ("condition", "match"),
    ("conditions", "match"),
    ("matchers", "match"),
    ("do", "action"),
    ("then", "action"),
    ("actions", "action"),
    ("cron", "schedule"),
    ("every", "schedule"),
    ("tz", "timezone"),
    ("retries", "max_attempts"),
    ("max_retries", "max_attempts"),
    ("max_retry", "max_attempts"),
    ("attempts", "max_attempts"),
    ("timeout", "give_up_after"),
    ("deadline", "give_up_after"),
    ("delay", "backoff"),
    ("dry_run", "mode"),
    ("enabled", "mode"),
    ("disabled", "mode"),
    ("hours", "only_during"),
    ("rate_limit", "limits"),
    ("circuit_breaker", "breaker"),
    ("address", "url"),
    ("host", "url"),
    ("endpoint", "url"),
    ("base_url", "url"),
    ("user", "username"),
    ("api_key", "token"),
    ("otp", "totp"),
    ("interval", "poll"),
    ("poll_interval", "poll"),
    ("ca", "ca_file"),
    ("message", "error"),
    ("regex", "error"),
    ("type", "kind"),
    ("source", "src"),
    ("destination", "dst"),
    ("dest", "dst"),
    ("target", "dst"),
    ("mount", "dst_mount"),
    ("path", "dst"),
    ("user_role", "role"),
    ("owner", "creator"),
    ("or", "any"),
    ("and", "all"),
    ("older_than", "age"),
    ("multiplier", "factor"),
    ("base", "initial"),
    ("min", "initial"),
    ("max_delay", "max"),
    ("cooldown", "cool_down"),
    ("threshold", "open_after"),
    ("failures", "open_after"),
    ("window", "within"),
    ("key", "by"),
    ("server", "servers"),
    ("rule", "rules"),
    ("default", "defaults"),
    ("path", "file"),
    ("variable", "env"),
];
