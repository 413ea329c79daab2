//! Routes, and the forms of answers on the wire, as the recorded ones have them.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use super::accounts::{LoginGrant, Refusal, Role};
use super::faults::RequestLine;
use super::settings::{Flavour, Settings};
use super::task::{Answer, Endpoint, TaskView};

/// The type of every JSON answer.
pub(super) const JSON: &str = "application/json; charset=utf-8";
/// The type of the web page.
pub(super) const HTML: &str = "text/html";
/// What stands for the web page, as in the recorded answers.
pub(super) const PAGE: &str = "<html><head></head><body>x</body></html>\n";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Task {
        kind: String,
        endpoint: Endpoint,
        legacy: bool,
    },
    Login {
        hashed: bool,
    },
    PublicSettings,
    /// To the same path without its trailing slash.
    Redirect,
    Page,
    MethodNotAllowed,
}

/// Finds the route of a path that has had the server's prefix taken off.
pub(super) fn route(settings: &Settings, method: &str, path: &str) -> Route {
    if let Some(found) = exact(settings, method, path) {
        return found;
    }
    if let Some(shorter) = path.strip_suffix('/')
        && exact(settings, method, shorter).is_some()
    {
        return Route::Redirect;
    }
    if method == "GET" || method == "POST" { Route::Page } else { Route::MethodNotAllowed }
}

fn exact(settings: &Settings, method: &str, path: &str) -> Option<Route> {
    match (method, path) {
        ("POST", "/api/auth/login") => return Some(Route::Login { hashed: false }),
        ("POST", "/api/auth/login/hash") => return Some(Route::Login { hashed: true }),
        ("GET", "/api/public/settings") => return Some(Route::PublicSettings),
        _ => {}
    }
    let (legacy, rest) = match path.strip_prefix("/api/admin/task/") {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix("/api/task/")?),
    };
    if settings.legacy_only && !legacy {
        return None;
    }
    let (kind, name) = rest.split_once('/')?;
    let kind = settings.kinds.iter().find(|known| *known == kind)?.clone();
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.name() == name)?;
    let wanted = match endpoint {
        Endpoint::Undone | Endpoint::Done => "GET",
        _ => "POST",
    };
    (method == wanted).then_some(Route::Task { kind, endpoint, legacy })
}

/// The line that chooses faults.
pub(super) fn request_line(method: &str, path: &str, route: &Route) -> RequestLine {
    let (kind, endpoint) = match route {
        Route::Task { kind, endpoint, .. } => (Some(kind.clone()), Some(*endpoint)),
        _ => (None, None),
    };
    RequestLine { method: method.to_owned(), path: path.to_owned(), kind, endpoint }
}

/// The body of every answer that is JSON.
pub(super) fn envelope(code: u16, message: &str, data: &Value) -> String {
    let text = json!({ "code": code, "message": message, "data": data }).to_string();
    // Go escapes these inside strings, and nothing else in JSON has them.
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

pub(super) fn success(data: &Value) -> String {
    envelope(200, "success", data)
}

pub(super) fn refused(refusal: &Refusal) -> String {
    envelope(refusal.code, refusal.message, &Value::Null)
}

pub(super) fn granted(grant: &LoginGrant) -> String {
    success(&match &grant.device_key {
        Some(key) => json!({ "device_key": key, "token": grant.token }),
        None => json!({ "token": grant.token }),
    })
}

pub(super) fn public_settings(flavour: Flavour) -> String {
    success(&match flavour {
        Flavour::OpenList => json!({
            "site_title": "OpenList",
            "version": "dev (Commit: unknown) - Frontend: rolling - Build at: unknown",
        }),
        Flavour::AList => json!({ "site_title": "AList", "version": "dev" }),
    })
}

/// An answer of the task API. `shown` turns a time into one by the server's own clock.
pub(super) fn answer(
    settings: &Settings,
    shown: impl Fn(Timestamp) -> Timestamp,
    answer: &Answer,
) -> String {
    let one = |view: &TaskView| task(settings, &shown, view);
    match answer {
        Answer::Tasks(views) => success(&views.iter().map(one).collect()),
        Answer::Task(view) if settings.info_as_array => success(&json!([one(view)])),
        Answer::Task(view) => success(&one(view)),
        Answer::Nothing => success(&Value::Null),
        Answer::Errors(errors) => success(&json!(errors)),
        Answer::NotFound => envelope(404, "task not found", &Value::Null),
    }
}

fn task(settings: &Settings, shown: &impl Fn(Timestamp) -> Timestamp, view: &TaskView) -> Value {
    let time = |time: Option<Timestamp>| match time {
        Some(time) => Value::String(rfc3339(shown(time), settings.utc_offset)),
        None if settings.zero_times => json!("0001-01-01T00:00:00Z"),
        None => Value::Null,
    };
    let state = match view.shown_as {
        Some(number) => json!(number),
        None if settings.string_states => json!(view.state.name()),
        None => json!(view.state.number()),
    };
    json!({
        "id": view.id,
        "name": view.name,
        "creator": view.creator,
        "creator_role": creator_role(settings.flavour, view.role),
        "state": state,
        "status": view.status,
        "progress": float(view.progress),
        "start_time": time(view.started),
        "end_time": time(view.ended),
        "total_bytes": view.total_bytes,
        "error": view.error,
    })
}

/// An integer on `OpenList`, a list of role ids on `AList` (CONTRACT.md, "Task").
fn creator_role(flavour: Flavour, role: Option<Role>) -> Value {
    match (flavour, role) {
        (Flavour::OpenList, Some(Role::General)) => json!(0),
        (Flavour::OpenList, Some(Role::Guest)) => json!(1),
        (Flavour::OpenList, Some(Role::Admin)) => json!(2),
        (Flavour::OpenList, None) => json!(-1),
        (Flavour::AList, Some(Role::Guest)) => json!([1]),
        (Flavour::AList, Some(Role::Admin)) => json!([2]),
        (Flavour::AList, Some(Role::General)) => json!([3]),
        (Flavour::AList, None) => Value::Null,
    }
}

/// A number as Go writes a float: without a fraction where it has none.
#[allow(clippy::cast_possible_truncation, reason = "whole percentages are small")]
fn float(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as i64) } else { json!(number) }
}

fn rfc3339(time: Timestamp, offset: Offset) -> String {
    if offset == Offset::UTC {
        time.to_string()
    } else {
        time.display_with_offset(offset).to_string()
    }
}
