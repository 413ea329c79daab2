//! The address that `listen:` names: who is let in, what is answered, and what is not to be had.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may unwrap")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::process::DEADLINE;
use common::{Reserved, Turned, sandbox};
use serde_json::{Value, json};
use taskwarden::ambient::monotonic;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};
use taskwarden::telemetry::feed::Feed;
use taskwarden::telemetry::metrics::Metrics;
use taskwarden::telemetry::status::Board;
use taskwarden::telemetry::{Event, Sink};
use taskwarden::web::api::{DESCRIPTION, ENDPOINTS};
use taskwarden::web::desk::Desk;
use taskwarden::web::{listener, openapi};
use tokio::sync::watch;

const TOKEN: &str = "open sesame, please";
const REFUSED: &str = "dial tcp 192.0.2.7:443: connect: connection refused";

/// One attempt at downloads that are refused, and then it gives up; another waits for ever.
const RULES: &str = "
rules:
  - name: once
    match: { kind: offline_download, state: failed, error: connection refused }
    action: retry_some
    backoff: { initial: 1s, factor: 1, jitter: 0 }
    max_attempts: 1
  - name: patient
    match: { kind: offline_download, state: failed }
    action: retry_some
    backoff: { initial: 10h, factor: 1, jitter: 0, max: 20h }
";

/// A daemon with its listener, on a sandbox server; all in this process, on a clock that stands.
struct Site {
    sandbox: Sandbox,
    turned: Turned,
    port: u16,
    _reserved: Reserved,
    stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
    listening: tokio::task::JoinHandle<()>,
    running: Option<std::thread::JoinHandle<()>>,
    told: Arc<Mutex<Vec<String>>>,
}

/// An answer over a bare socket.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let code = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

impl Site {
    /// `listen` is what stands in `listen:` beside the address.
    async fn open(listen: &str) -> Self {
        let turned = Turned::new();
        let settings = Settings::new(Flavour::OpenList).pool("offline_download", 20, 0);
        let sandbox = sandbox(settings, &turned).await;
        let dir = tempfile::tempdir().unwrap();
        let reserved = Reserved::new();
        let port = reserved.port();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let listen = listen.replace("TOKEN_FILE", &dir.path().join("token").display().to_string());
        let text = format!(
            "version: 1\nlisten: {{ address: '127.0.0.1:{port}'{listen} }}\nservers:\n  - name: home\n    \
             url: {}\n    token: {}\n    poll: 1s\n{RULES}",
            sandbox.url(),
            sandbox.token(),
        );
        let loaded = load(Source::new("test.yaml", &text));
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings));
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let (board, feed, metrics) =
            (Board::default(), Feed::default(), Metrics::new(turned.clock()));
        let lines = Arc::clone(&told);
        let shown = Sink::new(move |event: &Event| lines.lock().unwrap().push(event.to_string()));
        let sink = metrics.beside(&feed.beside(&board.beside(&shown)));
        let options = Options {
            state_dir: dir.path().join("state"),
            dry_run: false,
            clock: turned.clock(),
            sink: sink.clone(),
            seed: 0,
            speed: 20.0,
        };
        let daemon = Daemon::new(config, options).unwrap();
        let stop = daemon.stopper();
        let desk =
            Desk::new((daemon.control(), daemon.store()), board, feed, metrics, turned.clock());
        let runtime = tokio::runtime::Handle::current();
        let running = std::thread::spawn(move || runtime.block_on(daemon.run(None)).unwrap());
        let listening = tokio::spawn(listener::follow(desk, sink));
        let site = Self {
            sandbox,
            turned,
            port,
            _reserved: reserved,
            stop,
            _dir: dir,
            listening,
            running: Some(running),
            told,
        };
        site.until("it listens", |site| TcpStream::connect(("127.0.0.1", site.port)).is_ok()).await;
        site
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = monotonic();
        while !holds(self) {
            let told = || self.told.lock().unwrap().join("\n");
            assert!(began.elapsed() < DEADLINE, "not: {what}\n{}", told());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Adds a download that fails so often with this error.
    fn add(&self, name: &str, failures: usize, error: &str) -> String {
        let moment = Duration::from_millis(100);
        let script = TaskScript::new("offline_download", name.to_owned());
        let script = script.fails(failures, moment, error).succeeds(moment);
        self.sandbox.with_model(|model| model.add(script))
    }

    /// Lets time pass until something holds.
    async fn turn_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        self.until(what, |site| {
            site.turned.turn(Duration::from_millis(500));
            holds(site)
        })
        .await;
    }

    /// One request with these lines in its head.
    fn ask(&self, line: &str, lines: &[&str], body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !lines.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
            write!(head, "Host: 127.0.0.1:{}\r\n", self.port).unwrap();
        }
        for line in lines {
            write!(head, "{line}\r\n").unwrap();
        }
        if !body.is_empty() || line.starts_with("POST") {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        // A server that has heard enough may close before all is sent.
        // What is announced as too much need not be sent to be refused.
        let body = if body.len() > 65_536 { "" } else { body };
        let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::of(&String::from_utf8_lossy(&answer))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], "")
    }

    fn csrf(&self, lines: &[&str]) -> String {
        let session = self.ask("GET /api/v1/session", lines, "");
        session.json()["csrf"].as_str().unwrap().to_owned()
    }

    fn post(&self, path: &str, lines: &[&str], body: &Value) -> Answer {
        let lines: Vec<&str> = lines.iter().copied().chain([JSON]).collect();
        self.ask(&format!("POST {path}"), &lines, &body.to_string())
    }

    /// Logs in; the line with the cookie.
    fn log_in(&self) -> String {
        let form = format!("token={}&csrf={}", TOKEN.replace(' ', "+"), self.login_csrf());
        let answer = self.ask("POST /login", &[FORM], &form);
        assert_eq!((answer.code, answer.header("location")), (303, Some("/")), "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("httponly; samesite=strict"), "{cookie}");
        format!("Cookie: {}", cookie.split(';').next().unwrap())
    }

    /// What the form to log in must come with.
    fn login_csrf(&self) -> String {
        let session = self.get("/api/v1/session").json();
        assert_eq!(session["by"], Value::Null);
        session["csrf"].as_str().unwrap().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.listening.abort();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

const JSON: &str = "Content-Type: application/json";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const WITH_TOKEN: &str = ", token: { file: TOKEN_FILE }";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_come_in() {
    let site = Site::open(WITH_TOKEN).await;
    let (right, wrong) = (bearer(TOKEN), bearer("open sesame"));
    let cookie = site.log_in();
    let mut checked = 0;
    let json = ENDPOINTS.iter().filter(|endpoint| endpoint.media == "application/json");
    for endpoint in json.filter(|endpoint| endpoint.path != "/api/v1/session") {
        let line = format!("{} {}", if endpoint.changes { "POST" } else { "GET" }, endpoint.path);
        let code = |lines: &[&str]| {
            let lines: Vec<&str> = lines.iter().copied().chain([JSON]).collect();
            site.ask(&line, &lines, if endpoint.changes { "{}" } else { "" }).code
        };
        assert_eq!(code(&[]), 401, "{line}");
        assert_eq!(code(&[&wrong]), 401, "{line}");
        assert_eq!(code(&["Cookie: taskwarden-1=abc; other=x"]), 401, "{line}");
        let let_in = |code: u16| ![401, 403, 404, 421, 429].contains(&code) || code == 404;
        assert!(let_in(code(&[&right])), "{line}");
        if endpoint.changes {
            assert_eq!(code(&[&cookie]), 403, "{line}: a cookie alone changes nothing");
            let csrf = format!("X-CSRF-Token: {}", site.csrf(&[&cookie]));
            assert!(let_in(code(&[&cookie, &csrf])), "{line}");
        } else {
            assert!(let_in(code(&[&cookie])), "{line}");
        }
        checked += 1;
    }
    assert_eq!(site.ask("GET /metrics", &["Authorization: Basic b3Blbg=="], "").code, 401);
    assert!(checked >= 14, "{checked}");
    assert_eq!(site.get("/metrics").code, 401);
    assert_eq!(site.ask("GET /metrics", &[&right], "").code, 200);
    assert_eq!(site.get("/healthz").code, 200);
    // People are sent to the form, with where they wanted to go.
    let sent = site.get("/rules?since=2h");
    assert_eq!(
        (sent.code, sent.header("location")),
        (303, Some("/login?next=/rules%3fsince%3d2h"))
    );
    // A log-in that is idle for long is over, and so is one that was ended.
    let csrf = site.csrf(&[&cookie]);
    let out = site.ask("POST /logout", &[&cookie, FORM], &format!("csrf={csrf}"));
    assert_eq!(out.code, 303);
    assert!(out.header("set-cookie").unwrap().contains("max-age=0"), "{out:?}");
    assert_eq!(site.ask("GET /api/v1/overview", &[&cookie], "").code, 401);
    let cookie = site.log_in();
    assert_eq!(site.ask("GET /api/v1/overview", &[&cookie], "").code, 200);
    site.turned.turn(Duration::from_secs(13 * 3600));
    assert_eq!(site.ask("GET /api/v1/overview", &[&cookie], "").code, 401);
    let told = site.told.lock().unwrap().join("\n");
    assert!(!told.contains("sesame"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_to_be_guessed() {
    let mut rounds = 0;
    let (site, late) = loop {
        let site = Site::open(WITH_TOKEN).await;
        let form = |token: &str| format!("token={token}&next=/rules&csrf={}", site.login_csrf());
        let began = monotonic();
        for _ in 0..5 {
            let answer = site.ask("POST /login", &[FORM], &form("guess"));
            assert_eq!(answer.header("location"), Some("/login?next=/rules&failed=1"));
        }
        let late = site.ask("POST /login", &[FORM], &form(&TOKEN.replace(' ', "+")));
        rounds += 1;
        // One more is let in after twelve seconds, which a machine that is held up may need for these.
        if began.elapsed() < Duration::from_secs(12) || rounds == 5 {
            break (site, late);
        }
    };
    assert!(late.header("location").unwrap().contains("&wait="), "{late:?}");
    let mut codes = BTreeSet::new();
    for _ in 0..30 {
        codes.insert(site.ask("GET /api/v1/overview", &[&bearer("guess")], "").code);
    }
    assert_eq!(codes, BTreeSet::from([401, 429]));
    let late = site.ask("GET /api/v1/overview", &[&bearer(TOKEN)], "");
    assert_eq!(late.code, 429, "the right one is not told from a guess either");
    assert!(late.header("retry-after").is_some(), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_web_pages_change_nothing() {
    let site = Site::open("").await;
    let csrf = format!("X-CSRF-Token: {}", site.csrf(&[]));
    let pause = json!({ "rule": "once", "why": "a test" });
    let post = |lines: &[&str]| site.post("/api/v1/rules/pause", lines, &pause).code;
    assert_eq!(post(&[]), 403, "without the second secret");
    assert_eq!(post(&["X-CSRF-Token: guess"]), 403);
    for line in [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:5244",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        assert_eq!(post(&[&csrf, line]), 403, "{line}");
    }
    // A form needs no permission of ours to be sent from elsewhere, so it must not pass for JSON.
    let form =
        |kind: &str, body: &str| site.ask("POST /api/v1/rules/pause", &[kind, &csrf], body).code;
    assert_eq!(form("Content-Type: text/plain", &pause.to_string()), 415);
    assert_eq!(form(FORM, "rule=once"), 415);
    assert_eq!(site.ask("POST /-/reload", &[], "").code, 403);
    for site_line in ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"] {
        assert_eq!(site.ask("GET /api/v1/report", &[site_line], "").code, 403, "{site_line}");
    }
    assert!(!site.get("/api/v1/rules").body.contains("a test"));
    let origin = format!("Origin: http://127.0.0.1:{}", site.port);
    assert_eq!(post(&[&csrf, &origin, "Sec-Fetch-Site: same-origin"]), 200);
    site.until("it is paused", |site| {
        let rules = site.get("/api/v1/rules").json();
        rules["rules"][0]["servers"][0]["paused"]["why"] == "a test"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_here_is_not_ours() {
    let site = Site::open("").await;
    for host in ["evil.example", "127.0.0.1.evil.example:80", "192.0.2.1", ""] {
        let answer = site.ask("GET /api/v1/overview", &[&format!("Host: {host}")], "");
        assert_eq!(answer.code, 421, "{host}");
    }
    assert_eq!(site.ask("GET /api/v1/overview", &["Host: localhost"], "").code, 200);
    let named = Site::open(", hosts: [nas.lan]").await;
    let ask = |host: &str| named.ask("GET /api/v1/overview", &[&format!("Host: {host}")], "").code;
    assert_eq!((ask("nas.lan"), ask("NAS.LAN:443"), ask("evil.example")), (200, 200, 421));
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_shows_and_changes_nothing() {
    let site = Site::open(&format!("{WITH_TOKEN}, read_only: true")).await;
    let cookie = site.log_in();
    let session = site.ask("GET /api/v1/session", &[&cookie], "").json();
    assert_eq!((&session["read_only"], &session["by"]), (&json!(true), &json!("session")));
    let csrf = format!("X-CSRF-Token: {}", session["csrf"].as_str().unwrap());
    let token = bearer(TOKEN);
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.changes) {
        let all = json!({ "all": true, "rule": "once" });
        for lines in [vec![token.as_str()], vec![&cookie, &csrf]] {
            let answer = site.post(endpoint.path, &lines, &all);
            assert_eq!(answer.code, 403, "{}", endpoint.path);
            assert!(answer.body.contains("only shows"), "{answer:?}");
        }
    }
    assert_eq!(site.ask("POST /-/reload", &[&token], "").code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_or_too_slow_is_turned_away() {
    let site = Site::open("").await;
    let csrf = format!("X-CSRF-Token: {}", site.csrf(&[]));
    let large = json!({ "rule": "once", "why": "x".repeat(100_000) });
    assert_eq!(site.post("/api/v1/rules/pause", &[&csrf], &large).code, 413);
    let form = format!("csrf={}", "x".repeat(100_000));
    assert_eq!(site.ask("POST /logout", &[FORM], &form).code, 413);
    let head = format!("X-Much: {}", "x".repeat(40_000));
    assert_eq!(site.ask("GET /api/v1/overview", &[&head], "").code, 431);
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(site.ask("GET /api/v1/overview", &many, "").code, 431);
    // Who opens connections and sends nothing takes the places of one address, and is cut off.
    let mut idle: Vec<TcpStream> =
        (0..80).map(|_| TcpStream::connect(("127.0.0.1", site.port)).unwrap()).collect();
    for stream in &mut idle {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: 127");
    }
    let mut rest = Vec::new();
    for stream in &mut idle {
        // An answer or nothing, but it ends.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it does not end");
        }
    }
    site.until("others are served again", |site| site.get("/healthz").code == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_a_browser_treats_with_care() {
    let site = Site::open("").await;
    for path in ["/api/v1/overview", "/api/v1/nothing", "/nothing", "/healthz", "/api/v1/due?x=1"] {
        let answer = site.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "deny"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(site.get("/api/v1/nothing").code, 404);
    assert!(site.get("/api/v1/nothing").json()["error"].as_str().unwrap().contains("no such path"));
    assert_eq!(site.ask("DELETE /api/v1/overview", &[], "").code, 403);
    let csrf = format!("X-CSRF-Token: {}", site.csrf(&[]));
    assert_eq!(site.ask("DELETE /api/v1/overview", &[&csrf], "").code, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_same_report_gets_the_one_that_was_made() {
    let site = Site::open("").await;
    let made = |query: &str| {
        let answer = site.get(&format!("/api/v1/report{query}"));
        assert_eq!(answer.code, 200, "{answer:?}");
        answer.json()["now"].clone()
    };
    let round = || {
        let began = monotonic();
        let first = made("");
        site.turned.turn(Duration::from_secs(60));
        let (again, other) = (made(""), made("?since=1h"));
        site.turned.turn(Duration::from_secs(60));
        let last = (made(""), made("?since=1h"));
        (began.elapsed(), first, again, other, last)
    };
    let mut rounds = 1;
    let (mut took, mut first, mut again, mut other, mut last) = round();
    // It is kept for five seconds of real time, which a machine that is held up may need for a round.
    while took > Duration::from_secs(4) && rounds < 10 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        (took, first, again, other, last) = round();
        rounds += 1;
    }
    assert_eq!(again, first);
    assert_ne!(other, first);
    assert_eq!(last, (first, other));
    assert_eq!(site.get("/api/v1/report?since=soon").code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_told_what_is_wrong() {
    let site = Site::open("").await;
    for (path, says) in [
        ("/api/v1/due?limt=3", "unknown field `limt`"),
        ("/api/v1/due?limit=many", "limit: invalid digit"),
        ("/api/v1/due?limit=0", "`limit`: 0 is not from 1 to 200"),
        ("/api/v1/actions?since=yesterday", "`since`: `yesterday` is no moment"),
        ("/api/v1/actions?outcome=done", "no outcome is called `done`; there is planned"),
        ("/api/v1/actions?after=x", "`after`: this is no place"),
        ("/api/v1/queue?since=2099-01-01", "is not before"),
        ("/api/v1/queue?points=1", "`points`"),
        ("/api/v1/task", "missing field `id`"),
        ("/api/v1/dead?each=5000", "`each`: 5000 is not from 1 to 1000"),
        ("/api/v1/due?limit=3&limit=4", "duplicate field `limit`"),
    ] {
        let answer = site.get(path);
        assert_eq!(answer.code, 400, "{path}");
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(says), "{path}: {said}");
    }
    assert_eq!(site.get("/api/v1/due?server=&limit=").code, 200, "as a form sends it");
    assert_eq!(site.get("/api/v1/task?id=nobody").code, 404);
    assert_eq!(site.get("/api/v1/queue?server=nobody").code, 404);
    let csrf = format!("X-CSRF-Token: {}", site.csrf(&[]));
    for (path, body, code, says) in [
        ("rules/pause", json!({ "rule": "onec" }), 404, "there is no rule `onec`"),
        ("rules/pause", json!({ "rule": "once", "server": "x" }), 404, "there is no server `x`"),
        ("rules/pause", json!({ "rule": "once", "for": "soon" }), 400, "`for`"),
        ("rules/pause", json!({ "rule": "once", "until": 1 }), 400, "unknown field `until`"),
        ("rules/pause", json!({ "rule": "once", "why": "x".repeat(600) }), 400, "`why`"),
        ("rules/pause", json!([]), 400, "the request is wrong"),
        ("rules/resume", json!({ "rule": "once" }), 404, "no rule `once` is paused"),
        ("dead/redrive", json!({}), 400, "say which"),
        ("dead/redrive", json!({ "all": true, "rate": "much" }), 400, "`rate`"),
        ("dead/drop", json!({}), 400, "say which"),
        ("reload", json!({}), 422, "follows no rules file"),
    ] {
        let answer = site.post(&format!("/api/v1/{path}"), &[&csrf], &body);
        assert_eq!(answer.code, code, "{path} {body}: {answer:?}");
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(says), "{path} {body}: {said}");
    }
}

/// What anybody who uploads a file can have a task be called.
const HOSTILE: &str = "download http://h.example/<script>alert(1)</script>\"'&\u{202e}gpj\u{1b}[31m\u{0}{{7*7}}.mkv to (/d)";

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_tasks_is_told_as_described() {
    let site = Site::open("").await;
    let dead = site.add(HOSTILE, 9, REFUSED);
    let waits = site.add("download http://h.example/slow.iso to (/d)", 9, "too many requests");
    site.turn_until("one is given up and one waits", |site| {
        let overview = site.get("/api/v1/overview").json();
        overview["totals"]["dead"] == 1
            && overview["servers"][0]["waiting"]["backoff"].as_u64() >= Some(1)
    })
    .await;

    let overview = site.get("/api/v1/overview").json();
    assert_eq!(overview["servers"][0]["health"], "well", "{overview}");
    assert_eq!(overview["totals"]["failed"], 2, "{overview}");
    let kinds = overview["kinds"].as_array().unwrap();
    let downloads = kinds.iter().find(|kind| kind["kind"] == "offline_download").unwrap();
    assert_eq!((&downloads["tasks"], &downloads["states"]["failed"]), (&json!(2), &json!(2)));
    let due = site.get("/api/v1/due").json();
    assert_eq!(due["due"][0]["task_id"], waits, "{due}");
    let letters = site.get("/api/v1/dead").json();
    assert_eq!(letters["groups"][0]["letters"][0]["task_id"], dead, "{letters}");
    let task = site.get(&format!("/api/v1/task?id={waits}")).json();
    assert_eq!(task["explained"]["rule"], "patient", "{task}");
    assert_eq!(task["explained"]["verdict"], "waits");
    assert!(task["story"].as_str().unwrap().contains("failed"), "{task}");
    assert_eq!(task["explained"]["next_at"], due["due"][0]["time"], "one evaluator, one answer");
    let task = site.get(&format!("/api/v1/task?id={dead}"));
    assert!(!task.body.contains('\u{1b}') && !task.body.contains('\0'), "escaped in JSON");
    let name = task.json()["name"].as_str().unwrap().to_owned();
    assert!(name.contains("<script>alert(1)</script>") && name.contains('\u{1b}'), "{name:?}");
    assert_eq!(task.header("content-type"), Some("application/json"));

    // All that was answered is as the description says.
    let document = openapi::document(ENDPOINTS);
    for path in [
        "/api/v1/overview",
        "/api/v1/queue?since=1h&points=9",
        "/api/v1/due",
        "/api/v1/actions",
        "/api/v1/rules",
        "/api/v1/dead",
        "/api/v1/breakers",
        "/api/v1/report",
        "/api/v1/session",
        &format!("/api/v1/task?id={dead}"),
        &format!("/api/v1/task?id={waits}"),
    ] {
        let answer = site.get(path);
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        fits(&document, path, "get", &answer.json());
    }

    // And what is asked for is done.
    let csrf = format!("X-CSRF-Token: {}", site.csrf(&[]));
    for (path, body) in [
        (
            "/api/v1/rules/pause",
            json!({ "rule": "patient", "for": "2h", "why": "the drive moves" }),
        ),
        ("/api/v1/rules/resume", json!({ "rule": "patient" })),
        ("/api/v1/dead/redrive", json!({ "rule": "once", "rate": "1/s" })),
    ] {
        let answer = site.post(path, &[&csrf], &body);
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        fits(&document, path, "post", &answer.json());
        assert_eq!(answer.json()["count"], 1, "{path}: {answer:?}");
    }
    site.turn_until("it is given up again", |site| {
        site.get("/api/v1/overview").json()["totals"]["dead"] == 1
            && site.get("/api/v1/actions?action=give_up").json()["rows"].as_array().unwrap().len()
                == 2
    })
    .await;
    let dropped = site.post("/api/v1/dead/drop", &[&csrf], &json!({ "all": true }));
    fits(&document, "/api/v1/dead/drop", "post", &dropped.json());
    assert_eq!(site.get("/api/v1/dead").json()["tasks"], 0);
    let actions = site.get("/api/v1/actions?limit=500").json();
    let told: BTreeSet<&str> = actions["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    for action in ["retry_some", "give_up", "pause", "resume", "redrive", "drop"] {
        assert!(told.contains(action), "{action} is not in {told:?}");
    }
    pages_meet(&site, actions["rows"].as_array().unwrap());
}

/// Holds that page after page gives all rows, each once.
fn pages_meet(site: &Site, all: &[Value]) {
    let (mut rows, mut after) = (Vec::new(), String::new());
    for _ in 0..all.len() {
        let page = site.get(&format!("/api/v1/actions?limit=2&after={after}")).json();
        rows.extend(page["rows"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    let ids =
        |rows: &[Value]| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(&rows), ids(all));
}

/// Holds an answer against the description.
fn fits(document: &Value, path: &str, method: &str, answer: &Value) {
    let path = path.split('?').next().unwrap();
    let schema =
        &document["paths"][path][method]["responses"]["200"]["content"]["application/json"];
    let mut schema = schema["schema"].clone();
    assert!(schema.is_object(), "{path} is not described");
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(answer).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{path}: {}\n{answer:#}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_heard_as_it_happens() {
    let site = Site::open("").await;
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let question = format!("GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", site.port);
    stream.write_all(question.as_bytes()).unwrap();
    let news: Arc<Mutex<String>> = Arc::default();
    let listener = Arc::clone(&news);
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            listener.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    site.until("it is open", |_| news.lock().unwrap().contains("text/event-stream")).await;
    let task = site.add(HOSTILE, 1, REFUSED);
    site.turn_until("the retry is heard of", |_| {
        let heard = news.lock().unwrap();
        let whole = heard.ends_with("\n\n\r\n") && heard.contains("event: server");
        whole && heard.contains("event: action") && heard.contains("\"outcome\":\"accepted\"")
    })
    .await;
    let document = openapi::document(ENDPOINTS);
    let text = news.lock().unwrap().clone();
    let schema = &document["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
        ["schema"];
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut about = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let data: Value = serde_json::from_str(line).unwrap();
        assert!(validator.is_valid(&data), "{data}");
        about += usize::from(data["task_id"] == task);
    }
    assert!(about > 0 && text.contains("event: server"), "{text}");
    // Only so many may listen; and the end of the daemon ends it.
    let listens = || {
        let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (String::from_utf8_lossy(&start[9..]).to_string(), stream)
    };
    let held: Vec<_> = (0..32).map(|_| listens()).collect();
    assert_eq!(held.iter().filter(|(code, _)| code == "200").count(), 31);
    assert_eq!(held.last().unwrap().0, "429");
    let began = monotonic();
    site.stop.send_replace(true);
    reading.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// `docs/openapi.json` is what the program serves; `UPDATE_DOCS=1` writes it.
#[test]
fn the_description_is_the_one_in_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    // A line each, and not indented: it goes into the program as it is.
    let text = format!("{:#}\n", openapi::document(ENDPOINTS));
    let text: String = text.split_inclusive('\n').map(str::trim_start).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run it with UPDATE_DOCS=1");
    let about = include_str!("../docs/api.md");
    for endpoint in ENDPOINTS {
        assert!(about.contains(&format!("`{}`", endpoint.path)), "{} is not there", endpoint.path);
    }
    assert!(about.contains(DESCRIPTION));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served() {
    let site = Site::open("").await;
    let served = site.get(DESCRIPTION).json();
    assert_eq!(served, openapi::document(ENDPOINTS));
    assert_eq!(served["openapi"], "3.1.0");
    // Every reference leads somewhere.
    let text = served.to_string();
    for (at, _) in text.match_indices("\"#/") {
        let reference = text[at + 2..].split('"').next().unwrap();
        assert!(served.pointer(reference).is_some(), "{reference}");
    }
}
