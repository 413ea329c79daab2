//! The codes of findings: stable names for scripts, with what `check --explain` says of each.

use std::fmt;
use std::str::FromStr;

use super::finding::Severity;
use super::suggest::nearest;

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $title:literal;)*) => {
        /// What is wrong. The names are stable: scripts and comments may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, in kebab case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// How bad a finding with this code is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }

            /// The code in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }
        }
    };
}

codes! {
    UnreadableFile "unreadable-file" Error "a file that cannot be read";
    YamlSyntax "yaml-syntax" Error "the file is not YAML";
    EmptyFile "empty-file" Error "the file holds nothing";
    MultipleDocuments "multiple-documents" Error "the file holds several YAML documents";
    TooComplex "too-complex" Error "the file is larger or deeper than any real one";
    UnknownAlias "unknown-alias" Error "an alias without an anchor";
    UnsupportedTag "unsupported-tag" Error "a YAML tag";
    DuplicateKey "duplicate-key" Error "a key given twice";
    UnknownKey "unknown-key" Error "a key that does not exist";
    MisplacedKey "misplaced-key" Error "a key in the wrong place";
    MissingKey "missing-key" Error "a key that must be there and is not";
    ConflictingKeys "conflicting-keys" Error "keys that exclude each other";
    WrongType "wrong-type" Error "a value of the wrong type";
    EmptyValue "empty-value" Error "a value that is empty";
    UnsupportedVersion "unsupported-version" Error "a version of the file format that this program does not know";
    OutOfRange "out-of-range" Error "a number outside its range";
    InvalidDuration "invalid-duration" Error "not a duration";
    InvalidSize "invalid-size" Error "not a size";
    InvalidNumber "invalid-number" Error "not a number of the wanted form";
    InvalidComparison "invalid-comparison" Error "not a comparison";
    InvalidRegex "invalid-regex" Error "not a regular expression";
    RegexWithoutGroup "regex-without-group" Error "a `retry_after` that captures nothing";
    InvalidGlob "invalid-glob" Error "not a glob";
    InvalidCron "invalid-cron" Error "not a five-field cron expression";
    CronNeverFires "cron-never-fires" Error "a schedule for a date that does not exist";
    InvalidTimezone "invalid-timezone" Error "not an IANA time zone";
    InvalidHours "invalid-hours" Error "not hours of the day";
    InvalidUrl "invalid-url" Error "not an address of a server";
    InvalidAddress "invalid-address" Error "not an address to listen on, or of mail";
    OpenListener "open-listener" Error "an address that everyone reaches, without a token";
    UrlCredentials "url-credentials" Error "a user or password inside a URL";
    UnknownValue "unknown-value" Error "a word that the key does not take";
    UnknownAction "unknown-action" Error "an action that does not exist";
    UnknownKind "unknown-kind" Error "a kind of task that does not exist";
    UnknownState "unknown-state" Error "a state that does not exist";
    UnknownClass "unknown-class" Error "a class of errors that does not exist";
    UnknownServer "unknown-server" Error "a server that the file does not have";
    MissingRuleFile "missing-rule-file" Error "a file of `rule_files` that is not there";
    DuplicateRule "duplicate-rule" Error "two rules of one name";
    DuplicateTarget "duplicate-target" Error "two targets of `notify` with one name";
    InvalidTemplate "invalid-template" Error "a template that says nothing";
    DuplicateServer "duplicate-server" Error "two servers of one name or account";
    RetryHarmfulState "retry-harmful-state" Error "a retry of tasks that would run twice";
    ActionStateMismatch "action-state-mismatch" Error "an action on tasks in a state where it does harm or nothing";
    WholeKindMatcher "whole-kind-matcher" Error "a matcher that a whole-kind action cannot honour";
    GiveUpAction "give-up-action" Error "an action that cannot stand under `on_give_up`";
    NoServers "no-servers" Warning "a file without servers";
    NoRules "no-rules" Warning "a file without rules";
    NoRuleFiles "no-rule-files" Warning "a pattern of `rule_files` that no file fits";
    LiteralSecret "literal-secret" Warning "a secret in a file that everyone can read";
    EmptyMatch "empty-match" Warning "a rule that takes every task";
    ShadowedRule "shadowed-rule" Warning "a rule that an earlier one leaves nothing";
    ScheduleOutsideHours "schedule-outside-hours" Warning "a schedule that never meets the hours of the rule";
    NeverMatches "never-matches" Warning "matchers that cannot hold together";
    CatchAllRegex "catch-all-regex" Warning "a regular expression that matches everything";
    ControlCharacter "control-character" Warning "an escape that double quotes changed";
    UnboundedRetry "unbounded-retry" Warning "a retry that never ends";
    NoEffect "no-effect" Warning "a key without effect on this rule";
    RepeatedValue "repeated-value" Warning "a value listed twice";
    GluedStars "glued-stars" Warning "a `**` that is part of a name";
    GiveUpTooSoon "give-up-too-soon" Warning "a retry that gives up before its first try";
    UncleanPath "unclean-path" Warning "a glob for a path that no task has";
    RelativePath "relative-path" Warning "a glob for paths that does not begin with a slash";
    KindNotOnServer "kind-not-on-server" Warning "a kind that no server of the rule has";
    MountNotOnServer "mount-not-on-server" Warning "a mount that no server of the rule has";
    LimitedRights "limited-rights" Warning "a user who sees only their own tasks";
    ServerUnreachable "server-unreachable" Warning "a server that could not be asked";
}

impl Code {
    /// Whether no text has it: it is about a server, which `check --online` asks, or about the file
    /// itself.
    #[must_use]
    pub fn is_of_no_text(self) -> bool {
        matches!(
            self,
            Self::UnreadableFile
                | Self::KindNotOnServer
                | Self::MountNotOnServer
                | Self::LimitedRights
                | Self::ServerUnreachable
        )
    }

    /// What `check --explain` says of it.
    #[must_use]
    pub fn page(self) -> String {
        let page = super::pages::page(self);
        format!(
            "# {self}: {}\n\nSeverity: {}\n\n{}\n\nWrong:\n```yaml\n{}\n```\n\nRight:\n```yaml\n{}\n```\n",
            self.title(),
            self.severity().as_str(),
            wrapped(page.what),
            page.wrong.trim_end(),
            page.right.trim_end(),
        )
    }
}

/// A text in lines of at most a hundred characters.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width + length >= 100 {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no code.
#[derive(Debug, thiserror::Error)]
#[error("no finding has the code `{0}`{1}")]
pub struct UnknownCode(String, String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        found.ok_or_else(|| {
            let meant = nearest(text, Self::ALL.iter().map(|code| code.as_str()));
            let meant =
                meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            UnknownCode(text.to_owned(), meant)
        })
    }
}
