//! CONTRACT.md, "Requests" and "Answers", over a real socket.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A clock that a test turns.
#[derive(Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn turn(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += span;
    }
}

async fn sandbox(settings: Settings) -> (Sandbox, Hands) {
    let hands = Hands(Arc::new(Mutex::new(start())));
    let now = hands.clone();
    let now = Arc::new(move || *now.0.lock().unwrap());
    (Sandbox::start(Options { settings, now, seed: 7 }).await.unwrap(), hands)
}

/// A request as plain text, so that no client library can hide what is on the wire.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    token: Option<&'a str>,
    content_type: Option<&'a str>,
    body: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    headers: String,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap()
    }
}

async fn raw(sandbox: &Sandbox, ask: &Ask<'_>) -> std::io::Result<String> {
    let url = sandbox.url();
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).await?;
    let mut text =
        format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", ask.method, ask.path);
    for (name, value) in [("Authorization", ask.token), ("Content-Type", ask.content_type)] {
        if let Some(value) = value {
            text += &format!("{name}: {value}\r\n");
        }
    }
    let body = ask.body.as_deref().unwrap_or_default();
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

async fn send(sandbox: &Sandbox, ask: &Ask<'_>) -> Got {
    let answer = raw(sandbox, ask).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let (first, headers) = head.split_once("\r\n").unwrap();
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, headers: headers.to_owned(), body: body.to_owned() }
}

fn ask<'a>(method: &'a str, path: &'a str, token: &'a str) -> Ask<'a> {
    let token = (!token.is_empty()).then_some(token);
    Ask { method, path, token, content_type: None, body: None }
}

async fn get(sandbox: &Sandbox, path: &str) -> Got {
    send(sandbox, &ask("GET", path, sandbox.token())).await
}

async fn post(sandbox: &Sandbox, path: &str, body: &Value) -> Got {
    let mut ask = ask("POST", path, sandbox.token());
    if !body.is_null() {
        ask.content_type = Some("application/json");
        ask.body = Some(body.to_string());
    }
    send(sandbox, &ask).await
}

async fn login(sandbox: &Sandbox, path: &str, body: &Value) -> Got {
    let mut ask = ask("POST", path, "");
    ask.content_type = Some("application/json");
    ask.body = Some(body.to_string());
    send(sandbox, &ask).await
}

const LOGIN: &str = "/api/auth/login";

/// The task of a recorded answer.
fn view(task: &Value) -> TaskView {
    let text = |key: &str| task[key].as_str().unwrap().to_owned();
    let time = |key: &str| task[key].as_str().map(|time| time.parse().unwrap());
    TaskView {
        id: text("id"),
        name: text("name"),
        creator: text("creator"),
        role: Some(Role::Admin),
        state: State::ALL[usize::try_from(task["state"].as_u64().unwrap()).unwrap()],
        shown_as: None,
        status: text("status"),
        progress: task["progress"].as_f64().unwrap(),
        started: time("start_time"),
        ended: time("end_time"),
        total_bytes: task["total_bytes"].as_u64().unwrap(),
        error: text("error"),
    }
}

/// The tasks that the server had when it gave a recorded answer: those it shows, and those that the
/// request names and the answer does not call missing.
fn tasks_behind(pair: &Value) -> Vec<TaskView> {
    let data = &pair["response"]["json"]["data"];
    let mut tasks: Vec<TaskView> = match data {
        Value::Array(tasks) => tasks.iter().map(view).collect(),
        task if task["id"].is_string() => vec![view(task)],
        _ => Vec::new(),
    };
    let path = pair["request"]["path"].as_str().unwrap();
    let tid = path.split_once("tid=").map(|(_, tid)| json!(tid));
    let listed = pair["request"]["body"].as_array().cloned().unwrap_or_default();
    for id in tid.iter().chain(&listed).filter_map(Value::as_str) {
        let missing = pair["response"]["json"]["code"] == 404 || !data[id].is_null();
        if !missing && !tasks.iter().any(|task| task.id == id) {
            let failed = json!({
                "id": id, "name": "download x to (/dst)", "creator": "admin", "state": 7,
                "status": "", "progress": 0, "total_bytes": 0, "error": "http status code 503",
            });
            tasks.push(view(&failed));
        }
    }
    tasks
}

/// Makes two JSON answers comparable: lists have no fixed order, and secrets are the server's own.
fn comparable(mut answer: Value) -> Value {
    if let Some(tasks) = answer["data"].as_array_mut() {
        tasks.sort_by_key(|task| task["id"].to_string());
    }
    for secret in ["token", "device_key"] {
        if answer["data"][secret].is_string() {
            answer["data"][secret] = json!("secret");
        }
    }
    answer
}

/// Plays the recorded requests, each against a sandbox that has the tasks of its answer: the answers
/// must be the recorded ones, to the order of the keys.
async fn replay(flavour: Flavour, recorded: &str) {
    let pairs: Vec<Value> = serde_json::from_str(recorded).unwrap();
    assert_eq!(pairs.len(), 47);
    for pair in &pairs {
        let (label, request) = (&pair["label"], &pair["request"]);
        let path = request["path"].as_str().unwrap();
        let kind = path.split('/').rev().nth(1).unwrap();
        let (sandbox, _) = sandbox(Settings::new(flavour)).await;
        sandbox.with_model(|model| {
            for task in tasks_behind(pair) {
                model.place(TaskScript::new(kind, task.name.clone()), &task);
            }
        });
        let token = match request["authorization"].as_str().unwrap() {
            "token" => sandbox.token().to_owned(),
            "bearer" => format!("Bearer {}", sandbox.token()),
            "bad" => "bad".to_owned(),
            _ => String::new(),
        };
        let mut ask = ask(request["method"].as_str().unwrap(), path, &token);
        if !request["body"].is_null() {
            ask.content_type = Some("application/json");
            ask.body = Some(request["body"].to_string());
        }
        let got = send(&sandbox, &ask).await;
        let wanted = &pair["response"];
        assert_eq!(json!(got.status), wanted["http_status"], "{label}");
        assert_eq!(json!(got.header("content-type")), wanted["content_type"], "{label}");
        match wanted["text"].as_str() {
            Some(text) => assert_eq!(got.body, text, "{label}"),
            None => assert_eq!(
                comparable(got.json()).to_string(),
                comparable(wanted["json"].clone()).to_string(),
                "{label}"
            ),
        }
    }
}

#[tokio::test]
async fn answers_are_the_recorded_ones_on_openlist() {
    let recorded = include_str!("../../../tests/fixtures/recorded-openlist-4.json");
    replay(Flavour::OpenList, recorded).await;
}

#[tokio::test]
async fn answers_are_the_recorded_ones_on_alist() {
    let recorded = include_str!("../../../tests/fixtures/recorded-alist-3.62.json");
    replay(Flavour::AList, recorded).await;
}
