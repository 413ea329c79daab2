//! The JSON Schema of rules files, for editors: made from the same tables that the reader goes by.
//!
//! It is a little stricter than the reader in form (a quoted number is text to it) and knows
//! nothing of what one part means for another.

use serde_json::{Map, Value, json};

use super::keys::{self, Form, Key, Words};
use crate::engine::class::Class;
use crate::engine::rule::Action;
use crate::engine::task::{Kind, State};

/// The schema, JSON Schema draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(keys::TOP, &["version"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("taskwarden rules file");
    schema["$defs"] = json!({ "match": nullable(object(keys::MATCH, &[])) });
    schema
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

fn form(form: Form) -> Value {
    const DURATION: &str = r"^\s*(\d+\s*(ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s*)+$";
    const SIZE: &str = r"^\s*(\d+(\.\d+)?\s*([kKmMgGtT]?[iI]?[bB])|0+)\s*$";
    match form {
        Form::Version => json!({ "const": 1 }),
        Form::Servers => maps(&object(keys::SERVER, &["name", "url"])),
        Form::Rules => maps(&object(keys::RULE, &["name", "action"])),
        Form::Maps(table) => maps(&object(table, &[])),
        Form::Map(table) => nullable(object(table, &[])),
        Form::MapOrNone(table) => or_none(&nullable(object(table, &[]))),
        Form::MapOrOff(table) => {
            json!({ "anyOf": [nullable(object(table, &[])), { "enum": ["off", "none", false] }] })
        }
        Form::Classes => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": "^[a-z0-9_]+$" },
            "additionalProperties": one_or_more(&text()),
        }),
        Form::Secret => json!({ "anyOf": [text(), object(keys::SECRET, &[])] }),
        Form::Bool => json!({ "type": "boolean" }),
        Form::Word(words) => {
            // `off` is false to those who grew up with YAML 1.1.
            let off = words.contains(&"off").then(|| json!(false));
            json!({ "enum": words.iter().map(|word| json!(word)).chain(off).collect::<Vec<_>>() })
        }
        Form::Action => json!({ "enum": Action::ALL.map(Action::as_str) }),
        Form::GiveUp => {
            let actions = ["notify", "delete_some", "delete", "cancel_some", "cancel"];
            json!({ "anyOf": [{ "enum": keys::NONE }, one_or_more(&json!({ "enum": actions }))] })
        }
        Form::Words(words) => one_or_more(&words_of(words)),
        Form::Texts | Form::Regexes | Form::Globs => one_or_more(&text()),
        Form::Duration => json!({ "type": "string", "pattern": DURATION }),
        Form::DurationOrNone => or_none(&json!({ "type": "string", "pattern": DURATION })),
        Form::Size => json!({ "type": "string", "pattern": SIZE }),
        Form::SizeOrNone => or_none(&json!({ "type": "string", "pattern": SIZE })),
        Form::Count(min) => json!({ "type": "integer", "minimum": min }),
        Form::CountOrNone(min) => or_none(&json!({ "type": "integer", "minimum": min })),
        Form::Factor => json!({ "type": "number", "minimum": 1, "maximum": 100 }),
        Form::Jitter => json!({ "anyOf": [{ "enum": ["full", "none", "unlimited"] }, share()] }),
        Form::ShareOrNone => or_none(&share()),
        Form::Hours => one_or_more(&json!({ "type": "string" })),
        Form::Roles => one_or_more(&json!({
            "anyOf": [{ "enum": ["admin", "guest", "user", "general"] }, { "type": "integer" }],
        })),
        Form::Text
        | Form::RegexOrNone
        | Form::Cron
        | Form::CompareNumber
        | Form::CompareSize
        | Form::CompareDuration => text(),
        Form::Match => json!({ "$ref": "#/$defs/match" }),
        Form::Matches => {
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/match" } })
        }
    }
}

/// Text that is not empty; a number is read as its digits.
fn text() -> Value {
    json!({ "type": ["string", "number"], "minLength": 1 })
}

fn share() -> Value {
    json!({
        "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$" },
        ],
    })
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
    }
}
