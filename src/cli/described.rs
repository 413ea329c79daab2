//! Tasks that are described: by options, or by a line of a file.

use std::str::FromStr as _;

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Exit, Failure};
use crate::engine::described::Described;
use crate::engine::task::{Flavour, Kind, ServerName, State, TaskId};
use crate::engine::text::shorten;
use crate::rules::{Config, parse_duration, parse_size};

/// What a task is like. What is not said is as on a task that has just come to its state.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "A described task")]
pub struct About {
    /// Its queue, e.g. `copy` [default: what its name begins with]
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Where it stands, by name or number [default: failed]
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Its error
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Its name, as the server has it
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// The text of its status
    #[arg(long, value_name = "TEXT")]
    pub status: Option<String>,
    /// The user who made it
    #[arg(long, value_name = "USER")]
    pub creator: Option<String>,
    /// The role of that user: `admin`, `guest`, `user` or a number
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// How long it is in its state, e.g. `2h`
    #[arg(long, value_name = "DURATION")]
    pub age: Option<String>,
    /// How long its progress has not moved
    #[arg(long, value_name = "DURATION")]
    pub stalled_for: Option<String>,
    /// How many actions of each rule it has seen
    #[arg(long, value_name = "NUMBER")]
    pub attempts: Option<u32>,
    /// Its progress in percent
    #[arg(long, value_name = "PERCENT")]
    pub progress: Option<f64>,
    /// Its size, e.g. `10GiB`
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// The product its server runs: `alist` or `openlist`
    #[arg(long, value_name = "PRODUCT")]
    pub flavour: Option<String>,
}

impl About {
    /// Whether anything is said.
    pub(super) fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    /// The same as a line of `match` says it.
    fn fields(&self) -> Map<String, Value> {
        let texts = [
            ("kind", &self.kind),
            ("state", &self.state),
            ("error", &self.error),
            ("name", &self.name),
            ("status", &self.status),
            ("creator", &self.creator),
            ("role", &self.role),
            ("age", &self.age),
            ("stalled_for", &self.stalled_for),
            ("size", &self.size),
            ("flavour", &self.flavour),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), Value::from(text.clone()?))));
        let numbers = [
            ("attempts", self.attempts.map(Value::from)),
            ("progress", self.progress.map(Value::from)),
        ];
        let numbers =
            numbers.into_iter().filter_map(|(key, number)| Some((key.to_owned(), number?)));
        texts.chain(numbers).collect()
    }

    /// The task that is described.
    pub(super) fn task(&self, server: &ServerName) -> Result<Described, Failure> {
        let plain = |message: String| {
            // The option's name for the field's.
            Failure::new(Exit::Usage, anyhow!("--{}", message.replace('_', "-")))
        };
        describe(&self.fields(), server, None).map_err(plain)
    }
}

/// The server that a described task is on, unless it says so itself.
pub(super) fn server_of(config: &Config, only: Option<&str>) -> Result<ServerName, Failure> {
    match only {
        Some(name) => {
            let known = config.servers.iter().find(|server| server.name.as_str() == name);
            known.map(|server| server.name.clone()).ok_or_else(|| {
                Failure::new(Exit::Usage, anyhow!("the rules file names no server `{name}`"))
            })
        }
        None => Ok(config.servers.first().map_or("server".into(), |server| server.name.clone())),
    }
}

/// The fields that say something of a task. Those of the API are among them.
pub(super) const FIELDS: &[&str] = &[
    "id",
    "kind",
    "state",
    "error",
    "name",
    "status",
    "creator",
    "role",
    "creator_role",
    "age",
    "stalled_for",
    "attempts",
    "progress",
    "size",
    "total_bytes",
    "start_time",
    "end_time",
    "server",
    "flavour",
    // An audit row's names for the same.
    "task_id",
    "task_name",
];

/// Reads a described task. `default_kind` is for one that neither says its kind nor has a name that
/// tells it.
pub(super) fn describe(
    fields: &Map<String, Value>,
    server: &ServerName,
    default_kind: Option<&Kind>,
) -> Result<Described, String> {
    let get = |keys: [&str; 2]| {
        keys.into_iter().find_map(|key| fields.get(key)).filter(|value| !value.is_null())
    };
    let text = |key: &str, other: &str| -> Result<Option<String>, String> {
        match get([key, other]) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            // What drives answer is often kept as it came.
            Some(answer @ (Value::Object(_) | Value::Array(_))) if key == "error" => {
                Ok(Some(answer.to_string()))
            }
            Some(other) => Err(format!("{key} takes text, not {}", shown(other))),
        }
    };
    let name = text("name", "task_name")?.unwrap_or_default();
    let kind = match text("kind", "")? {
        Some(kind) if !kind.trim().is_empty() => Kind::from(kind.trim()),
        _ => kind_of_name(&name)
            .or_else(|| default_kind.cloned())
            .ok_or("kind is missing: which queue is it in?")?,
    };
    let state = match text("state", "")? {
        Some(state) if !state.trim().is_empty() => state_of(&state)?,
        _ => State::Failed,
    };
    let mut task = Described::new(server.clone(), kind, state);
    if let Some(id) = text("id", "task_id")? {
        task.id = TaskId::from(id.as_str());
    }
    if let Some(server) = text("server", "")? {
        task.server = ServerName::from(server.as_str());
    }
    task.name = name;
    task.error = text("error", "")?.unwrap_or_default();
    task.status = text("status", "")?.unwrap_or_default();
    task.creator = text("creator", "")?.unwrap_or_default();
    task.roles = match get(["role", "creator_role"]) {
        None => Vec::new(),
        Some(Value::Array(roles)) => roles.iter().map(role_of).collect::<Result<_, _>>()?,
        Some(role) => vec![role_of(role)?],
    };
    let length = |key: &str| {
        let length = text(key, "")?.map(|length| parse_duration(&length));
        length.transpose().map_err(|why| format!("{key}: {why}"))
    };
    task.age = length("age")?;
    task.stalled_for = length("stalled_for")?;
    let number = |key: &str| -> Result<Option<f64>, String> {
        let number = text(key, "")?;
        let parsed = number.as_deref().map(|number| number.trim_end_matches('%').trim().parse());
        match parsed {
            None => Ok(None),
            Some(Ok(number)) if f64::is_finite(number) => Ok(Some(number)),
            Some(_) => Err(format!("{key} takes a number")),
        }
    };
    task.progress = number("progress")?.unwrap_or_default();
    task.attempts = match text("attempts", "")? {
        None => 0,
        Some(number) => number.parse().map_err(|_| "attempts takes a whole number")?,
    };
    task.size = match text("size", "total_bytes")? {
        None => 0,
        // A number of bytes may be written as `1000.0`.
        Some(size) => match size.strip_suffix(".0").unwrap_or(&size).parse() {
            Ok(bytes) => bytes,
            Err(_) => parse_size(&size).map_err(|why| format!("size: {why}"))?,
        },
    };
    let moment = |key: &str| -> Result<Option<Timestamp>, String> {
        let Some(moment) = text(key, "")?.filter(|moment| !moment.is_empty()) else {
            return Ok(None);
        };
        let moment: Timestamp = moment.parse().map_err(|_| format!("{key} takes a moment"))?;
        // Go's zero time stands for none.
        Ok((moment > Timestamp::UNIX_EPOCH).then_some(moment))
    };
    task.started = moment("start_time")?;
    task.ended = moment("end_time")?;
    task.flavour = match text("flavour", "")?.as_deref() {
        None => Flavour::Unknown,
        Some("alist") => Flavour::AList,
        Some("openlist") => Flavour::OpenList,
        Some(other) => return Err(format!("flavour is alist or openlist, not `{other}`")),
    };
    Ok(task)
}

fn state_of(text: &str) -> Result<State, String> {
    // A whole number may be written as `7.0`.
    let text = text.trim();
    if let Ok(number) = text.strip_suffix(".0").unwrap_or(text).parse() {
        return Ok(State::from_number(number));
    }
    State::from_str(&text.to_ascii_lowercase()).map_err(|_| {
        let names: Vec<&str> = State::KNOWN.into_iter().filter_map(State::name).collect();
        format!("state cannot be `{}`; it is one of {}", shorten(text, 40), names.join(", "))
    })
}

fn role_of(role: &Value) -> Result<i64, String> {
    let known = match role {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => match text.trim() {
            "admin" => Some(2),
            "guest" => Some(1),
            "user" => Some(0),
            number => number.parse().ok(),
        },
        _ => None,
    };
    known.ok_or_else(|| {
        format!("role cannot be {}; it is admin, guest, user or a number", shown(role))
    })
}

/// A value for a message: not longer than a line.
fn shown(value: &Value) -> String {
    format!("`{}`", shorten(value.to_string().trim_matches('"'), 40))
}

/// The kind whose tasks have names of this form, if only one has (an `upload` may also be
/// what follows a `decompress`, but rarely is).
fn kind_of_name(name: &str) -> Option<Kind> {
    Some(match name.split(' ').next()? {
        "upload" => Kind::Upload,
        "copy" => Kind::Copy,
        "move" => Kind::Move,
        "download" => Kind::OfflineDownload,
        "transfer" => Kind::OfflineDownloadTransfer,
        "decompress" => Kind::Decompress,
        _ => return None,
    })
}
