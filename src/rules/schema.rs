//! The JSON Schemas of rules files and of their tests, for editors: made from the same tables that the reader goes by.
//!
//! It sees mistakes of form, and of what one key means for another where a schema can say it.
//! Expressions, dates, names that are used elsewhere and bounds of durations are the reader's.

use serde_json::{Map, Value, json};

use super::keys::{self, Form, Key, Words};
use super::{cases, notify};
use crate::engine::class::Class;
use crate::engine::message::{Service, Topic};
use crate::engine::rule::{Action, Effect};
use crate::engine::task::{Kind, State};

/// The schema, JSON Schema draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(keys::TOP, &["version"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["properties"]["listen"]["required"] = json!(["address"]);
    schema["title"] = json!("taskwarden rules file");
    // Inside a group a matcher must stand; a rule without any takes every task.
    let mut group = object(keys::MATCH, &[]);
    group["properties"]["not"] = json!({
        "$ref": "#/$defs/group",
        "description": group["properties"]["not"]["description"],
    });
    let mut matching = group.clone();
    group["minProperties"] = json!(1);
    matching = nullable(matching);
    schema["$defs"] = json!({ "match": matching, "group": group });
    schema
}

/// The schema of files of rule tests, JSON Schema draft 2020-12.
#[must_use]
pub fn test_schema() -> Value {
    let mut schema = object(cases::FILE, &["tests"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("taskwarden rule tests");
    schema["properties"]["tests"] = list_of(&schema["properties"]["tests"], &case());
    schema
}

fn with(keys: &[&str]) -> Value {
    json!({ "required": keys })
}

/// A list of such objects, described as the key already is.
fn list_of(key: &Value, items: &Value) -> Value {
    json!({ "type": "array", "items": items, "description": key["description"] })
}

fn case() -> Value {
    let mut case = object(cases::CASE, &["name", "tasks", "expect"]);
    let mut outage = object(cases::OUTAGE, &["to"]);
    outage["minProperties"] = json!(1);
    for (key, items) in [("away", outage), ("tasks", actor()), ("expect", expectation())] {
        case["properties"][key] = list_of(&case["properties"][key], &items);
    }
    case
}

/// Puts another form under a key that keeps its description.
fn reform(object: &mut Value, key: &str, mut form: Value) {
    form["description"] = object["properties"][key]["description"].clone();
    object["properties"][key] = form;
}

fn percentage() -> Value {
    json!({
        "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 100 },
            shaped(&format!("{NUMBER}%?")),
        ],
    })
}

/// A task: what it is like at the start, or what becomes of it, or both.
fn actor() -> Value {
    let mut actor = object(cases::ACTOR, &["kind"]);
    reform(&mut actor, "kind", words_of(Words::Kinds));
    reform(&mut actor, "state", states_or_gone());
    reform(&mut actor, "progress", percentage());
    let steps = list_of(&actor["properties"]["timeline"], &step());
    reform(&mut actor, "timeline", steps);
    let at_start = cases::AT_START.map(|key| with(&[key]));
    actor["anyOf"] = json!([with(&["state"]), { "not": { "anyOf": at_start } }]);
    actor["allOf"] = json!([{ "anyOf": [with(&["state"]), with(&["timeline"])] }]);
    actor
}

fn step() -> Value {
    let mut step = object(cases::STEP, &["state"]);
    reform(&mut step, "state", states_or_gone());
    reform(&mut step, "progress", percentage());
    step["oneOf"] = json!([with(&["at"]), with(&["after_retry"]), with(&["after_cancel"])]);
    step["not"] = with(&["at", "times"]);
    step
}

fn states_or_gone() -> Value {
    let states: Vec<&str> = State::KNOWN.into_iter().filter_map(State::name).collect();
    json!({ "enum": states.into_iter().chain(["gone"]).collect::<Vec<_>>() })
}

/// An expectation makes one claim, at a moment or in a time.
fn expectation() -> Value {
    let mut expectation = object(cases::EXPECTATION, &[]);
    let actions: Vec<&str> = Action::ALL.into_iter().map(Action::as_str).collect();
    let actions = json!({ "enum": actions.into_iter().chain(["none"]).collect::<Vec<_>>() });
    reform(&mut expectation, "action", actions);
    let claims = ["action", "gives_up", "waits", "taken_by"].map(|key| with(&[key]));
    expectation["oneOf"] = json!(claims);
    let counts = json!({ "anyOf": [with(&["times"]), with(&["attempt"])] });
    let range = json!({ "anyOf": [with(&["after"]), with(&["before"])] });
    let nothing = json!({
        "anyOf": [
            { "not": with(&["action"]) },
            { "properties": { "action": { "const": "none" } } },
        ],
    });
    let moment = json!({ "anyOf": [with(&["at"]), with(&["waits"]), with(&["taken_by"])] });
    expectation["allOf"] = json!([
        { "if": nothing, "then": { "not": counts } },
        { "if": moment, "then": { "not": range } },
    ]);
    expectation
}

fn object(table: &'static [Key], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in table {
        let mut value = form(key.form);
        value["description"] = json!(key.about);
        properties.insert(key.name.to_owned(), value);
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// A server logs in one way.
fn server() -> Value {
    let mut server = object(keys::SERVER, &["name", "url"]);
    server["properties"]["url"]["pattern"] =
        json!(r"^https?://(\[[0-9a-fA-F:.%]+\]|[^\s\\/@?#:\[\]]+)(:[1-9]\d{0,4})?(/[^\s\\?#]*)?$");
    server["oneOf"] = json!([
        {
            "required": ["token"],
            "not": { "anyOf": [with(&["username"]), with(&["password"]), with(&["totp"])] },
        },
        { "required": ["username", "password"], "not": with(&["token"]) },
    ]);
    server
}

/// A rule's action decides what its matchers may ask for.
fn rule() -> Value {
    let mut rule = object(keys::RULE, &["name", "action"]);
    let when = |actions: Vec<Action>, matching: Value| {
        let actions: Vec<&str> = actions.into_iter().map(Action::as_str).collect();
        json!({
            "if": { "properties": { "action": { "enum": actions } }, "required": ["action"] },
            "then": { "properties": { "match": matching } },
        })
    };
    let (whole, single): (Vec<Action>, Vec<Action>) =
        Action::ALL.into_iter().partition(|action| action.is_whole_kind());
    let honoured = json!({ "enum": ["server", "kind", "state", "all", "any", "not"] });
    let mut conditions = vec![when(whole.clone(), json!({ "propertyNames": honoured }))];
    for action in whole {
        let states: Vec<&str> = State::KNOWN
            .into_iter()
            .filter(|state| action.fits(*state))
            .filter_map(State::name)
            .collect();
        let state = if action == Action::ClearDone {
            // All that is done goes, so all that is done must be named.
            json!({ "type": "array", "minItems": states.len(), "items": { "enum": states } })
        } else {
            one_or_more(&json!({ "enum": states }))
        };
        conditions.push(when(vec![action], json!({ "properties": { "state": state } })));
    }
    for effect in [Effect::Retry, Effect::Cancel, Effect::Remove] {
        let actions: Vec<Action> =
            single.iter().copied().filter(|action| action.effect() == effect).collect();
        let states: Vec<&str> = State::KNOWN
            .into_iter()
            .filter(|state| actions.iter().all(|action| action.fits(*state)))
            .filter_map(State::name)
            .collect();
        let states = one_or_more(&json!({ "enum": states }));
        conditions.push(when(actions, json!({ "properties": { "state": states } })));
    }
    rule["allOf"] = json!(conditions);
    rule
}

/// A target of `notify`, with the keys that its service takes.
fn target() -> Value {
    let mut target = object(keys::NOTIFY, &["name", "service"]);
    let conditions = Service::ALL.into_iter().map(|service| {
        let (needed, allowed) = notify::wants(service);
        let odd: Vec<Value> = notify::OF_SOME
            .iter()
            .filter(|key| !needed.contains(key) && !allowed.contains(key))
            .map(|key| json!({ "required": [key] }))
            .collect();
        json!({
            "if": {
                "properties": { "service": { "const": service.as_str() } },
                "required": ["service"],
            },
            "then": {
                "required": needed,
                "not": { "anyOf": odd },
                "properties": { "url": address(if service == Service::Email { MAIL } else { WEB }) },
            },
        })
    });
    let together = [("username", "password"), ("password", "username")];
    let together = together.map(
        |(one, other)| json!({ "if": { "required": [one] }, "then": { "required": [other] } }),
    );
    target["allOf"] = conditions.chain(together).collect();
    target
}

const DURATION: &str = r"(\d+\s*(ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s*)+";
const SIZE: &str = r"(\d+(\.\d+)?\s*([kKmMgGtT]?[iI]?[bB])|0+)\s*";
const NUMBER: &str = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*";
const OPERATOR: &str = r"(<=?|>=?|==?|!=|≤|≥)";

/// Text of this form whole, with or without blanks around it.
fn shaped(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!(r"^\s*({pattern})\s*$") })
}

fn form(form: Form) -> Value {
    match form {
        Form::Version => json!({ "enum": [1, "1"] }),
        Form::Servers => maps(&server()),
        Form::Rules => maps(&rule()),
        Form::Targets => maps(&target()),
        Form::Maps(table) => maps(&object(table, &[])),
        Form::Map(table) => nullable(object(table, &[])),
        Form::MapOrNone(table) => or_none(&nullable(object(table, &[]))),
        Form::MapOrOff(table) => {
            json!({ "anyOf": [nullable(object(table, &[])), { "enum": ["off", "none", "unlimited", false] }] })
        }
        Form::Classes => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": "^[a-z0-9_]+$" },
            "additionalProperties": one_or_more(&text()),
        }),
        Form::Address => address("[a-z]+"),
        Form::Headers => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
            "additionalProperties": self::form(Form::Secret),
        }),
        Form::Secret => {
            let mut place = object(keys::SECRET, &[]);
            place["properties"]["env"]["pattern"] = json!("^[A-Za-z_][A-Za-z0-9_]*$");
            place["properties"]["credential"]["pattern"] = json!(r"^[^/.][^/]*$");
            place["minProperties"] = json!(1);
            place["maxProperties"] = json!(1);
            json!({ "anyOf": [text(), place] })
        }
        Form::Bool => json!({ "type": "boolean" }),
        Form::Word(words) => {
            // `off` is false to those who grew up with YAML 1.1.
            let off = words.contains(&"off").then(|| json!(false));
            json!({ "enum": words.iter().map(|word| json!(word)).chain(off).collect::<Vec<_>>() })
        }
        Form::Action => json!({ "enum": Action::ALL.map(Action::as_str) }),
        Form::GiveUp => {
            let actions = ["notify", "delete_some", "delete", "cancel_some", "cancel"];
            or_none(&one_or_more(&json!({ "enum": actions })))
        }
        Form::Words(words) => one_or_more(&words_of(words)),
        Form::Texts | Form::Regexes | Form::Globs | Form::Files => one_or_more(&text()),
        Form::Duration => shaped(DURATION),
        Form::DurationOrNone => or_none(&shaped(DURATION)),
        Form::Size => shaped(SIZE),
        Form::SizeOrNone => or_none(&shaped(SIZE)),
        Form::Count(min) => count(min),
        Form::CountOrNone(min) => or_none(&count(min)),
        Form::Factor => json!({
            "anyOf": [{ "type": "number", "minimum": 1, "maximum": 100 }, shaped(NUMBER)],
        }),
        Form::Jitter => json!({
            "anyOf": [
                { "enum": ["full", "none", "unlimited"] },
                { "type": "number", "minimum": 0, "maximum": 1 },
                shaped(SHARE),
            ],
        }),
        Form::ShareOrNone => or_none(&json!({
            "anyOf": [{ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }, shaped(SHARE)],
        })),
        Form::Hours => {
            let clock = r"([01]?\d|2[0-3]):[0-5]?\d";
            or_none(&one_or_more(&shaped(&format!(r"{clock}\s*[-–]\s*({clock}|24:00?)"))))
        }
        Form::Roles => one_or_more(&json!({
            "anyOf": [
                { "enum": ["admin", "guest", "user", "general"] },
                { "type": "integer" },
                shaped(r"[-+]?\d+"),
            ],
        })),
        Form::Text | Form::RegexOrNone | Form::Cron => text(),
        Form::CompareNumber => json!({
            "anyOf": [{ "type": "number" }, shaped(&format!(r"{OPERATOR}?\s*{NUMBER}%?"))],
        }),
        Form::CompareSize => shaped(&format!(r"{OPERATOR}\s*{SIZE}")),
        Form::CompareDuration => shaped(&format!(r"{OPERATOR}?\s*{DURATION}")),
        Form::Match => json!({ "$ref": "#/$defs/match" }),
        Form::Matches => {
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/group" } })
        }
    }
}

/// The schemes of addresses that messages go to.
const WEB: &str = "https?";
const MAIL: &str = "(smtps?|starttls)";

/// An address with such a scheme, or where to read it from.
fn address(scheme: &str) -> Value {
    let text =
        json!({ "type": "string", "pattern": format!(r"^{scheme}://[^\s/?#]+([/?#]\S*)?$") });
    json!({ "anyOf": [text, form(Form::Secret)["anyOf"][1]] })
}

const SHARE: &str = r"\d+\.?\d*\s*%?";

/// A whole number from `min` on; quotes do not matter.
fn count(min: u32) -> Value {
    let digits = if min == 0 { r"\+?\d+" } else { r"\+?0*[1-9]\d*" };
    json!({ "anyOf": [{ "type": "integer", "minimum": min }, shaped(digits)] })
}

/// Text that is not empty; a number is read as its digits.
fn text() -> Value {
    json!({ "type": ["string", "number"], "minLength": 1, "pattern": r"\S" })
}

fn or_none(value: &Value) -> Value {
    json!({ "anyOf": [value, { "enum": keys::NONE }] })
}

fn one_or_more(value: &Value) -> Value {
    json!({ "anyOf": [value, { "type": "array", "minItems": 1, "items": value }] })
}

fn maps(value: &Value) -> Value {
    json!({ "type": ["array", "null"], "items": value })
}

fn nullable(mut object: Value) -> Value {
    object["type"] = json!(["object", "null"]);
    object
}

/// One of the known words. Where files may add others, any word will do, and editors still offer the
/// known ones.
fn words_of(words: Words) -> Value {
    let open = |known: Vec<&str>| json!({ "anyOf": [{ "enum": known }, text()] });
    match words {
        Words::Kinds => open(Kind::KNOWN.iter().map(Kind::as_str).collect()),
        Words::Classes => open(Class::KNOWN.iter().map(Class::as_str).collect()),
        Words::States => {
            json!({ "enum": State::KNOWN.into_iter().filter_map(State::name).collect::<Vec<_>>() })
        }
        Words::Servers => text(),
        Words::Topics => json!({ "enum": Topic::ALL.map(Topic::as_str) }),
    }
}
