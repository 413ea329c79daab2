//! The forms in which services take a message, and how they refuse one.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::ambient::http_client_builder;
use crate::engine::message::{Message, Service, render};
use crate::engine::text::{printable, shorten};

/// The longest a service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where a message goes, with the secrets as they are at the moment of sending.
#[derive(Clone, Debug)]
pub struct Address {
    /// The service.
    pub service: Service,
    /// The address; for some services a secret.
    pub url: Option<SecretString>,
    /// A token or key.
    pub token: Option<SecretString>,
    /// A chat, or addresses of mail.
    pub to: Vec<String>,
    /// For mail: the sender.
    pub from: Option<String>,
    /// For mail: who logs in.
    pub username: Option<String>,
    /// For mail: with what.
    pub password: Option<SecretString>,
    /// For a webhook: `GET`, `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// For a webhook.
    pub headers: Vec<(String, SecretString)>,
    /// For a webhook: a template of the body.
    pub body: Option<String>,
}

/// Why a message did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotSent {
    /// In words, without secrets.
    pub why: String,
    /// How long the service wants to be left alone.
    pub wait: Option<Duration>,
}

impl NotSent {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), wait: None }
    }
}

/// A request that carries a message.
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn json(url: String, body: &Value) -> Self {
        Self {
            method: "POST".to_owned(),
            url,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    fn with(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }
}

/// Carries messages to services.
#[derive(Clone, Debug)]
pub struct Courier(reqwest::Client);

impl Courier {
    /// A courier that goes through the proxies of the environment.
    ///
    /// # Errors
    ///
    /// When the system's certificates or proxies make no client.
    pub fn new() -> Result<Self, NotSent> {
        let client = http_client_builder()
            .user_agent(concat!("taskwarden/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build();
        client.map(Self).map_err(|error| NotSent::new(causes(&error)))
    }

    /// Sends a message; tells what the service answered.
    ///
    /// # Errors
    ///
    /// Why it did not arrive, or may not have.
    pub async fn send(&self, address: &Address, message: &Message) -> Result<String, NotSent> {
        match address.service {
            Service::Email => {
                let clean = |text| printable(&without_secrets(address, text)).into_owned();
                let sent = super::mail::send(address, message).await;
                sent.map(clean).map_err(|error| NotSent { why: clean(error.why), ..error })
            }
            _ => send(&self.0, address, message).await,
        }
    }
}

async fn send(
    client: &reqwest::Client,
    address: &Address,
    message: &Message,
) -> Result<String, NotSent> {
    let request = request(address, message)?;
    let method = reqwest::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| NotSent::new(format!("`{}` is no method", request.method)))?;
    let mut call = client.request(method, &request.url).timeout(TIMEOUT).body(request.body);
    for (name, value) in &request.headers {
        call = call.header(name, value);
    }
    // The address may be the secret itself.
    let clean = |error: reqwest::Error| NotSent::new(causes(&error.without_url()));
    let mut answer = call.send().await.map_err(clean)?;
    let status = answer.status().as_u16();
    let retry_after = answer
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(clean)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    let said = without_secrets(address, said(&body));
    match verdict(address.service, status, &body) {
        Ok(()) => Ok(format!("{status} {said}").trim_end().to_owned()),
        Err(named) => {
            let why = format!("the service answered {status}: {said}");
            let why = why.trim_end().trim_end_matches(':').to_owned();
            Err(NotSent { why, wait: retry_after.or(named) })
        }
    }
}

/// An error with its causes, each said once.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        inner = error.source();
    }
    text
}

fn request(address: &Address, message: &Message) -> Result<Request, NotSent> {
    let url = || {
        let url = address.url.as_ref().map(|url| url.expose_secret().trim_end_matches('/'));
        url.ok_or_else(|| NotSent::new("the target has no `url`"))
    };
    let token = || {
        let token = address.token.as_ref().map(ExposeSecret::expose_secret);
        token.ok_or_else(|| NotSent::new("the target has no `token`"))
    };
    let Message { title, text, bad } = message;
    let both = |most: usize| shorten(&format!("{title}\n{text}"), most).into_owned();
    Ok(match address.service {
        Service::Ntfy => {
            let whole = url()?;
            // Published as JSON, which headers cannot hold: titles are no ASCII.
            let (server, topic) = whole
                .rsplit_once('/')
                .filter(|(server, topic)| {
                    server.contains("://") && !server.ends_with(":/") && !topic.is_empty()
                })
                .ok_or_else(|| NotSent::new("the `url` of ntfy ends with the topic"))?;
            let body = json!({
                "topic": topic,
                "title": title,
                "message": shorten(text, 3500),
                "priority": if *bad { 4 } else { 3 },
                "tags": [if *bad { "warning" } else { "information_source" }],
            });
            let request = Request::json(server.to_owned(), &body);
            match &address.token {
                Some(token) => {
                    request.with("authorization", format!("Bearer {}", token.expose_secret()))
                }
                None => request,
            }
        }
        Service::Gotify => {
            let body =
                json!({ "title": title, "message": text, "priority": if *bad { 7 } else { 4 } });
            Request::json(format!("{}/message", url()?), &body)
                .with("x-gotify-key", token()?.to_owned())
        }
        Service::Bark => {
            let body = json!({
                "title": title,
                "body": shorten(text, 3000),
                "group": "taskwarden",
                "level": if *bad { "timeSensitive" } else { "active" },
            });
            Request::json(url()?.to_owned(), &body)
        }
        Service::ServerChan => {
            let key = token()?;
            // Keys of the third generation say whose they are, and have a host of their own.
            let own = key.strip_prefix("sctp").and_then(|rest| rest.split_once('t'));
            let whole = match (&address.url, own) {
                (Some(_), _) => format!("{}/{key}.send", url()?),
                (None, Some((user, _))) if user.bytes().all(|b| b.is_ascii_digit()) => {
                    format!("https://{user}.push.ft07.com/send/{key}.send")
                }
                _ => format!("https://sctapi.ftqq.com/{key}.send"),
            };
            // Its texts are Markdown, in which a single line end is none.
            let text = text.replace('\n', "\n\n");
            let body = json!({ "title": shorten(title, 32), "desp": shorten(&text, 30_000) });
            Request::json(whole, &body)
        }
        Service::Telegram => {
            let server = if address.url.is_some() { url()? } else { "https://api.telegram.org" };
            let to = address.to.first();
            let to = to.ok_or_else(|| NotSent::new("the target does not say whom it goes `to`"))?;
            let body = json!({
                "chat_id": to,
                "text": both(4000),
                "disable_notification": !bad,
                "link_preview_options": { "is_disabled": true },
            });
            Request::json(format!("{server}/bot{}/sendMessage", token()?), &body)
        }
        Service::Discord => {
            let body = json!({ "content": both(1900), "allowed_mentions": { "parse": [] } });
            Request::json(url()?.to_owned(), &body)
        }
        Service::Slack => {
            // These three have a meaning there.
            let text = both(3500).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            Request::json(url()?.to_owned(), &json!({ "text": text }))
        }
        Service::Apprise => {
            let sort = if *bad { "warning" } else { "info" };
            let body = json!({ "title": title, "body": text, "type": sort, "format": "text" });
            Request::json(url()?.to_owned(), &body)
        }
        Service::Webhook => webhook(address, message)?,
        Service::Email => return Err(NotSent::new("mail is no request")),
    })
}

fn webhook(address: &Address, message: &Message) -> Result<Request, NotSent> {
    let Message { title, text, bad } = message;
    let body = match &address.body {
        Some(template) => render(template, message)
            .map_err(|fault| NotSent::new(format!("its `body`: {}", fault.message)))?,
        None => json!({ "title": title, "text": text, "bad": bad }).to_string(),
    };
    let mut headers: Vec<(String, String)> = address
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
        .collect();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        let json = body.trim_start().starts_with(['{', '[']);
        let sort = if json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.push(("content-type".to_owned(), sort.to_owned()));
    }
    let url = address.url.as_ref().map(|url| url.expose_secret().to_owned());
    let url = url.ok_or_else(|| NotSent::new("the target has no `url`"))?;
    Ok(Request { method: address.method.clone(), url, headers, body: body.into_bytes() })
}

/// Whether a service took the message; where it did not, how long its answer says to wait.
fn verdict(service: Service, status: u16, body: &str) -> Result<(), Option<Duration>> {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let good = (200..300).contains(&status);
    let taken = match service {
        // Both say in the body what became of it.
        Service::ServerChan => good && answer["code"].as_i64() == Some(0),
        Service::Bark => good && answer["code"].as_i64() == Some(200),
        Service::Telegram => good && answer["ok"].as_bool() == Some(true),
        _ => good,
    };
    if taken {
        return Ok(());
    }
    let seconds = answer["parameters"]["retry_after"]
        .as_f64()
        .or_else(|| answer["retry_after"].as_f64())
        .filter(|seconds| seconds.is_finite());
    Err(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

/// What an answer says, in a line.
fn said(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let told = ["error", "errorDescription", "description", "message", "msg", "info"]
        .iter()
        .find_map(|key| answer[*key].as_str());
    let text = match told {
        Some(text) => text,
        None if body.trim_start().starts_with(['{', '[', '<']) => "",
        None => body.trim(),
    };
    printable(&shorten(text, 200)).into_owned()
}

/// Takes out whatever secret the service repeats.
fn without_secrets(address: &Address, text: String) -> String {
    let secrets = address.url.iter().chain(&address.token).chain(&address.password);
    let secrets = secrets.chain(address.headers.iter().map(|(_, value)| value));
    let mut text = text;
    for secret in secrets {
        let secret = secret.expose_secret();
        // Of an address the path can be the key.
        let path = secret.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        for part in std::iter::once(secret).chain(path.map(|(_, path)| path)) {
            if part.len() >= 4 {
                text = text.replace(part, "***");
            }
        }
    }
    text
}
