//! The `notify` of a rules file: whom the daemon tells what.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};

use super::codes::Code;
use super::finding::Span;
use super::reader::{At, Bound, Fields, Place, Reader, shorten};
use super::servers::{SecretRef, first_key};
use super::yaml::Value;
use super::{values, yaml};
use crate::engine::message::{MailServer, Service, Topic, check_template};
use crate::engine::schedule::Schedule;

const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// The methods of a webhook.
pub(super) const METHODS: &[&str] = &["POST", "PUT", "PATCH", "GET"];

/// Someone who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifyTarget {
    /// What the file calls it.
    pub name: String,
    /// The service that takes its messages.
    pub service: Service,
    /// The address; for some services the key is in it.
    pub url: Option<SecretRef>,
    /// A token or key.
    pub token: Option<SecretRef>,
    /// A chat, or addresses of mail.
    pub to: Vec<String>,
    /// The sender of mail.
    pub from: Option<String>,
    /// Who logs in at a mail server.
    pub username: Option<String>,
    /// With what.
    pub password: Option<SecretRef>,
    /// The method of a webhook.
    pub method: String,
    /// The headers of a webhook.
    pub headers: Vec<(String, SecretRef)>,
    /// The template of a webhook's body.
    pub body: Option<String>,
    /// What it is told of.
    pub events: Vec<Topic>,
    /// How long more notices are waited for after the first.
    pub wait: Duration,
    /// The least time between two messages.
    pub interval: Duration,
    /// After how long what lasts is told again; `None` is never.
    pub repeat: Option<Duration>,
    /// When it is told what was done since the last time.
    pub digest: Option<Schedule>,
}

/// The keys that only some services have.
pub(super) const OF_SOME: &[&str] =
    &["url", "token", "to", "from", "username", "password", "method", "headers", "body"];

/// The keys that a service needs and those that it may have, of those that not all have.
pub(super) fn wants(service: Service) -> (&'static [&'static str], &'static [&'static str]) {
    match service {
        Service::Ntfy => (&["url"], &["token"]),
        Service::Gotify => (&["url", "token"], &[]),
        Service::Bark | Service::Discord | Service::Slack | Service::Apprise => (&["url"], &[]),
        Service::ServerChan => (&["token"], &["url"]),
        Service::Telegram => (&["token", "to"], &["url"]),
        Service::Email => (&["url", "from", "to"], &["username", "password"]),
        Service::Webhook => (&["url"], &["method", "headers", "body"]),
    }
}

impl Reader<'_> {
    /// The targets; each that cannot be used left a finding.
    pub(super) fn notify(&mut self, at: At<'_>) -> Vec<NotifyTarget> {
        let items = match &at.node.value {
            Value::Seq(items) => items,
            Value::Null => return Vec::new(),
            _ => {
                self.wrong_type(at, "a list of targets", "begin each with `- name: ...`");
                return Vec::new();
            }
        };
        let mut names: BTreeMap<String, Span> = BTreeMap::new();
        let mut targets = Vec::new();
        for node in items {
            let span = if node.span.is_empty() { at.key_span } else { node.span };
            let Some(fields) = self.fields(node, span, Place::Notify) else { continue };
            if let Some(name) = fields.get("name")
                && let Some(text) = self.text(name)
                && let Some(first) = names.insert(text.to_owned(), name.span)
            {
                let message = format!("two targets are called `{}`", shorten(text));
                self.report(Code::DuplicateTarget, name.span, message)
                    .label("a second time")
                    .related(first, "first here")
                    .help("give each target its own name; what waits for it is kept under it");
            }
            targets.extend(self.target(node, &fields, span));
        }
        targets
    }

    fn target(
        &mut self,
        node: &yaml::Node,
        fields: &Fields<'_>,
        span: Span,
    ) -> Option<NotifyTarget> {
        let start = first_key(node).unwrap_or(span);
        let name = fields.get("name").and_then(|at| self.text(at).map(str::to_owned));
        if fields.get("name").is_none() {
            self.report(Code::MissingKey, start, "a target needs a `name`")
                .help("add `name: phone`; `taskwarden notify test phone` tries it out");
        }
        let words = Service::ALL.map(|service| (service.as_str(), service));
        let service = if let Some(at) = fields.get("service") {
            self.word(at, &words)
        } else {
            let names = words.map(|(name, _)| name).join(", ");
            self.report(Code::MissingKey, start, "the target does not say its `service`")
                .help(format!("add `service:` with one of {names}"));
            None
        };
        let url = fields.get("url").map(|at| self.notify_url(at, service));
        let token = fields.get("token").map(|at| self.secret(at));
        let to = fields.get("to").map(|at| self.recipients(at, service));
        let from = fields.get("from").map(|at| self.mail_address(at));
        let username = fields.get("username").map(|at| self.text(at).map(str::to_owned));
        let password = fields.get("password").map(|at| self.secret(at));
        let method = fields.get("method").map(|at| {
            let words: Vec<(&str, &str)> = METHODS.iter().map(|word| (*word, *word)).collect();
            self.word(at, &words).map(str::to_owned)
        });
        let headers = fields.get("headers").map(|at| self.headers(at));
        let body = fields.get("body").map(|at| self.template(at));
        let topics = Topic::ALL.map(|topic| (topic.as_str(), topic));
        let events = match fields.get("events") {
            Some(at) => self.list(at, |reader, item| reader.word(item, &topics)),
            None => Some(Topic::ALL.to_vec()),
        };
        let mut time = |key: &str, least: u64, default: u64| match fields.get(key) {
            Some(at) => self.duration(at, Duration::from_secs(least), LONGEST),
            None => Some(Duration::from_secs(default)),
        };
        let wait = time("wait", 0, 30);
        let interval = time("interval", 0, 300);
        let repeat = match fields.get("repeat") {
            Some(at) if at.is_none() => Some(None),
            Some(at) => self.duration(at, Duration::from_secs(60), LONGEST).map(Some),
            None => Some(Some(Duration::from_secs(12 * 3600))),
        };
        let zone = fields.get("timezone").map(|at| self.timezone(at));
        let digest = fields.get("digest").map(|at| self.schedule(at));
        let service = service?;
        let whole = self.fits(service, fields, start);
        // What is there and cannot be read makes the target unusable.
        let url = unwrapped(url)?;
        let token = unwrapped(token)?;
        let to = unwrapped(to)?.unwrap_or_default();
        let from = unwrapped(from)?;
        let username = unwrapped(username)?;
        let password = unwrapped(password)?;
        let headers = unwrapped(headers)?.unwrap_or_default();
        let (method, body) = (unwrapped(method)?, unwrapped(body)?);
        let zone = unwrapped(zone)?.unwrap_or(TimeZone::UTC);
        let digest = unwrapped(digest)?.and_then(Bound::value);
        if !whole || self.open_log_in(fields, url.as_ref()) {
            return None;
        }
        Some(NotifyTarget {
            name: name?,
            service,
            url,
            token,
            to,
            from,
            username,
            password,
            method: method.unwrap_or_else(|| "POST".to_owned()),
            headers,
            body,
            events: events?,
            wait: wait?,
            interval: interval?,
            repeat: repeat?,
            digest: digest.map(|(text, cron)| Schedule { text, cron, zone, catch_up: false }),
        })
    }

    /// Whether all is there that the service needs; what is missing and what has no meaning for it is
    /// reported.
    fn fits(&mut self, service: Service, fields: &Fields<'_>, start: Span) -> bool {
        let (needed, allowed) = wants(service);
        for key in needed.iter().filter(|key| fields.get(key).is_none()) {
            let message = format!("`{}` needs a `{key}`", service.as_str());
            self.report(Code::MissingKey, start, message).help(format!("add `{key}:`"));
        }
        for key in OF_SOME {
            if let Some(at) = fields.get(key)
                && !needed.contains(key)
                && !allowed.contains(key)
            {
                let message = format!("`{key}` has no meaning for `{}`", service.as_str());
                self.report(Code::ConflictingKeys, at.key_span, message).help("drop it");
            }
        }
        for (one, other) in [("username", "password"), ("password", "username")] {
            if let Some(at) = fields.get(one)
                && fields.get(other).is_none()
            {
                self.report(Code::MissingKey, at.key_span, format!("there is no `{other}`"))
                    .help("a log-in takes `username` and `password`; drop both for none");
            }
        }
        needed.iter().all(|key| fields.get(key).is_some())
    }

    /// Whether a password would go in clear to a mail server elsewhere, which is reported.
    fn open_log_in(&mut self, fields: &Fields<'_>, url: Option<&SecretRef>) -> bool {
        let Some(at) = fields.get("password") else { return false };
        let Some(SecretRef::Literal(text)) = url else { return false };
        let open = text.expose_secret().parse().is_ok_and(|server: MailServer| server.is_open());
        if open {
            self.report(Code::ConflictingKeys, at.key_span, MailServer::OPEN)
                .help("write `starttls://` or `smtps://` in the `url`");
        }
        open
    }

    fn notify_url(&mut self, at: At<'_>, service: Option<Service>) -> Option<SecretRef> {
        // To these the address is no secret: there is a token beside it.
        let open = matches!(
            service,
            Some(Service::Gotify | Service::ServerChan | Service::Telegram | Service::Email)
        );
        let url = if open { self.quiet_secret(at)? } else { self.secret(at)? };
        if let SecretRef::Literal(text) = &url {
            let text = text.expose_secret();
            let read = match service {
                Some(Service::Email) => text.parse::<MailServer>().map(drop).map_err(|why| {
                    let message = format!("not the address of a mail server: {why}");
                    values::Fault::new(Code::InvalidUrl, 0..text.len(), message).help(
                        "write it like `smtps://mail.example` or `starttls://mail.example:587`",
                    )
                }),
                _ => values::web_address(text),
            };
            if let Err(fault) = read {
                self.fault(at, fault);
                return None;
            }
        }
        Some(url)
    }

    /// One chat, or addresses of mail.
    fn recipients(&mut self, at: At<'_>, service: Option<Service>) -> Option<Vec<String>> {
        if service == Some(Service::Email) {
            return self.list(at, Self::mail_address);
        }
        self.text(at).map(|text| vec![text.to_owned()])
    }

    fn mail_address(&mut self, at: At<'_>) -> Option<String> {
        let text = self.text(at)?;
        if text.parse::<lettre::message::Mailbox>().is_err() {
            let message = format!("`{}` is no address of mail", shorten(text));
            self.report(Code::InvalidAddress, at.span, message)
                .help("write it like `me@example.org` or `Me <me@example.org>`");
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that is not shown again, and that no one is warned of.
    fn quiet_secret(&mut self, at: At<'_>) -> Option<SecretRef> {
        let told = self.literals.len();
        let read = self.secret(at);
        self.literals.truncate(told);
        read
    }

    fn headers(&mut self, at: At<'_>) -> Option<Vec<(String, SecretRef)>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_type(at, "a map of headers", "write `headers: { X-Key: { env: NAME } }`");
            return None;
        };
        let mut headers = Vec::new();
        for entry in entries {
            let name = &*entry.key;
            let fine = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !fine {
                let message = format!("`{}` cannot be the name of a header", shorten(name));
                self.report(Code::UnknownValue, entry.key_span, message)
                    .help("write letters, digits and `-`, such as `X-Api-Key`");
            }
            let key_span = entry.key_span;
            let at = At { node: &entry.value, span: entry.spot(), key: "headers", key_span };
            let value = self.quiet_secret(at);
            if let Some(SecretRef::Literal(text)) = &value
                && !printable_header(text)
            {
                self.report(Code::UnknownValue, at.span, "a header holds printable ASCII only")
                    .help("put other texts into the `body`");
                continue;
            }
            headers.extend(value.filter(|_| fine).map(|value| (name.to_owned(), value)));
        }
        (headers.len() == entries.len()).then_some(headers)
    }

    fn template(&mut self, at: At<'_>) -> Option<String> {
        let text = self.text(at)?;
        match check_template(text) {
            Ok(()) => Some(text.to_owned()),
            Err(fault) => {
                let range = fault.range.unwrap_or(0..text.len());
                let help = "the names are `title`, `text` and `bad`; `{{ text | tojson }}` is right in JSON";
                let fault = values::Fault::new(Code::InvalidTemplate, range, fault.message);
                self.fault(at, fault.help(help));
                None
            }
        }
    }
}

fn printable_header(text: &SecretString) -> bool {
    text.expose_secret().bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Nothing where nothing was given, and no answer where it could not be read.
#[allow(clippy::option_option, reason = "not given and not readable are two things")]
fn unwrapped<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}
