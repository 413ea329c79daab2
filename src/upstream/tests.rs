//! The client against scripted servers on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::ambient::Clock;
use crate::engine::task::{Flavour, Kind, State, TaskId};

const PAGE: &str = "<!DOCTYPE html><html><head><title>OpenList</title></head><body></body></html>";
const EMPTY_LIST: &str = r#"{"code":200,"message":"success","data":[]}"#;
const OK_NULL: &str = r#"{"code":200,"message":"success","data":null}"#;
const UNAUTHORIZED: &str = r#"{"code":401,"message":"token is invalidated","data":null}"#;

/// A request as it came.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Seen {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    fn token(&self) -> &str {
        self.headers.get("authorization").map_or("", String::as_str)
    }

    fn is_login(&self) -> bool {
        self.path().starts_with("/api/auth/login")
    }
}

enum Reply {
    /// A whole answer, the connection kept open.
    Whole(u16, &'static str, String),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// No answer, the connection is held.
    Hang,
    /// A byte now and then, without end.
    Trickle,
}

fn json(body: impl Into<String>) -> Reply {
    Reply::Whole(200, "application/json; charset=utf-8", body.into())
}

fn page() -> Reply {
    Reply::Whole(200, "text/html", PAGE.to_owned())
}

fn cut_off() -> Reply {
    Reply::Raw(Vec::new())
}

/// A server that answers as its script says and keeps what it saw.
struct Script {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Script {
    async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, reply) = (Arc::clone(&seen), Arc::new(reply));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = receive(&mut stream).await {
                        log.lock().unwrap().push(request.clone());
                        let bytes = match reply(&request) {
                            Reply::Whole(status, kind, body) => {
                                let bytes = format!(
                                    "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n\
                                     Date: Mon, 23 Nov 2026 19:32:58 GMT\r\n\
                                     Content-Length: {}\r\n\r\n{body}",
                                    body.len()
                                );
                                stream.write_all(bytes.as_bytes()).await.unwrap();
                                continue;
                            }
                            Reply::Raw(bytes) => bytes,
                            Reply::Hang => std::future::pending().await,
                            Reply::Trickle => {
                                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                                while stream.write_all(b" ").await.is_ok() {
                                    tokio::time::sleep(Duration::from_millis(20)).await;
                                }
                                return;
                            }
                        };
                        stream.write_all(&bytes).await.unwrap();
                        stream.shutdown().await.ok();
                        return;
                    }
                });
            }
        });
        Self { url, seen, serving }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn logins(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_login()).count()
    }

    fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    fn client_with(&self, change: impl FnOnce(&mut ClientSettings)) -> Client {
        let auth = Auth::Token(SecretSource::Literal("static-token".into()));
        let mut settings = ClientSettings::new("home".into(), self.url.clone(), auth);
        change(&mut settings);
        Client::new(settings).unwrap()
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { method, target, headers, body: String::from_utf8(body).unwrap() })
}

fn password(secret: SecretSource, totp: Option<SecretSource>) -> Auth {
    Auth::Password { username: "warden".into(), password: secret, totp }
}

/// A clock that tests turn.
#[derive(Clone)]
struct Dial(Arc<AtomicI64>);

impl Dial {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000)))
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
    }

    fn turn(&self, by: SignedDuration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        self.clock().now()
    }
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn copy() -> Kind {
    Kind::Copy
}

fn id(text: &str) -> TaskId {
    TaskId::from(text)
}

#[tokio::test]
async fn every_endpoint_is_called_as_the_servers_want_it() {
    let script = Script::start(|seen| match seen.path().rsplit('/').next().unwrap() {
        "done" | "undone" => json(EMPTY_LIST),
        "info" => json(r#"{"code":200,"message":"success","data":{"id":"a b","state":7}}"#),
        name if name.ends_with("_some") => {
            json(r#"{"code":200,"message":"success","data":{"b":"task not found","z":"?"}}"#)
        }
        _ => json(OK_NULL),
    })
    .await;
    let client = script.client();
    client.list(&copy()).await.unwrap();
    let task = client.info(&copy(), &id("a b")).await.unwrap().unwrap();
    assert_eq!(task.state, State::Failed);
    for verb in [Verb::Retry, Verb::Cancel, Verb::Delete] {
        client.act_one(&copy(), verb, &id("a b")).await.unwrap();
        let batch = Batch::new(vec![id("a"), id("b")]).unwrap();
        let outcomes = client.act_some(&copy(), verb, &batch).await.unwrap();
        assert_eq!(outcomes.len(), 2);
        assert_eq!(outcomes[&id("a")], Ok(()));
        assert_eq!(outcomes[&id("b")], Err("task not found".to_owned()));
    }
    for verb in [KindVerb::ClearDone, KindVerb::ClearSucceeded, KindVerb::RetryFailed] {
        client.act_kind(&copy(), verb).await.unwrap();
    }
    let seen = script.seen();
    let lines: Vec<String> =
        seen.iter().map(|seen| format!("{} {} {}", seen.method, seen.target, seen.body)).collect();
    assert_eq!(
        lines,
        [
            "GET /api/task/copy/undone ",
            "GET /api/task/copy/done ",
            "POST /api/task/copy/info?tid=a+b ",
            "POST /api/task/copy/retry?tid=a+b ",
            r#"POST /api/task/copy/retry_some ["a","b"]"#,
            "POST /api/task/copy/cancel?tid=a+b ",
            r#"POST /api/task/copy/cancel_some ["a","b"]"#,
            "POST /api/task/copy/delete?tid=a+b ",
            r#"POST /api/task/copy/delete_some ["a","b"]"#,
            "POST /api/task/copy/clear_done ",
            "POST /api/task/copy/clear_succeeded ",
            "POST /api/task/copy/retry_failed ",
        ]
    );
    for request in seen {
        assert_eq!(request.token(), "static-token");
        let agent = concat!("taskwarden/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.headers["user-agent"], agent);
        if !request.body.is_empty() {
            assert_eq!(request.headers["content-type"], "application/json");
        }
    }
}

#[tokio::test]
async fn both_lists_make_one_and_done_wins() {
    let script = Script::start(|seen| {
        json(if seen.path().ends_with("/undone") {
            r#"{"code":200,"data":[{"id":"a","state":1,"creator_role":[2]},{"id":"b","state":1}]}"#
        } else {
            r#"{"code":200,"data":[{"id":"b","state":7},{"id":"c","state":2}]}"#
        })
    })
    .await;
    let dial = Dial::new();
    let list =
        script.client_with(|settings| settings.clock = dial.clock()).list(&copy()).await.unwrap();
    let mut states: Vec<_> = list.tasks.iter().map(|task| (task.id.as_str(), task.state)).collect();
    states.sort_unstable();
    let expected = [("a", State::Running), ("b", State::Failed), ("c", State::Succeeded)];
    assert_eq!(states, expected);
    assert_eq!(list.role_form, RoleForm::Array);
    assert_eq!(list.read_at, dial.now());
    assert_eq!(list.date.unwrap().to_string(), "2026-11-23T19:32:58Z");
    assert!(list.bytes > 100);
}

#[tokio::test]
async fn codes_become_errors_by_what_to_do() {
    for (code, not_done) in
        [(400, true), (403, true), (404, true), (429, true), (500, false), (777, false)]
    {
        let script = Script::start(move |seen| {
            if seen.method == "GET" {
                return json(EMPTY_LIST);
            }
            json(format!(r#"{{"code":{code},"message":"so it is","data":null}}"#))
        })
        .await;
        let error = script.client().act_kind(&copy(), KindVerb::RetryFailed).await.unwrap_err();
        match (code, &error) {
            (400, Error::BadRequest { .. })
            | (403, Error::Forbidden { .. })
            | (404, Error::NotFound { .. })
            | (429, Error::Throttled { .. })
            | (500 | 777, Error::Server { .. }) => {}
            _ => panic!("{code}: {error:?}"),
        }
        assert_eq!(error.certainty() == Certainty::NotDone, not_done, "{code}");
        let text = error.to_string();
        assert!(text.contains("home: POST /api/task/copy/retry_failed"), "{text}");
        assert!(text.contains("so it is"), "{text}");
    }
}

#[tokio::test]
async fn the_code_counts_and_not_the_status() {
    let script = Script::start(|seen| match seen.path() {
        "/api/task/copy/info" => Reply::Whole(
            404,
            "application/json",
            r#"{"code":404,"message":"task not found","data":null}"#.to_owned(),
        ),
        "/api/task/copy/retry" => Reply::Whole(502, "application/json", OK_NULL.to_owned()),
        _ => json(EMPTY_LIST),
    })
    .await;
    let client = script.client();
    assert_eq!(client.info(&copy(), &id("x")).await.unwrap(), None);
    let error = client.act_one(&copy(), Verb::Retry, &id("x")).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { status: 502, .. }), "{error:?}");
}

/// Answers that are not of the API, and what an error about them says.
#[tokio::test]
async fn odd_answers_are_errors_that_tell_what_came_and_never_no_tasks() {
    let raw = |text: &str| text.as_bytes().to_vec();
    let truncated = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "page",
            raw(&format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{PAGE}")),
            &["web page", "OpenList"],
        ),
        ("untyped page", raw(&format!("HTTP/1.1 200 OK\r\n\r\n{PAGE}")), &["web page", "OpenList"]),
        ("empty", raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), &["an empty answer"]),
        ("blank", raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\r\n"), &["an empty answer"]),
        (
            "cut by length",
            raw(&format!("{truncated}Content-Length: 900\r\n\r\n{EMPTY_LIST}")),
            &["no whole answer"],
        ),
        (
            "cut in a chunk",
            raw(&format!("{truncated}Transfer-Encoding: chunked\r\n\r\nff\r\n{EMPTY_LIST}")),
            &["no whole answer"],
        ),
        (
            "cut without length",
            raw(&format!("{truncated}\r\n{}", &EMPTY_LIST[..30])),
            &["ends in the middle", "success"],
        ),
        (
            "garbage",
            raw("HTTP/1.1 200 OK\r\n\r\n\u{1b}[31mnonsense"),
            &["not of the task API", "[31mnonsense"],
        ),
        ("not http", raw("SSH-2.0-OpenSSH_9.9\r\n"), &["no whole answer"]),
        ("nothing", raw(""), &["no whole answer"]),
        (
            "502",
            raw(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html><title>502 Bad Gateway</title>nginx",
            ),
            &["HTTP 502", "502 Bad Gateway nginx"],
        ),
        (
            "503",
            raw("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            &["HTTP 503"],
        ),
        (
            "other json",
            raw("HTTP/1.1 200 OK\r\n\r\n{\"tasks\":[]}"),
            &["not of the task API", "tasks"],
        ),
        (
            "an object for a list",
            raw("HTTP/1.1 200 OK\r\n\r\n{\"code\":200,\"data\":{}}"),
            &["not a list"],
        ),
        ("no data", raw("HTTP/1.1 200 OK\r\n\r\n{\"code\":200}"), &["no `data`"]),
        (
            "no id",
            raw("HTTP/1.1 200 OK\r\n\r\n{\"code\":200,\"data\":[{\"name\":\"x\"}]}"),
            &["task 1 of the list has no `id`"],
        ),
    ];
    for (name, bytes, words) in cases {
        let odd = bytes.clone();
        let script = Script::start(move |seen| {
            if seen.path().ends_with("/done") { Reply::Raw(odd.clone()) } else { json(EMPTY_LIST) }
        })
        .await;
        let client = script.client();
        let error = client.list(&copy()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("home: GET /api/task/copy/done: "), "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{name}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{name}: {text}");
        assert!(text.chars().count() < 250, "{name}: {text}");

        // The same on an action: whether it was done cannot be known.
        let script = Script::start(move |seen| {
            if seen.method == "POST" { Reply::Raw(bytes.clone()) } else { json(EMPTY_LIST) }
        })
        .await;
        let client = script.client();
        let batch = Batch::new(vec![id("a")]).unwrap();
        match client.act_some(&copy(), Verb::Retry, &batch).await {
            Err(error) => assert_eq!(error.certainty(), Certainty::Unknown, "{name}: {error}"),
            Ok(_) => assert_eq!(name, "an object for a list"),
        }
        assert_eq!(script.count(), 2, "{name}: one reading and one action");
    }
}

#[tokio::test]
async fn null_is_an_empty_list_only_in_an_answer_that_is_well() {
    let script = Script::start(|_| json(OK_NULL)).await;
    assert!(script.client().list(&copy()).await.unwrap().tasks.is_empty());
    let script = Script::start(|_| json(r#"{"code":500,"message":"no","data":null}"#)).await;
    assert!(matches!(script.client().list(&copy()).await, Err(Error::Server { .. })));
}

#[tokio::test]
async fn an_answer_over_the_cap_is_not_taken_in() {
    for announced in [true, false] {
        let script = Script::start(move |_| {
            let body = format!("{{\"code\":200,\"data\":[]{}}}", " ".repeat(3000));
            if announced {
                return json(body);
            }
            Reply::Raw(format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes())
        })
        .await;
        let client = script.client_with(|settings| settings.max_body = 2000);
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 2000, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_call_ends_in_time_whatever_the_server_does() {
    for trickle in [false, true] {
        let script =
            Script::start(move |_| if trickle { Reply::Trickle } else { Reply::Hang }).await;
        let client =
            script.client_with(|settings| settings.request_timeout = Duration::from_millis(500));
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains("500ms"), "{error}");
        assert_eq!(error.certainty(), Certainty::Unknown);
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_did_nothing() {
    // It is bound and does not listen, so that no other test is given the port.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    let auth = Auth::Token(SecretSource::Literal("static-token".into()));
    let client = Client::new(ClientSettings::new("home".into(), url, auth)).unwrap();
    let error = client.act_kind(&copy(), KindVerb::RetryFailed).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.certainty(), Certainty::NotDone);
    assert!(error.is_whole_server());
}

#[tokio::test]
async fn one_action_is_one_request_even_on_a_connection_that_breaks() {
    for before in [0, 3] {
        let script =
            Script::start(|seen| if seen.method == "POST" { cut_off() } else { json(EMPTY_LIST) })
                .await;
        let client = script.client();
        // Warms the connection up, so that the action goes out on a used one.
        for _ in 0..before {
            client.list(&copy()).await.unwrap();
        }
        let batch = Batch::new(vec![id("a")]).unwrap();
        let error = client.act_some(&copy(), Verb::Retry, &batch).await.unwrap_err();
        assert_eq!(error.certainty(), Certainty::Unknown);
        let actions = script.seen().iter().filter(|seen| seen.method == "POST").count();
        assert_eq!(actions, 1);
    }
}

#[tokio::test]
async fn redirects_are_told_and_not_followed() {
    let script = Script::start(|seen| {
        if seen.path().starts_with("/elsewhere") {
            return json(EMPTY_LIST);
        }
        Reply::Raw(
            b"HTTP/1.1 301 Moved\r\nLocation: https://user:pw@nas.example/elsewhere?sign=abc\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let error = script.client().list(&copy()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Redirected { status: 301, .. }), "{text}");
    assert!(text.contains("https://nas.example/elsewhere;") && text.contains("`url`"), "{text}");
    assert!(!text.contains("pw") && !text.contains("sign"), "{text}");
    assert_eq!(script.count(), 1);
}

#[tokio::test]
async fn a_prefix_and_the_legacy_path_are_found() {
    let script = Script::start(|seen| {
        if seen.path().starts_with("/list/api/admin/task/copy/") {
            json(EMPTY_LIST)
        } else {
            page()
        }
    })
    .await;
    let client = script.client_with(|settings| settings.base_url += "/list/");
    client.list(&copy()).await.unwrap();
    client.list(&copy()).await.unwrap();
    assert!(matches!(client.list(&Kind::Move).await, Err(Error::KindAbsent { .. })));
    let paths: Vec<_> = script.seen().iter().map(|seen| seen.target.clone()).collect();
    let legacy = "/list/api/admin/task";
    assert_eq!(
        paths,
        [
            "/list/api/task/copy/undone".to_owned(),
            format!("{legacy}/copy/undone"),
            format!("{legacy}/copy/done"),
            format!("{legacy}/copy/undone"),
            format!("{legacy}/copy/done"),
            format!("{legacy}/move/undone"),
        ]
    );
    // An action finds its path by a reading, never by being sent on trial.
    let client = script.client_with(|settings| settings.base_url += "/list");
    let _ = client.act_kind(&copy(), KindVerb::ClearDone).await;
    let posts: Vec<_> = script.seen().into_iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].path(), format!("{legacy}/copy/clear_done"));
}

#[tokio::test]
async fn discovery_tells_kinds_product_and_a_wrong_address() {
    for (lacking, flavour) in [("move", Flavour::AList), ("s3_transition", Flavour::OpenList)] {
        let script = Script::start(move |seen| match seen.path().split('/').nth(3).unwrap() {
            "settings" => json(r#"{"code":200,"data":{"site_title":"x","version":"v9"}}"#),
            // It is there, though this user must not read it.
            "upload" => json(r#"{"code":403,"message":"no","data":null}"#),
            kind if kind == lacking => page(),
            _ => json(EMPTY_LIST),
        })
        .await;
        let found = script.client().discover(&Kind::KNOWN).await.unwrap();
        assert_eq!(found.flavour, flavour);
        assert_eq!(found.base, Base::Modern);
        assert_eq!(found.kinds.len(), 7);
        assert!(found.kinds.contains(&Kind::Upload));
        assert!(!found.kinds.contains(&Kind::from(lacking)));
        assert_eq!(found.version.as_deref(), Some("v9"));
    }
    let script = Script::start(|_| page()).await;
    let client = script.client_with(|settings| settings.base_url += "/wrong");
    let error = client.discover(&Kind::KNOWN).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NoApi { .. }), "{text}");
    for word in [&format!("{}/wrong", script.url), "prefix", "web page", "OpenList"] {
        assert!(text.contains(word), "{text}");
    }
    let script = Script::start(|_| Reply::Whole(502, "text/html", PAGE.to_owned())).await;
    let error = script.client().discover(&Kind::KNOWN).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { status: 502, .. }), "{error}");
    assert_eq!(script.count(), 1, "a server that is down is asked once");
}

/// Takes logins with `good` as the password's hash or itself, and hands out `jwt-1`, `jwt-2`...; calls
/// are let in with the last token.
fn login_server(good: &Path) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let good = good.to_owned();
    let last = AtomicI64::new(0);
    move |seen| {
        if !seen.is_login() {
            let current = format!("jwt-{}", last.load(Ordering::SeqCst));
            return json(if seen.token() == current { EMPTY_LIST } else { UNAUTHORIZED });
        }
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        let good = std::fs::read_to_string(&good).unwrap();
        if body["username"] == "warden" && body["password"] == hashed(&good) {
            let number = last.fetch_add(1, Ordering::SeqCst) + 1;
            return json(format!(r#"{{"code":200,"data":{{"token":"jwt-{number}"}}}}"#));
        }
        json(r#"{"code":400,"message":"username or password is incorrect","data":null}"#)
    }
}

fn hashed(password: &str) -> String {
    use sha2::Digest;
    let text = format!("{password}-https://github.com/alist-org/alist");
    sha2::Sha256::digest(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// A server that wants the password `server`, a client that reads the file `client`.
struct Lock {
    folder: tempfile::TempDir,
    script: Script,
    dial: Dial,
}

impl Lock {
    async fn start(right: &str, given: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server"), right).unwrap();
        std::fs::write(folder.path().join("client"), given).unwrap();
        let script = Script::start(login_server(&folder.path().join("server"))).await;
        Self { folder, script, dial: Dial::new() }
    }

    fn client(&self) -> Client {
        self.script.client_with(|settings| {
            let file = SecretSource::File(self.folder.path().join("client"));
            settings.auth = password(file, None);
            settings.clock = self.dial.clock();
        })
    }

    fn give(&self, password: &str) {
        std::fs::write(self.folder.path().join("client"), password).unwrap();
    }
}

#[tokio::test]
async fn twenty_callers_make_one_login_and_one_more_when_the_token_dies() {
    let lock = Lock::start("right", "right\n").await;
    let client = Arc::new(lock.client());
    let all = |client: &Arc<Client>| {
        let calls = (0..20).map(|_| {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.list(&Kind::Copy).await })
        });
        futures_util::future::join_all(calls)
    };
    for result in all(&client).await {
        result.unwrap().unwrap();
    }
    assert_eq!(lock.script.logins(), 1);
    // Somebody else's login makes the token invalid, as a restart of the server does.
    let other = lock.client();
    other.list(&copy()).await.unwrap();
    assert_eq!(lock.script.logins(), 2);
    for result in all(&client).await {
        result.unwrap().unwrap();
    }
    assert_eq!(lock.script.logins(), 3);
    let login = lock.script.seen().into_iter().find(Seen::is_login).unwrap();
    assert_eq!(login.path(), "/api/auth/login/hash");
    assert!(!login.body.contains("right"), "the clear password does not travel");
    assert_eq!(login.headers["content-type"], "application/json");
    assert_eq!(login.token(), "");
}

#[tokio::test]
async fn waiters_share_a_refused_login() {
    let lock = Lock::start("right", "wrong").await;
    let client = Arc::new(lock.client());
    let calls = (0..20).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.list(&Kind::Copy).await })
    });
    for result in futures_util::future::join_all(calls).await {
        let error = result.unwrap().unwrap_err();
        assert!(matches!(error, Error::AuthRefused { .. }), "{error}");
        assert_eq!(error.certainty(), Certainty::NotDone);
    }
    assert_eq!(lock.script.count(), 1);
}

#[tokio::test]
async fn a_refused_login_waits_longer_each_time_and_then_for_ever() {
    let lock = Lock::start("right", "wrong").await;
    let client = lock.client();
    let mut tries = Vec::new();
    let begun = lock.dial.now();
    for _ in 0..(3 * 24 * 60) {
        let before = lock.script.logins();
        client.list(&copy()).await.unwrap_err();
        if lock.script.logins() > before {
            tries.push(lock.dial.now().duration_since(begun).as_mins());
        }
        lock.dial.turn(MINUTE);
    }
    assert_eq!(tries, [0, 15, 45]);
    let text = client.list(&copy()).await.unwrap_err().to_string();
    assert!(
        text.contains("username or password is incorrect") && text.contains("3 logins"),
        "{text}"
    );
    assert!(text.contains("not tried again before it changes"), "{text}");
    // A restart changes nothing.
    let kept = serde_json::to_string(&client.login_memory()).unwrap();
    assert!(!kept.contains("wrong"));
    let restarted = lock.client();
    restarted.restore_login_memory(serde_json::from_str(&kept).unwrap());
    assert!(restarted.list(&copy()).await.is_err());
    assert_eq!(lock.script.logins(), 3);
    // The right password does.
    lock.give("right");
    restarted.list(&copy()).await.unwrap();
    assert_eq!(lock.script.logins(), 4);
    assert_eq!(restarted.login_memory(), LoginMemory::default());
}

#[tokio::test]
async fn no_way_leads_to_a_fifth_wrong_login() {
    let lock = Lock::start("right", "wrong 0").await;
    let client = lock.client();
    for round in 1..200 {
        let _ = client.list(&copy()).await;
        match round % 4 {
            0 => lock.give(&format!("wrong {round}")),
            1 => lock.dial.turn(MINUTE * 1500),
            2 => {
                let memory = client.login_memory();
                client.restore_login_memory(memory);
            }
            _ => {}
        }
    }
    assert_eq!(lock.script.logins(), 4);
    // Not even by asking, while nothing changed.
    let _ = client.list(&copy()).await;
    lock.give("wrong 196");
    let text = client.list(&copy()).await.unwrap_err().to_string();
    assert!(text.contains("4 logins") && text.contains("browser"), "{text}");
    // A person who was told may go on with other credentials.
    lock.give("right");
    assert!(client.list(&copy()).await.is_err());
    client.allow_login_again();
    client.list(&copy()).await.unwrap();
}

#[tokio::test]
async fn a_person_may_ask_once() {
    let lock = Lock::start("right", "wrong").await;
    let client = lock.client();
    for logins in [1, 1, 1] {
        client.list(&copy()).await.unwrap_err();
        assert_eq!(lock.script.logins(), logins);
    }
    for logins in [2, 3, 4, 4, 4] {
        client.allow_login_again();
        client.list(&copy()).await.unwrap_err();
        client.list(&copy()).await.unwrap_err();
        assert_eq!(lock.script.logins(), logins);
    }
    // The account was mended on the server, and somebody says so.
    let mended = Lock::start("right", "later right").await;
    let client = mended.client();
    client.list(&copy()).await.unwrap_err();
    std::fs::write(mended.folder.path().join("server"), "later right").unwrap();
    client.list(&copy()).await.unwrap_err();
    client.allow_login_again();
    client.list(&copy()).await.unwrap();
}

#[tokio::test]
async fn a_lock_of_the_server_is_waited_out() {
    for http_status in [200, 429] {
        let script = Script::start(move |_| {
            let body = r#"{"code":429,"message":"Too many unsuccessful sign-in attempts"}"#;
            let body = if http_status == 200 { body } else { "slow down" };
            Reply::Whole(http_status, "application/json", body.to_owned())
        })
        .await;
        let dial = Dial::new();
        let client = script.client_with(|settings| {
            settings.auth = password(SecretSource::Literal("right".into()), None);
            settings.clock = dial.clock();
        });
        let mut tries = Vec::new();
        let begun = dial.now();
        for _ in 0..240 {
            let before = script.count();
            let error = client.list(&copy()).await.unwrap_err();
            assert!(matches!(error, Error::LoginLocked { .. }), "{error}");
            assert!(error.until().unwrap() > dial.now());
            if script.count() > before {
                tries.push(dial.now().duration_since(begun).as_mins());
            }
            // Asking does not help against the server's own lock.
            client.allow_login_again();
            dial.turn(MINUTE);
        }
        assert_eq!(tries, [0, 5, 15, 35, 75, 135, 195]);
    }
}

#[tokio::test]
async fn a_lost_login_counts_as_no_try() {
    let script =
        Script::start(|seen| if seen.is_login() { cut_off() } else { json(EMPTY_LIST) }).await;
    let client = script.client_with(|settings| {
        settings.auth = password(SecretSource::Literal("right".into()), None);
    });
    for logins in 1..10 {
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains("POST /api/auth/login/hash"), "{error}");
        assert_eq!(script.logins(), logins);
    }
    assert_eq!(client.login_memory().refused(), 0);
}

#[tokio::test]
async fn a_server_without_hashed_logins_gets_a_plain_one() {
    for status in [200, 404, 405] {
        let script = Script::start(move |seen| match seen.path() {
            "/api/auth/login" => {
                assert_eq!(seen.body, r#"{"username":"warden","password":"right"}"#);
                json(r#"{"code":200,"data":{"token":"jwt","device_key":"x"}}"#)
            }
            "/api/auth/login/hash" => Reply::Whole(status, "text/html", PAGE.to_owned()),
            _ => json(if seen.token() == "jwt" { EMPTY_LIST } else { UNAUTHORIZED }),
        })
        .await;
        let client = script.client_with(|settings| {
            settings.auth = password(SecretSource::Literal("right".into()), None);
        });
        client.list(&copy()).await.unwrap();
        assert_eq!(script.logins(), 2);
    }
}

#[tokio::test]
async fn one_time_codes_are_sent_and_never_twice() {
    let script = Script::start(|seen| {
        if seen.is_login() {
            let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
            assert_eq!(body["otp_code"].as_str().unwrap().len(), 6);
            return json(r#"{"code":200,"data":{"token":"jwt"}}"#);
        }
        json(UNAUTHORIZED)
    })
    .await;
    let dial = Dial::new();
    let client = script.client_with(|settings| {
        let totp = SecretSource::Literal("gezd gnbv gy3t qojq".into());
        settings.auth = password(SecretSource::Literal("right".into()), Some(totp));
        settings.clock = dial.clock();
    });
    let error = client.list(&copy()).await.unwrap_err();
    assert!(error.to_string().contains("half minute"), "{error}");
    assert!(error.until().unwrap() > dial.now());
    assert_eq!(script.logins(), 1);
    dial.turn(SignedDuration::from_secs(30));
    client.list(&copy()).await.unwrap_err();
    let codes: std::collections::BTreeSet<_> =
        script.seen().into_iter().filter(Seen::is_login).map(|seen| seen.body).collect();
    assert_eq!((codes.len(), script.logins()), (2, 2));
}

#[tokio::test]
async fn a_missing_one_time_code_is_told() {
    let script = Script::start(|_| json(r#"{"code":402,"message":"Invalid 2FA code"}"#)).await;
    let client = script.client_with(|settings| {
        settings.auth = password(SecretSource::Literal("right".into()), None);
    });
    let text = client.list(&copy()).await.unwrap_err().to_string();
    assert!(text.contains("two factors"), "{text}");
    assert_eq!(client.login_memory().refused(), 1);
}

#[tokio::test]
async fn a_user_whose_tokens_are_never_taken_does_not_make_login_after_login() {
    let script = Script::start(|seen| {
        if seen.is_login() {
            json(r#"{"code":200,"data":{"token":"jwt"}}"#)
        } else {
            json(UNAUTHORIZED)
        }
    })
    .await;
    let dial = Dial::new();
    let client = script.client_with(|settings| {
        settings.auth = password(SecretSource::Literal("right".into()), None);
        settings.clock = dial.clock();
    });
    for _ in 0..60 {
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::AuthRefused { .. }), "{error}");
        dial.turn(MINUTE);
    }
    // At 0, and when 1, 2, 4, 8, 16 and 32 minutes have passed.
    assert!(script.logins() <= 2 * 6, "{}", script.logins());
}

#[tokio::test]
async fn a_refused_token_waits_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old-token\n").unwrap();
    let script = Script::start(|seen| {
        json(if seen.token() == "new-token" { EMPTY_LIST } else { UNAUTHORIZED })
    })
    .await;
    let dial = Dial::new();
    let client = script.client_with(|settings| {
        settings.auth = Auth::Token(SecretSource::File(path.clone()));
        settings.clock = dial.clock();
    });
    let mut tries = Vec::new();
    let begun = dial.now();
    for _ in 0..40 {
        let before = script.count();
        let error = client.list(&copy()).await.unwrap_err();
        assert!(error.to_string().contains("token"), "{error}");
        if script.count() > before {
            tries.push(dial.now().duration_since(begun).as_mins());
        }
        dial.turn(MINUTE);
    }
    assert_eq!(tries, [0, 1, 2, 3, 5, 9, 17, 27, 37]);
    std::fs::write(&path, "new-token\n").unwrap();
    client.list(&copy()).await.unwrap();
    // Changed between two calls: the first refusal makes it read again, and the call goes on.
    std::fs::write(&path, "old-token\n").unwrap();
    let client = script.client_with(|settings| {
        settings.auth = Auth::Token(SecretSource::File(path.clone()));
    });
    client.list(&copy()).await.unwrap_err();
    std::fs::write(&path, "new-token\n").unwrap();
    client.list(&copy()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    client.list(&copy()).await.unwrap();
}

#[tokio::test]
async fn a_missing_secret_is_told_and_nothing_is_sent() {
    let script = Script::start(|_| json(EMPTY_LIST)).await;
    let missing = SecretSource::Env("TASKWARDEN_NO_SUCH_VARIABLE".into());
    for auth in [Auth::Token(missing.clone()), password(missing, None)] {
        let client = script.client_with(|settings| settings.auth = auth);
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::Secret { .. }), "{error}");
        assert!(error.to_string().contains("TASKWARDEN_NO_SUCH_VARIABLE"), "{error}");
    }
    assert_eq!(script.count(), 0);
}

#[tokio::test]
async fn a_proxy_before_the_server_that_wants_a_login_is_no_refused_token() {
    let script =
        Script::start(|_| Reply::Whole(401, "text/html", "<h1>Authorization required".into()))
            .await;
    for auth in [
        Auth::Token(SecretSource::Literal("static-token".into())),
        password(SecretSource::Literal("right".into()), None),
    ] {
        let client = script.client_with(|settings| settings.auth = auth);
        let error = client.list(&copy()).await.unwrap_err();
        assert!(matches!(error, Error::Unexpected { status: 401, .. }), "{error}");
        assert!(error.to_string().contains("Authorization required"), "{error}");
        assert_eq!(client.login_memory().refused(), 0);
    }
}

#[tokio::test]
async fn no_secret_shows_anywhere() {
    const SECRETS: [&str; 4] =
        ["hunter-password", "hunter-token", "hunter-jwt", "HUNTERTOTP234567"];
    let hash = hashed(SECRETS[0]);
    let check = |text: String| {
        for secret in SECRETS.iter().copied().chain([hash.as_str()]) {
            assert!(!text.contains(secret), "{text}");
        }
    };
    // A server that says back whatever it is told, in every kind of answer.
    for form in 0..6 {
        let script = Script::start(move |seen| {
            let told = format!("{} {}", seen.token(), seen.body.replace('"', " "));
            match form {
                0 => json(format!(r#"{{"code":400,"message":"{told}"}}"#)),
                1 => Reply::Whole(502, "text/html", format!("<p>{told}")),
                2 => json(told),
                3 => Reply::Raw(
                    format!("HTTP/1.1 302 X\r\nLocation: http://x/{told}\r\n\r\n").into_bytes(),
                ),
                4 if seen.is_login() => json(r#"{"code":200,"data":{"token":"hunter-jwt"}}"#),
                4 => json(format!(r#"{{"code":500,"message":"{told}"}}"#)),
                _ if seen.is_login() => json(r#"{"code":200,"data":["hunter-jwt"]}"#),
                _ => json(format!(r#"{{"code":401,"message":"{told}"}}"#)),
            }
        })
        .await;
        let literal = |text: &str| SecretSource::Literal(SecretString::from(text));
        for auth in [
            Auth::Token(literal(SECRETS[1])),
            password(literal(SECRETS[0]), Some(literal(SECRETS[3]))),
        ] {
            check(format!("{auth:?}"));
            let settings = ClientSettings::new("home".into(), script.url.clone(), auth);
            check(format!("{settings:?}"));
            let client = Client::new(settings).unwrap();
            for _ in 0..2 {
                let error = client.list(&copy()).await.unwrap_err();
                check(format!("{error} {error:?} {client:?}"));
            }
            check(format!("{:?}", client.login_memory()));
            check(serde_json::to_string(&client.login_memory()).unwrap());
        }
    }
    let auth = Auth::Token(SecretSource::Literal("x".into()));
    let url = "http://admin:hunter-password@nas:5244";
    let settings = ClientSettings::new("home".into(), url, auth);
    check(format!("{settings:?}"));
    let error = Client::new(settings).unwrap_err();
    check(format!("{error} {error:?}"));
}

/// Run by the test below in a process of its own, since the variables hold for a whole process.
#[tokio::test]
#[ignore = "needs proxy variables; see `the_proxy_variables_count`"]
async fn through_the_proxy_of_the_environment() {
    for url in ["http://nas.example:5244", "http://direct.invalid:5244"] {
        let auth = Auth::Token(SecretSource::Literal("static-token".into()));
        let client = Client::new(ClientSettings::new("home".into(), url, auth)).unwrap();
        let read = client.list(&copy()).await;
        assert_eq!(read.is_ok(), url.contains("nas.example"), "{read:?}");
    }
}

#[tokio::test]
async fn the_proxy_variables_count() {
    let proxy = Script::start(|_| json(EMPTY_LIST)).await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "--ignored", "upstream::tests::through_the_proxy_of_the_environment"])
        .env("HTTP_PROXY", &proxy.url)
        .env("http_proxy", &proxy.url)
        .env("NO_PROXY", "direct.invalid")
        .env("no_proxy", "direct.invalid");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0].target, "http://nas.example:5244/api/task/copy/undone");
}

#[test]
fn a_ca_file_is_checked_when_the_client_is_set_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let build = || {
        let auth = Auth::Token(SecretSource::Literal("x".into()));
        let mut settings = ClientSettings::new("home".into(), "https://nas.example", auth);
        settings.ca_file = Some(path.clone());
        Client::new(settings)
    };
    for (content, why) in [
        (None, "cannot be read"),
        (Some("hello"), "holds no certificate"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), ""),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = build().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Answers every connection with an empty list over TLS, with a certificate for 127.0.0.1.
fn tls_server(listener: &std::net::TcpListener) -> std::io::Result<()> {
    use std::io::{Read, Write};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain = CertificateDer::pem_slice_iter(include_bytes!("../../tests/fixtures/tls/leaf.pem"))
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../tests/fixtures/tls/leaf.key"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    for socket in listener.incoming() {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket?);
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            request.push(byte[0]);
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{EMPTY_LIST}",
            EMPTY_LIST.len()
        );
        // A client that does not trust the certificate is gone by now.
        let _ = stream.write_all(answer.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
    Ok(())
}

#[tokio::test]
async fn a_given_ca_is_trusted_and_an_unknown_one_is_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || tls_server(&listener));
    let list = async |ca_file: Option<&str>, host: &str| {
        let auth = Auth::Token(SecretSource::Literal("static-token".into()));
        let url = format!("https://{host}:{port}");
        let mut settings = ClientSettings::new("home".into(), url, auth);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        settings.ca_file = ca_file.map(|name| fixtures.join(name));
        Client::new(settings).unwrap().list(&Kind::Copy).await
    };
    list(Some("ca.pem"), "127.0.0.1").await.unwrap();
    for (ca_file, host) in [(None, "127.0.0.1"), (Some("ca.pem"), "localhost")] {
        let error = list(ca_file, host).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    }
}
