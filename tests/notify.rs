//! Messages to people: the forms of the services, held by servers that speak as they do, and what the
//! daemon tells when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]
#![allow(clippy::format_collect, reason = "a test has time")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use common::process::{Home, real_time, servers};
use common::{Told, Turned, audit, config, sandbox};
use jiff::SignedDuration;
use serde_json::{Value, json};
use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::daemon::telling;
use taskwarden::engine::audit::Outcome;
use taskwarden::engine::message::Message;
use taskwarden::notify::{Courier, NotSent};
use taskwarden::rules::{Config, Source, load};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};
use taskwarden::store::Reader;

/// A request as the service got it.
#[derive(Clone, Debug)]
struct Got {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A service on this machine that answers as it is told to.
#[derive(Clone, Debug)]
struct Service {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<(u16, String, Option<String>)>>,
}

impl Service {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            got: Arc::default(),
            answer: Arc::new(Mutex::new((200, "{}".to_owned(), None))),
        };
        let own = service.clone();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let headers = headers.iter().map(|(name, value)| {
                (name.to_string(), value.to_str().unwrap_or_default().to_owned())
            });
            own.got.lock().unwrap().push(Got {
                method: method.to_string(),
                path: uri.to_string(),
                headers: headers.collect(),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
            let (status, body, wait) = own.answer.lock().unwrap().clone();
            let mut headers = HeaderMap::new();
            if let Some(wait) = wait {
                headers.insert("retry-after", wait.parse().unwrap());
            }
            std::future::ready((StatusCode::from_u16(status).unwrap(), headers, body))
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
        });
        service
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned(), None);
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

fn rules(target: &str) -> Config {
    let text = format!(
        "version: 1\nservers: [{{ name: home, url: 'http://home', token: t }}]\nnotify:\n  - {{ name: x, {target} }}\nrules: []\n"
    );
    let loaded = load(Source::new("rules.yaml", &text));
    let Some(config) = loaded.config else {
        panic!("{}", taskwarden::cli::findings::human(&loaded, false))
    };
    config
}

fn message() -> Message {
    Message {
        title: "home: `retry` gave up (2 times)".to_owned(),
        text: "- 电影 <b>&\n- b".to_owned(),
        bad: true,
    }
}

async fn send(target: &str) -> Result<String, NotSent> {
    let config = rules(target);
    let address = telling::address(&config.notify[0]).unwrap();
    Courier::new().unwrap().send(&address, &message()).await
}

/// How a mail server on this machine is spoken with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speaks {
    Clear,
    Tls,
    StartTls,
    /// It offers no encryption to those who want to begin in clear.
    NoStartTls,
}

/// A mail server on this machine that takes everything but what is for `nobody`, with the log-in `me`
/// and `s3cret pass`.
struct MailServer {
    port: u16,
    /// What each connection said, line by line.
    heard: Arc<Mutex<Vec<Vec<String>>>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl MailServer {
    fn start(speaks: Speaks) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                let mut lines = Vec::new();
                // A conversation that is broken off is one too.
                let _ = match speaks {
                    Speaks::Tls => Self::speak(&mut encrypted(socket), &[AUTH], true, &mut lines),
                    Speaks::StartTls => {
                        let mut socket = socket;
                        let begun = Self::speak(&mut socket, &["STARTTLS"], true, &mut lines);
                        match begun {
                            Ok(true) => {
                                Self::speak(&mut encrypted(socket), &[AUTH], false, &mut lines)
                            }
                            other => other,
                        }
                    }
                    Speaks::Clear | Speaks::NoStartTls => {
                        let mut socket = socket;
                        Self::speak(&mut socket, &[AUTH], true, &mut lines)
                    }
                };
                all.lock().unwrap().push(lines);
            }
        });
        Self { port, heard }
    }

    /// One conversation; true when it is to go on encrypted.
    fn speak(
        stream: &mut dyn Stream,
        offers: &[&str],
        greets: bool,
        lines: &mut Vec<String>,
    ) -> std::io::Result<bool> {
        let mut data = false;
        if greets {
            stream.write_all(b"220 mail.example\r\n")?;
        }
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte)? == 0 {
                    return Ok(false);
                }
                line.push(byte[0]);
            }
            let line = String::from_utf8(line).unwrap().trim_end().to_owned();
            lines.push(line.clone());
            let answer = match line.split_whitespace().next().unwrap_or_default() {
                "." if data => {
                    data = false;
                    "250 2.0.0 queued as 42".to_owned()
                }
                _ if data => continue,
                "EHLO" => {
                    let offers: String =
                        offers.iter().map(|offer| format!("-{offer}\r\n250")).collect();
                    format!("250-mail.example\r\n250{offers} SMTPUTF8")
                }
                "STARTTLS" => {
                    stream.write_all(b"220 go on\r\n")?;
                    return Ok(true);
                }
                "AUTH" if line == format!("AUTH PLAIN {LOG_IN}") => "235 welcome".to_owned(),
                // Some repeat what they got.
                "AUTH" => "535 5.7.8 s3cret pass is wrong".to_owned(),
                "RCPT" if line.contains("nobody@") => "550 5.1.1 no such user".to_owned(),
                "DATA" => {
                    data = true;
                    "354 end with a dot".to_owned()
                }
                "QUIT" => "221 bye".to_owned(),
                _ => "250 fine".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What was said in the conversation of this number, from 0, once it is over: here that is known
    /// later than with the one who spoke.
    async fn heard(&self, conversation: usize) -> Vec<String> {
        let mut turns = 0;
        loop {
            if let Some(lines) = self.heard.lock().unwrap().get(conversation) {
                return lines.clone();
            }
            turns += 1;
            assert!(turns < 6000, "nobody came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

const AUTH: &str = "AUTH PLAIN LOGIN";
/// `me` and `s3cret pass`, as the protocol writes them.
const LOG_IN: &str = "AG1lAHMzY3JldCBwYXNz";

fn encrypted(
    socket: std::net::TcpStream,
) -> rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain = CertificateDer::pem_slice_iter(include_bytes!("fixtures/tls/leaf.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/tls/leaf.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    rustls::StreamOwned::new(session, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_handed_to_a_server() {
    let server = MailServer::start(Speaks::Clear);
    let said = send(&format!(
        "service: email, url: '{}', from: daemon@example.org, to: [me@example.org, 'Wir <wir@example.org>'], \
         username: me, password: s3cret pass",
        server.url("smtp")
    ))
    .await
    .unwrap();
    assert!(said.starts_with("250") && said.contains("queued as 42"), "{said}");
    let heard = server.heard(0).await;
    let said = |line: &str| heard.iter().any(|heard| heard == line);
    for line in [
        "MAIL FROM:<daemon@example.org>",
        "RCPT TO:<me@example.org>",
        "RCPT TO:<wir@example.org>",
        "From: taskwarden <daemon@example.org>",
        "To: me@example.org, Wir <wir@example.org>",
        "Auto-Submitted: auto-generated",
        "Content-Type: text/plain; charset=utf-8",
        "Subject: home: `retry` gave up (2 times)",
    ] {
        assert!(said(line), "{line}: {heard:#?}");
    }
    assert!(heard.iter().any(|line| line.starts_with("Message-ID: <")), "{heard:#?}");
    assert!(heard.iter().any(|line| line.starts_with("Date: ")), "{heard:#?}");
    // The text as it was, in whatever form it travels.
    let body = heard.iter().skip_while(|line| !line.is_empty()).skip(1);
    let body: Vec<&str> = body.take_while(|line| *line != ".").map(String::as_str).collect();
    assert!(
        body.join("\n").contains("=E7=94=B5=E5=BD=B1 <b>&")
            || body.join("").contains("LSDnlLXlvbEg"),
        "{heard:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_refused_says_why_without_the_password() {
    let whole = |server: &MailServer, scheme: &str, to: &str, password: &str| {
        format!(
            "service: email, url: '{}', from: daemon@example.org, to: {to}, username: me, password: {password}",
            server.url(scheme)
        )
    };
    let server = MailServer::start(Speaks::Clear);
    let refused =
        send(&whole(&server, "smtp", "nobody@example.org", "s3cret pass")).await.unwrap_err();
    assert!(refused.why.contains("no such user"), "{refused}");
    let server = MailServer::start(Speaks::Clear);
    let refused =
        send(&whole(&server, "smtp", "me@example.org", "s3cret passé")).await.unwrap_err();
    assert!(refused.why.contains("535") || refused.why.contains("wrong"), "{refused}");
    let server = MailServer::start(Speaks::Clear);
    let refused = send(&whole(&server, "smtp", "me@example.org", "s3cret pass ")).await;
    assert!(refused.is_ok(), "blanks around a word are YAML's");

    // This one repeats the password that it was told.
    let server = MailServer::start(Speaks::Clear);
    let other = whole(&server, "smtp", "me@example.org", "s3cret pass").replace(": me,", ": you,");
    let refused = send(&other).await.unwrap_err();
    assert!(refused.why.contains("*** is wrong") && !refused.why.contains("s3cret"), "{refused}");

    // Not encrypted where it is asked for: nothing is told, the log-in least of all.
    let server = MailServer::start(Speaks::NoStartTls);
    send(&whole(&server, "starttls", "me@example.org", "s3cret pass")).await.unwrap_err();
    let heard = server.heard(0).await;
    assert!(heard.iter().any(|line| line.starts_with("EHLO")), "{heard:?}");
    assert!(heard.iter().all(|line| !line.contains("AUTH") && !line.contains("MAIL")), "{heard:?}");
    // A certificate that nobody vouches for.
    for (speaks, scheme) in [(Speaks::Tls, "smtps"), (Speaks::StartTls, "starttls")] {
        let server = MailServer::start(speaks);
        let refused =
            send(&whole(&server, scheme, "me@example.org", "s3cret pass")).await.unwrap_err();
        assert!(refused.why.contains("certificate"), "{refused}");
    }
    let refused =
        send("service: email, url: 'smtps://127.0.0.1:1', from: a@b.example, to: c@d.example")
            .await;
    assert!(refused.unwrap_err().why.contains("refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_encrypted_with_a_password_that_may_change() {
    for (speaks, scheme) in [(Speaks::Tls, "smtps"), (Speaks::StartTls, "starttls")] {
        let server = MailServer::start(speaks);
        let home = Home::new();
        std::fs::write(home.file("password"), "wrong\n").unwrap();
        home.write_rules(&format!(
            "version: 1\nservers: [{{ name: home, url: 'http://home', token: {{ env: T }} }}]\nnotify:\n  \
             - {{ name: mail, service: email, url: '{}', from: daemon@example.org, to: me@example.org, \
             username: me, password: {{ file: {} }} }}\nrules: []\n",
            server.url(scheme),
            home.file("password").display()
        ));
        let test = || {
            let mut command = home.taskwarden(&["notify", "test", "mail"]);
            let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
            command.env("SSL_CERT_FILE", fixtures.join("ca.pem"));
            let ran = command.output().unwrap();
            let text = [ran.stdout, ran.stderr].concat();
            (ran.status.code().unwrap(), String::from_utf8(text).unwrap())
        };
        let (code, said) = test();
        assert_eq!(code, 3, "{said}");
        // What the server repeats is taken out only where it is the password that was used.
        assert!(said.contains("535"), "{said}");
        std::fs::write(home.file("password"), "s3cret pass\n").unwrap();
        let (code, said) = test();
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("queued as 42"), "{said}");
        let lines = server.heard(1).await;
        assert!(lines.iter().any(|line| line == "RCPT TO:<me@example.org>"), "{lines:?}");
        let first = server.heard(0).await;
        assert!(first.iter().all(|line| !line.contains("RCPT TO")), "{first:?}");
    }
}

/// Sends a message to a service that answers so, and gives back what it got.
async fn sent(target: impl Fn(&str) -> String, answer: &str) -> Got {
    let service = Service::start().await;
    service.answers(200, answer);
    send(&target(&service.url)).await.unwrap();
    let got = service.got();
    assert_eq!(got.len(), 1);
    got[0].clone()
}

#[tokio::test]
async fn ntfy_takes_json_at_its_root() {
    let got = sent(
        |url| format!("service: ntfy, url: '{url}/my-topic', token: tk_1"),
        r#"{"id":"a","event":"message"}"#,
    )
    .await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/"));
    assert_eq!(got.headers["authorization"], "Bearer tk_1");
    assert_eq!(
        got.json(),
        json!({
            "topic": "my-topic", "title": message().title, "message": message().text,
            "priority": 4, "tags": ["warning"],
        })
    );
}

#[tokio::test]
async fn gotify_takes_the_key_of_an_application() {
    let target = |url: &str| format!("service: gotify, url: '{url}/base/', token: A1");
    let got = sent(target, r#"{"id":1}"#).await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/base/message"));
    assert_eq!(got.headers["x-gotify-key"], "A1");
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "message": message().text, "priority": 7 })
    );
}

#[tokio::test]
async fn bark_takes_the_device_in_the_path() {
    let target = |url: &str| format!("service: bark, url: '{url}/devicekey'");
    let got = sent(target, r#"{"code":200,"message":"success"}"#).await;
    assert_eq!(got.path, "/devicekey");
    let body = got.json();
    assert_eq!(body["title"], message().title);
    assert_eq!(body["body"], message().text);
    assert_eq!(body["level"], "timeSensitive");
}

#[tokio::test]
async fn serverchan_takes_markdown() {
    let target = |url: &str| format!("service: serverchan, url: '{url}', token: SCT1KEY");
    let got = sent(target, r#"{"code":0,"message":"","data":{}}"#).await;
    assert_eq!(got.path, "/SCT1KEY.send");
    assert_eq!(got.json()["desp"], "- 电影 <b>&\n\n- b");
    assert!(got.json()["title"].as_str().unwrap().chars().count() <= 32);
}

#[tokio::test]
async fn telegram_takes_a_chat_and_plain_text() {
    let target =
        |url: &str| format!("service: telegram, url: '{url}', token: '12:ab', to: '-100123'");
    let got = sent(target, r#"{"ok":true,"result":{}}"#).await;
    assert_eq!(got.path, "/bot12:ab/sendMessage");
    let body = got.json();
    assert_eq!(body["chat_id"], "-100123");
    assert_eq!(body["text"], format!("{}\n{}", message().title, message().text));
    assert!(body.get("parse_mode").is_none(), "names of tasks are no markup");
    assert_eq!(body["disable_notification"], false);
}

#[tokio::test]
async fn discord_pings_nobody() {
    let service = Service::start().await;
    service.answers(204, "");
    send(&format!("service: discord, url: '{}/api/webhooks/1/secretpart'", service.url))
        .await
        .unwrap();
    let got = &service.got()[0];
    assert_eq!(got.path, "/api/webhooks/1/secretpart");
    assert_eq!(got.json()["allowed_mentions"], json!({ "parse": [] }));
}

#[tokio::test]
async fn slack_gets_no_markup_out_of_names() {
    let got = sent(|url| format!("service: slack, url: '{url}/services/T/B/x'"), "ok").await;
    let text = got.json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("电影 &lt;b&gt;&amp;"), "{text}");
}

#[tokio::test]
async fn apprise_takes_a_sort() {
    let got = sent(|url| format!("service: apprise, url: '{url}/notify/key'"), "{}").await;
    assert_eq!(got.path, "/notify/key");
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "body": message().text, "type": "warning", "format": "text" })
    );
}

#[tokio::test]
async fn a_webhook_takes_what_its_template_says() {
    let target = |url: &str| {
        format!(
            "service: webhook, url: '{url}/x?a=b', method: PUT, headers: {{ X-Key: k1 }}, \
             body: '{{\"msg\": {{{{ text | tojson }}}}, \"up\": {{% if bad %}}false{{% else %}}true{{% endif %}}}}'"
        )
    };
    let got = sent(target, "").await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("PUT", "/x?a=b"));
    assert_eq!(got.headers["x-key"], "k1");
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.json(), json!({ "msg": message().text, "up": false }));
    let got = sent(|url| format!("service: webhook, url: '{url}/'"), "").await;
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "text": message().text, "bad": true })
    );
}

#[tokio::test]
async fn each_service_refuses_in_its_own_way_and_no_key_is_told() {
    for (target, status, answer, why) in [
        (
            "service: ntfy, url: 'URL/secret-topic'",
            403,
            r#"{"code":40301,"error":"forbidden"}"#,
            "403: forbidden",
        ),
        (
            "service: gotify, url: 'URL', token: secret-key",
            401,
            r#"{"error":"Unauthorized","errorDescription":"you need a valid token: secret-key"}"#,
            "401: Unauthorized",
        ),
        (
            "service: bark, url: 'URL/secret-key'",
            200,
            r#"{"code":400,"message":"no device secret-key"}"#,
            "200: no device ***",
        ),
        (
            "service: serverchan, url: 'URL', token: secret-key",
            200,
            r#"{"code":40001,"message":"bad pushtoken"}"#,
            "200: bad pushtoken",
        ),
        (
            "service: telegram, url: 'URL', token: 'secret-key', to: '1'",
            200,
            r#"{"ok":false,"description":"chat not found"}"#,
            "200: chat not found",
        ),
        (
            "service: discord, url: 'URL/secret-key'",
            404,
            r#"{"message":"Unknown Webhook","code":10015}"#,
            "404: Unknown Webhook",
        ),
        ("service: slack, url: 'URL/secret-key'", 404, "no_service", "404: no_service"),
        (
            "service: apprise, url: 'URL/notify/secret-key'",
            424,
            r#"{"error":"one or more failed"}"#,
            "424: one or more failed",
        ),
        (
            "service: webhook, url: 'URL/secret-key'",
            502,
            "<html>secret-key</html>",
            "the service answered 502",
        ),
        ("service: webhook, url: 'URL/secret-key'", 302, "", "the service answered 302"),
    ] {
        let service = Service::start().await;
        service.answers(status, answer);
        let error = send(&target.replace("URL", &service.url)).await.unwrap_err();
        assert!(error.why.ends_with(why), "{target}: {error}");
        assert!(!error.why.contains("secret"), "{target}: {error}");
    }
    // Nor when nobody is there.
    let error = send("service: slack, url: 'http://127.0.0.1:9/secret-key'").await.unwrap_err();
    assert!(!error.why.contains("secret") && !error.why.is_empty(), "{error}");
}

#[tokio::test]
async fn a_service_says_how_long_it_wants_to_be_left_alone() {
    let service = Service::start().await;
    *service.answer.lock().unwrap() = (429, "{}".to_owned(), Some("17".to_owned()));
    let target = format!("service: discord, url: '{}/x'", service.url);
    assert_eq!(send(&target).await.unwrap_err().wait, Some(Duration::from_secs(17)));
    service.answers(429, r#"{"ok":false,"parameters":{"retry_after":35}}"#);
    let target = format!("service: telegram, url: '{}', token: t, to: '1'", service.url);
    assert_eq!(send(&target).await.unwrap_err().wait, Some(Duration::from_secs(35)));
}

#[test]
fn every_service_and_event_has_its_example_in_the_documentation() {
    let page = include_str!("../docs/notifications.md");
    let mut services = std::collections::BTreeSet::new();
    for example in page.split("```yaml\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let text = format!(
            "version: 1\nservers: [{{ name: home, url: 'http://home', token: t }}]\nrules:\n  - {{ name: r, match: {{ kind: copy }}, action: notify }}\n{example}"
        );
        let loaded = load(Source::new("rules.yaml", &text));
        assert!(loaded.findings.is_empty(), "{}", taskwarden::cli::findings::human(&loaded, false));
        services.extend(loaded.config.unwrap().notify.iter().map(|target| target.service.as_str()));
    }
    for service in taskwarden::engine::message::Service::ALL {
        assert!(services.contains(service.as_str()), "{}", service.as_str());
    }
    for topic in taskwarden::engine::message::Topic::ALL {
        assert!(page.contains(&format!("| `{}` |", topic.as_str())), "{}", topic.as_str());
    }
}

/// The daemon at work, in a process of its own time.
struct Running {
    stop: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    told: Told,
}

impl Running {
    fn start(config: Config, dir: &Path, turned: &Turned) -> Self {
        Self::at_speed(100.0, config, dir, turned)
    }

    fn at_speed(speed: f64, config: Config, dir: &Path, turned: &Turned) -> Self {
        let told = Told::default();
        let clock: Clock = turned.clock();
        let options = Options {
            state_dir: dir.to_owned(),
            dry_run: false,
            clock,
            sink: told.sink(),
            seed: 0,
            speed,
        };
        let daemon = Daemon::new(config, options).unwrap();
        let stop = daemon.stopper();
        let task = tokio::task::spawn_local(async move { daemon.run(None).await.unwrap() });
        Self { stop, task, told }
    }

    async fn stop(self) -> Told {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.told
    }
}

/// Turns the clock until something holds.
async fn until(turned: &Turned, what: &str, holds: impl FnMut() -> bool) {
    until_by(Duration::from_secs(2), turned, what, holds).await;
}

async fn until_by(step: Duration, turned: &Turned, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        turned.turn(step);
    }
    panic!("never: {what}");
}

async fn failing(turned: &Turned, count: usize) -> Sandbox {
    let settings = Settings::new(Flavour::OpenList).pool("offline_download", count, 0);
    let sandbox = sandbox(settings, turned).await;
    sandbox.with_model(|model| {
        for n in 0..count {
            let name = format!("download http://x.example/{n}.bin to (/d)");
            model.add(TaskScript::new("offline_download", name).fails(
                99,
                Duration::from_secs(1),
                "EOF",
            ));
        }
    });
    sandbox
}

const TELL: &str = r"
rules:
  - name: tell
    match: { state: failed }
    action: notify
";

#[tokio::test]
async fn a_thousand_failures_are_one_message_and_a_dead_target_holds_nothing_up() {
    tokio::task::LocalSet::new().run_until(storm()).await;
}

async fn storm() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 1000).await;
    turned.turn(Duration::from_secs(5));
    let service = Service::start().await;
    let state = tempfile::tempdir().unwrap();
    let notify = format!(
        "notify:\n  - {{ name: dead, service: slack, url: 'http://127.0.0.1:9/x' }}\n  - {{ name: hook, service: webhook, url: '{}/' }}\n",
        service.url
    );
    let config = config(&sandbox, "", &format!("{notify}{TELL}"));
    let running = Running::start(config, state.path(), &turned);
    until(&turned, "a message", || !service.got().is_empty()).await;
    // Time for more, if there were more to tell.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        turned.turn(Duration::from_secs(10));
    }
    let told = running.told.clone();
    let both =
        || ["told hook", "dead cannot be told"].iter().all(|what| told.text().contains(what));
    until(&turned, "both are told of", both).await;
    running.stop().await;
    let got = service.got();
    assert_eq!(got.len(), 1, "{got:#?}");
    assert_eq!(got[0].json()["title"], "home: `tell` (1000 times)");
    let text = told.text();
    assert_eq!(text.matches("dead cannot be told").count(), 1, "{text}");
    assert!(text.contains("told hook"), "{text}");
}

#[tokio::test]
async fn what_could_not_be_told_is_told_after_a_restart() {
    tokio::task::LocalSet::new().run_until(restart()).await;
}

async fn restart() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 3).await;
    turned.turn(Duration::from_secs(5));
    let service = Service::start().await;
    service.answers(500, "");
    let state = tempfile::tempdir().unwrap();
    let notify =
        format!("notify:\n  - {{ name: hook, service: webhook, url: '{}/' }}\n", service.url);
    let config = config(&sandbox, "", &format!("{notify}{TELL}"));
    let running = Running::start(config.clone(), state.path(), &turned);
    until(&turned, "a try", || !service.got().is_empty()).await;
    running.stop().await;
    service.answers(200, "");
    service.got.lock().unwrap().clear();
    let running = Running::start(config, state.path(), &turned);
    until(&turned, "a message", || !service.got().is_empty()).await;
    running.stop().await;
    let got = service.got();
    assert_eq!(got[0].json()["title"], "home: `tell` (3 times)");
    assert!(got[0].json()["text"].as_str().unwrap().contains("http://x.example/"), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_told_outlives_a_kill() {
    let sandbox = real_time(Settings::new(Flavour::OpenList)).await;
    sandbox.with_model(|model| {
        let name = "download http://x.example/f.bin to (/d)";
        model.add(TaskScript::new("offline_download", name).fails(9, Duration::ZERO, "EOF"))
    });
    let service = Service::start().await;
    let home = Home::new();
    home.write_rules(&format!(
        "{}notify: [{{ name: hook, service: webhook, url: '{}/', wait: 10s, interval: 0s }}]\n{TELL}",
        servers(&[("home", &sandbox)]),
        service.url
    ));
    let daemon = home.daemon(&["run"]);
    let waits = || {
        let reader = Reader::open(&home.state()).ok()?;
        let stored = reader.server_state(&telling::STORED_AS.into()).ok()??;
        stored.to_string().contains("x.example").then_some(())
    };
    daemon.until("it is written down", || waits().is_some()).await;
    daemon.kill();
    assert_eq!(service.got().len(), 0);
    let daemon = home.daemon(&["run"]);
    daemon.until("it is told", || !service.got().is_empty()).await;
    daemon.terminate().await;
    let got = service.got();
    assert_eq!(got.len(), 1, "{got:#?}");
    assert!(got[0].json()["text"].as_str().unwrap().contains("x.example/f.bin"), "{got:?}");
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_told_and_so_is_the_day() {
    tokio::task::LocalSet::new().run_until(away_and_back()).await;
}

async fn away_and_back() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 0).await;
    let service = Service::start().await;
    let state = tempfile::tempdir().unwrap();
    let notify = format!(
        "notify:\n  - {{ name: hook, service: webhook, url: '{}/', interval: 0s, digest: '*/30 * * * *' }}\n",
        service.url
    );
    let config = config(&sandbox, "", &format!("{notify}{TELL}"));
    let running = Running::start(config, state.path(), &turned);
    let titles = || -> Vec<String> {
        let got = service.got();
        got.iter().map(|got| got.json()["title"].as_str().unwrap().to_owned()).collect()
    };
    let url = sandbox.url();
    sandbox.with_model(|model| {
        model.faults().plan(taskwarden::sandbox::FaultPlan {
            rate: 1.0,
            faults: vec![taskwarden::sandbox::Fault::Http502Page],
            only: None,
            phase: None,
            seed: 1,
        });
    });
    let has = |word: &str| titles().iter().any(|title| title.contains(word));
    until(&turned, "it is away", || has("home does not answer")).await;
    sandbox.with_model(|model| {
        model.faults().plan(taskwarden::sandbox::FaultPlan {
            rate: 0.0,
            faults: Vec::new(),
            only: None,
            phase: None,
            seed: 1,
        });
    });
    until(&turned, "it is back", || has("home answers again")).await;
    until(&turned, "a digest", || has("0 actions and 0 give-ups in")).await;
    running.stop().await;
    let all: String = service.got().iter().map(|got| got.body.clone()).collect();
    assert!(!all.contains(sandbox.token()), "{url}");
}

#[tokio::test]
async fn a_breaker_that_opens_and_closes_is_told_and_each_day_has_its_digest() {
    tokio::task::LocalSet::new().run_until(breaker_and_digest()).await;
}

async fn breaker_and_digest() {
    const STEP: Duration = Duration::from_secs(20);
    let turned = Turned::new();
    // Soon after two in the afternoon: the first digest comes in a day, however fast the clock turns
    // beside a daemon that is held up.
    assert_eq!(turned.now().to_string(), "2026-09-21T14:13:20Z");
    let settings = Settings::new(Flavour::OpenList).pool("offline_download", 12, 0);
    let sandbox = sandbox(settings, &turned).await;
    sandbox.with_model(|model| {
        for n in 0..12 {
            let name = format!("download http://x.example/{n}.bin to (/d)");
            let script = TaskScript::new("offline_download", name);
            let moment = Duration::from_secs(1);
            model.add(script.fails(1, moment, "429 Too Many Requests").succeeds(moment));
        }
    });
    turned.turn(Duration::from_secs(5));
    let (breakers, digests) = (Service::start().await, Service::start().await);
    let state = tempfile::tempdir().unwrap();
    let config = config(
        &sandbox,
        "    poll: 1m",
        &format!(
            "notify:
  - {{ name: breakers, service: webhook, url: '{}/', events: [breaker], wait: 1s, interval: 0s }}
  - {{ name: day, service: webhook, url: '{}/', events: [gave_up], digest: '0 14 * * *', timezone: UTC }}
rules:
  - name: retry
    match: {{ state: failed }}
    action: retry_some
    max_attempts: 5
    backoff: {{ initial: 1m }}
    breaker: {{ by: kind, open_after: 3, within: 6m, cool_down: 5m }}
",
            breakers.url, digests.url
        ),
    );
    let running = Running::at_speed(1000.0, config, state.path(), &turned);
    let titles = |service: &Service| -> Vec<String> {
        let got = service.got();
        got.iter().map(|got| got.json()["title"].as_str().unwrap().to_owned()).collect()
    };
    until_by(STEP, &turned, "it opened", || titles(&breakers).len() == 1).await;
    until_by(STEP, &turned, "it closed", || titles(&breakers).len() == 2).await;
    assert_eq!(
        titles(&breakers),
        [
            "home: `retry` leaves offline_download alone",
            "home: `retry` works on offline_download again"
        ]
    );
    let told = breakers.got();
    assert_eq!((&told[0].json()["bad"], &told[1].json()["bad"]), (&json!(true), &json!(false)));
    let took = || {
        let rows = audit(state.path());
        rows.iter().filter(|row| row.outcome == Outcome::Effective).count() == 12
    };
    until_by(STEP, &turned, "all were retried", took).await;
    assert_eq!(titles(&digests), Vec::<String>::new(), "{}", turned.now());
    turned.turn(Duration::from_secs(22 * 3600));
    until_by(STEP, &turned, "the first digest", || !titles(&digests).is_empty()).await;
    let day = digests.got()[0].json();
    let title = day["title"].as_str().unwrap();
    assert!(title.starts_with("12 actions and 0 give-ups in "), "{title}");
    assert_eq!(day["text"], "home: `retry` retry_some: 12 effective");
    // The next one comes a day later, not sooner, and says that there was nothing.
    let first = turned.now();
    turned.turn(Duration::from_secs(23 * 3600));
    until_by(STEP, &turned, "the second digest", || digests.got().len() == 2).await;
    assert!(turned.now().duration_since(first) > SignedDuration::from_hours(23));
    let day = digests.got()[1].json();
    let title = day["title"].as_str().unwrap();
    assert!(title.starts_with("0 actions and 0 give-ups in 2"), "{title}");
    assert_eq!(day["text"], "nothing was to be done");
    running.stop().await;
}
