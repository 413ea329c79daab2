//! CONTRACT.md, "Requests" and "Answers", over a real socket.

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
            text = format!("{text}{name}: {value}\r\n");
        }
    }
    let body = ask.body.as_deref().unwrap_or_default();
    text = format!("{text}Content-Length: {}\r\n\r\n{body}", body.len());
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
const DONE: &str = "/api/task/offline_download/done";
const RETRY_SOME: &str = "/api/task/offline_download/retry_some";

/// A sandbox with one failed download, whose next attempt takes a minute.
async fn with_failed(settings: Settings) -> (Sandbox, Hands, String) {
    let (sandbox, hands) = sandbox(settings.pool("offline_download", 5, 0)).await;
    let script = download("a").fails(1, secs(0), "http status code 503").succeeds(secs(60));
    let id = sandbox.with_model(|model| model.add(script));
    hands.turn(secs(1));
    (sandbox, hands, id)
}

#[tokio::test]
async fn what_has_no_route_answers_with_the_page_and_other_methods_with_405() {
    for flavour in BOTH {
        let (sandbox, _) = sandbox(Settings::new(flavour)).await;
        let lacks = if flavour == Flavour::AList { "move" } else { "s3_transition" };
        let lacks = format!("/api/task/{lacks}/done");
        for (method, path) in [
            ("GET", lacks.as_str()),
            ("GET", "/api/task/copy/retry?tid=x"),
            ("GET", "/api/task/copy/doen"),
            ("POST", "/api/task/copy/done"),
            ("GET", "/"),
        ] {
            let got = send(&sandbox, &ask(method, path, sandbox.token())).await;
            assert_eq!(
                (got.status, got.header("content-type")),
                (200, Some("text/html")),
                "{path}"
            );
        }
        for method in ["PUT", "DELETE", "PATCH"] {
            let got = send(&sandbox, &ask(method, DONE, sandbox.token())).await;
            assert_eq!((got.status, got.body.as_str()), (405, ""), "{method}");
        }
        let got = get(&sandbox, "/api/task/copy/done/").await;
        assert_eq!((got.status, got.header("location")), (301, Some("/api/task/copy/done")));
        let got = post(&sandbox, "/api/task/copy/retry/?tid=x", &Value::Null).await;
        assert_eq!((got.status, got.header("location")), (307, Some("/api/task/copy/retry?tid=x")));
    }
}

#[tokio::test]
async fn a_prefix_and_an_older_server() {
    let mut settings = Settings::new(Flavour::AList);
    settings.prefix = "/list".to_owned();
    settings.legacy_only = true;
    let (sandbox, _) = sandbox(settings).await;
    assert!(sandbox.url().ends_with("/list"));
    for (path, page) in [
        ("/list/api/admin/task/copy/done", false),
        ("/list/api/task/copy/done", true),
        ("/api/admin/task/copy/done", true),
    ] {
        let got = get(&sandbox, path).await;
        assert_eq!(got.header("content-type") == Some("text/html"), page, "{path}");
    }
    let got = get(&sandbox, "/list/api/admin/task/copy/done/").await;
    assert_eq!(got.header("location"), Some("/list/api/admin/task/copy/done"));
}

#[tokio::test]
async fn a_batch_counts_only_as_application_json() {
    let cases = [
        (Some("application/json"), None, 200, true),
        (Some("application/json; charset=utf-8"), None, 200, true),
        (Some("text/plain"), None, 200, false),
        (None, None, 200, false),
        (Some("application/json"), Some("null"), 200, false),
        (Some("application/json"), Some("{\"a\":1}"), 400, false),
        (Some("application/json"), Some("[1]"), 400, false),
        (Some("application/json"), Some(""), 400, false),
    ];
    for (content_type, body, code, acted) in cases {
        let (sandbox, _, id) = with_failed(Settings::new(Flavour::OpenList)).await;
        let body = Some(body.map_or_else(|| json!([id]).to_string(), str::to_owned));
        let ask = Ask { content_type, body, ..ask("POST", RETRY_SOME, sandbox.token()) };
        let got = send(&sandbox, &ask).await;
        assert_eq!(got.code(), code, "{:?} {:?}", ask.content_type, ask.body);
        let data = if code == 200 { json!({}) } else { Value::Null };
        assert_eq!(got.json()["data"], data);
        let state = sandbox.with_model(|model| model.state(&id)).unwrap();
        assert_eq!(state == State::Running, acted, "{:?} {:?}", ask.content_type, ask.body);
    }
}

#[tokio::test]
async fn ids_may_be_escaped_in_the_query() {
    let (sandbox, _, id) = with_failed(Settings::new(Flavour::OpenList)).await;
    let escaped = id.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    let path = format!("/api/task/offline_download/info?x=1&tid={escaped}");
    assert_eq!(post(&sandbox, &path, &Value::Null).await.json()["data"]["id"], id);
}

#[tokio::test]
async fn a_login_lasts_until_it_expires_or_the_server_restarts() {
    for flavour in BOTH {
        let mut settings = Settings::new(flavour);
        settings.token_lifetime = secs(3600);
        let (sandbox, hands) = sandbox(settings).await;
        let right = json!({ "username": "admin", "password": "testpass" });
        let got = login(&sandbox, LOGIN, &right).await.json();
        assert_eq!(got["data"]["device_key"].is_string(), flavour == Flavour::AList);
        let token = got["data"]["token"].as_str().unwrap().to_owned();
        assert_eq!(token.split('.').count(), 3, "a JWT");

        assert_eq!(send(&sandbox, &ask("GET", DONE, &token)).await.code(), 200);
        hands.turn(secs(3600));
        let expired = send(&sandbox, &ask("GET", DONE, &token)).await.json();
        assert_eq!(
            (&expired["code"], &expired["message"]),
            (&json!(401), &json!("token is expired"))
        );

        let got = login(&sandbox, LOGIN, &right).await.json();
        let token = got["data"]["token"].as_str().unwrap().to_owned();
        sandbox.restart().await.unwrap();
        let gone = send(&sandbox, &ask("GET", DONE, &token)).await.json();
        assert_eq!(
            (&gone["code"], &gone["message"]),
            (&json!(401), &json!("token is invalidated"))
        );
        assert_eq!(get(&sandbox, DONE).await.code(), 200, "the static token stays");
        assert_eq!(sandbox.with_model(|model| model.report().logins_right), 2);
    }
}

#[tokio::test]
async fn five_wrong_logins_lock_and_the_five_minutes_begin_with_the_first_refusal() {
    for (flavour, wrong_code) in [(Flavour::OpenList, 401), (Flavour::AList, 400)] {
        let (sandbox, hands) = sandbox(Settings::new(flavour)).await;
        let right = json!({ "username": "admin", "password": "testpass" });
        let wrong = json!({ "username": "admin", "password": "x" });
        for _ in 0..4 {
            assert_eq!(login(&sandbox, LOGIN, &wrong).await.code(), wrong_code);
        }
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 200, "a success clears the count");
        for _ in 0..5 {
            assert_eq!(login(&sandbox, LOGIN, &wrong).await.code(), wrong_code);
        }
        hands.turn(secs(86_400));
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 429, "time alone clears nothing");
        hands.turn(secs(299));
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 429, "and begins anew");
        hands.turn(secs(299));
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 429);
        hands.turn(secs(300));
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 200);
        let report = sandbox.with_model(|model| model.report());
        assert_eq!((report.logins_right, report.logins_wrong, report.logins_locked), (2, 9, 3));

        for _ in 0..5 {
            login(&sandbox, LOGIN, &wrong).await;
        }
        sandbox.restart().await.unwrap();
        assert_eq!(login(&sandbox, LOGIN, &right).await.code(), 200, "a restart clears it");
    }
}

#[tokio::test]
async fn one_time_codes_and_hashed_passwords() {
    let mut settings = Settings::new(Flavour::OpenList);
    let codes = Otp::Codes(vec!["123456".to_owned()]);
    settings.users.push(User { otp: Some(codes), ..User::new("two", "pw", Role::Admin) });
    let check = Otp::Check(Arc::new(|code: &str| code == "654321"));
    settings.users.push(User { otp: Some(check), ..User::new("six", "pw", Role::Admin) });
    let (sandbox, _) = sandbox(settings).await;
    // printf %s 'pw-https://github.com/alist-org/alist' | sha256sum
    let hash = "d92ead7d66488621952c3a34beb695c0512218f4867d1c7830222ac3522db79f";
    for (path, user, password, otp, code) in [
        (LOGIN, "two", "pw", None, 402),
        (LOGIN, "two", "pw", Some("000000"), 402),
        (LOGIN, "two", "pw", Some("123456"), 200),
        (LOGIN, "six", "pw", Some("654321"), 200),
        ("/api/auth/login/hash", "six", hash, Some("654321"), 200),
        ("/api/auth/login/hash", "six", "pw", Some("654321"), 401),
    ] {
        let mut body = json!({ "username": user, "password": password });
        if let Some(otp) = otp {
            body["otp_code"] = json!(otp);
        }
        assert_eq!(login(&sandbox, path, &body).await.code(), code, "{user} {otp:?}");
    }
}

#[tokio::test]
async fn rights_by_role() {
    let mut settings = Settings::new(Flavour::AList);
    settings.users.push(User::new("bob", "pw", Role::General));
    settings.users.push(User::new("guest", "pw", Role::Guest));
    let (sandbox, _, others) = with_failed(settings).await;
    let own = sandbox.with_model(|model| {
        model.add_finished(download("b").by("bob"), State::Failed, "x");
        model.add_finished(download("c").by("bob"), State::Succeeded, "")
    });
    let mut tokens = Vec::new();
    for user in ["bob", "guest"] {
        let got = login(&sandbox, LOGIN, &json!({ "username": user, "password": "pw" })).await;
        tokens.push(got.json()["data"]["token"].as_str().unwrap().to_owned());
    }
    let seen = send(&sandbox, &ask("GET", DONE, &tokens[0])).await.json();
    assert_eq!(seen["data"].as_array().unwrap().len(), 2);
    assert_eq!(seen["data"][0]["creator_role"], json!([3]));
    for (id, code) in [(&own, 200), (&others, 404)] {
        let path = format!("/api/task/offline_download/delete?tid={id}");
        assert_eq!(send(&sandbox, &ask("POST", &path, &tokens[0])).await.code(), code);
    }
    let legacy = "/api/admin/task/offline_download/done";
    assert_eq!(send(&sandbox, &ask("GET", legacy, &tokens[0])).await.code(), 403);
    assert_eq!(send(&sandbox, &ask("GET", DONE, &tokens[1])).await.code(), 401);
}

#[tokio::test]
async fn the_forms_of_the_published_page_and_of_other_clocks() {
    let mut settings = Settings::new(Flavour::OpenList);
    settings.info_as_array = true;
    settings.string_states = true;
    settings.zero_times = true;
    settings.utc_offset = jiff::tz::offset(8);
    settings.clock_offset = jiff::SignedDuration::from_mins(-10);
    let (sandbox, _, id) = with_failed(settings).await;
    let unknown = sandbox.with_model(|model| {
        let view = model.view(&id).unwrap();
        let view = TaskView { id: "u".repeat(21), shown_as: Some(42), started: None, ..view };
        model.place(download("a").by(""), &view);
        view.id
    });
    let got =
        post(&sandbox, &format!("/api/task/offline_download/info?tid={id}"), &Value::Null).await;
    assert_eq!(got.header("date"), Some("Mon, 23 Nov 2026 19:22:45 GMT"));
    let task = &got.json()["data"][0];
    assert_eq!(task["state"], "failed");
    assert_eq!(task["start_time"], "2026-11-24T03:22:44.108910316+08:00");
    let path = format!("/api/task/offline_download/info?tid={unknown}");
    let got = post(&sandbox, &path, &Value::Null).await.json();
    let task = &got["data"][0];
    assert_eq!((&task["state"], &task["creator_role"]), (&json!(42), &json!(-1)));
    assert_eq!(task["start_time"], "0001-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_server_that_is_away_refuses_and_comes_back_on_its_port() {
    let (sandbox, hands, id) = with_failed(Settings::new(Flavour::OpenList)).await;
    let url = sandbox.url();
    sandbox.with_model(|model| model.retry(&id));
    sandbox.go_away().await;
    let refused = raw(&sandbox, &ask("GET", DONE, "x")).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    hands.turn(secs(60));
    sandbox.come_back().await.unwrap();
    assert_eq!(sandbox.url(), url);
    assert_eq!(get(&sandbox, DONE).await.json()["data"][0]["state"], 2, "the work went on");
}

#[tokio::test]
async fn going_away_resets_idle_connections_and_hanging_calls() {
    let (sandbox, _, _) = with_failed(Settings::new(Flavour::OpenList)).await;
    let host = sandbox.url().replace("http://", "");
    let mut idle = TcpStream::connect(&host).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 16];
    idle.read_exact(&mut some).await.unwrap();
    sandbox.with_model(|model| {
        model.faults().next_call(Endpoint::Done, Fault::Hang(None), Phase::After);
    });
    let mut hanging = TcpStream::connect(&host).await.unwrap();
    let request =
        format!("GET {DONE} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n", sandbox.token());
    hanging.write_all(request.as_bytes()).await.unwrap();
    while sandbox.with_model(|model| model.report().calls.is_empty()) {
        tokio::task::yield_now().await;
    }
    sandbox.go_away().await;
    for mut stream in [idle, hanging] {
        let mut rest = Vec::new();
        let error = stream.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn faults_before_and_after_the_operation() {
    let briefly = Duration::from_millis(5);
    let faults = [
        Fault::Http5xx(503, "busy".to_owned()),
        Fault::Http502Page,
        Fault::Reset,
        Fault::Truncate,
        Fault::Code401,
        Fault::Code403,
        Fault::Hang(Some(briefly)),
        Fault::Slow(briefly),
        Fault::WrongHtml,
        Fault::EmptyBody,
        Fault::GarbageJson,
    ];
    for fault in faults {
        for phase in [Phase::Before, Phase::After] {
            let (sandbox, _, id) = with_failed(Settings::new(Flavour::OpenList)).await;
            let what = fault.clone();
            sandbox.with_model(|model| model.faults().next_call(Endpoint::RetrySome, what, phase));
            let ask = Ask {
                content_type: Some("application/json"),
                body: Some(json!([id]).to_string()),
                ..ask("POST", RETRY_SOME, sandbox.token())
            };
            let answer = raw(&sandbox, &ask).await;
            let acted = match fault {
                Fault::Truncate | Fault::Slow(_) => true,
                Fault::Code401 | Fault::Code403 => false,
                _ => phase == Phase::After,
            };
            let said = format!("{fault:?} {phase:?}: {answer:?}");
            let state = sandbox.with_model(|model| model.state(&id)).unwrap();
            assert_eq!(state == State::Running, acted, "{said}");
            match fault {
                Fault::Reset | Fault::Hang(_) => {
                    let kind = answer.unwrap_err().kind();
                    assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{said}");
                }
                Fault::Truncate => {
                    let answer = answer.unwrap();
                    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                    assert!(head.contains("content-length: 42"), "{said}");
                    assert_eq!(body, "{\"code\":200,\"message\"", "{said}");
                }
                Fault::Http5xx(..) => {
                    assert!(answer.unwrap().starts_with("HTTP/1.1 503"), "{said}");
                }
                Fault::Http502Page => {
                    assert!(answer.unwrap().starts_with("HTTP/1.1 502"), "{said}");
                }
                Fault::Code401 => assert!(answer.unwrap().contains("\"code\":401"), "{said}"),
                Fault::Code403 => assert!(answer.unwrap().contains("\"code\":403"), "{said}"),
                Fault::WrongHtml => assert!(answer.unwrap().ends_with("</html>\n"), "{said}"),
                Fault::EmptyBody => assert!(answer.unwrap().ends_with("\r\n\r\n"), "{said}"),
                Fault::GarbageJson => assert!(answer.unwrap().ends_with("succ\u{fffd}"), "{said}"),
                Fault::Slow(_) => assert!(answer.unwrap().ends_with("\"data\":{}}"), "{said}"),
            }
            let calls = sandbox.with_model(|model| model.report().calls);
            assert_eq!(calls.len(), 1);
            assert_eq!(calls[0].applied, acted, "{said}");
            assert_eq!(calls[0].ids, [id], "{said}");
            assert_eq!(calls[0].fault.as_ref().map(|(fault, _)| fault), Some(&fault));
        }
    }
}

#[tokio::test]
async fn a_fault_plan_breaks_its_share_and_can_be_switched_off() {
    let (sandbox, _, _) = with_failed(Settings::new(Flavour::OpenList)).await;
    sandbox.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 0.5,
            faults: vec![Fault::Http502Page, Fault::EmptyBody],
            only: Some(Arc::new(|line| line.endpoint == Some(Endpoint::Done))),
            phase: None,
            seed: 3,
        });
    });
    let mut broken = 0;
    for _ in 0..100 {
        broken += u32::from(get(&sandbox, DONE).await.body.is_empty());
        let undone = "/api/task/offline_download/undone";
        assert_eq!(get(&sandbox, undone).await.code(), 200);
    }
    assert!((15..35).contains(&broken), "{broken}");
    sandbox.with_model(|model| model.faults().off());
    for _ in 0..50 {
        assert_eq!(get(&sandbox, DONE).await.code(), 200);
    }
}
