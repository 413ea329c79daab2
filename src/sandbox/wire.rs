//! Routes, and the forms of answers on the wire, as the recorded ones have them.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use super::accounts::{LoginGrant, Refusal, Role, User};
use super::faults::RequestLine;
use super::settings::{Flavour, Pool, Settings};
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
    /// Who the caller is.
    Me,
    /// All settings, for admins.
    Settings,
    /// All storages, for admins.
    Storages,
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
        ("GET", "/api/me") => return Some(Route::Me),
        ("GET", "/api/admin/setting/list") => return Some(Route::Settings),
        ("GET", "/api/admin/storage/list") => return Some(Route::Storages),
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

/// Who the caller is; `number` is the user's place in the server's list, from 1. The hash of the
/// password is never in it, and `password` is always empty.
pub(super) fn me(flavour: Flavour, number: usize, user: &User) -> String {
    let admin = user.role == Role::Admin;
    let mut data = json!({
        "id": number,
        "username": user.name,
        "password": "",
        "base_path": "/",
        "role": creator_role(flavour, Some(user.role)),
        "disabled": false,
        "permission": if admin { 0x71ff } else { 0 },
        "sso_id": "",
    });
    if flavour == Flavour::OpenList {
        data["allow_ldap"] = json!(true);
    }
    data["otp"] = json!(user.otp.is_some());
    if flavour == Flavour::AList {
        data["role_names"] = match user.role {
            Role::Admin => json!(["admin"]),
            Role::Guest => json!(["guest"]),
            Role::General => json!(["general"]),
        };
        data["permissions"] = Value::Null;
    }
    success(&data)
}

/// The settings that have to do with tasks: the sizes of the worker pools. A real server lists its
/// hundred others too. What stands in its `config.json`, such as `allow_retry_canceled` and the
/// persistence of tasks, is not among them.
pub(super) fn settings(settings: &Settings) -> String {
    let item = |(index, kind): (usize, &String)| {
        let workers =
            settings.pools.get(kind).map_or(Pool::usual(kind).workers, |pool| pool.workers);
        json!({
            "key": format!("{kind}_task_threads_num"),
            "value": workers.to_string(),
            "help": "",
            "type": "number",
            "options": "",
            "group": 9,
            "flag": 1,
            "index": index,
        })
    };
    // Not every kind has such a setting.
    let kinds = settings.kinds.iter().filter(|kind| {
        ["upload", "copy", "move", "offline_download", "offline_download_transfer"]
            .contains(&kind.as_str())
    });
    success(&kinds.enumerate().map(item).collect())
}

/// The storages, of whose fields only those that say which is which are shown.
pub(super) fn storages(settings: &Settings) -> String {
    let item = |(index, mount): (usize, &String)| {
        json!({
            "id": index + 1,
            "mount_path": mount,
            "order": index,
            "driver": "Local",
            "status": "work",
            "disabled": false,
        })
    };
    let content: Vec<Value> = settings.mounts.iter().enumerate().map(item).collect();
    success(&json!({ "content": content, "total": settings.mounts.len() }))
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
