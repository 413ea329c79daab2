//! Messages to people: what they are about, which services take them, and the templates that webhooks
//! put them into.

use minijinja::{Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

/// What is told in one go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What it is about, in one line.
    pub title: String,
    /// The whole of it, in lines.
    pub text: String,
    /// Whether something does not work, or a task was given up.
    pub bad: bool,
}

/// A service that takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// ntfy: `url` is the topic's address, `token` an access token.
    Ntfy,
    /// Gotify: `url` is the server's address, `token` an application's.
    Gotify,
    /// Bark: `url` is the server's address with the device key.
    Bark,
    /// `ServerChan` (Server酱): `token` is the send key.
    ServerChan,
    /// Telegram: `token` is the bot's, `to` the chat.
    Telegram,
    /// Discord: `url` is a webhook's.
    Discord,
    /// Slack: `url` is an incoming webhook's.
    Slack,
    /// Apprise API: `url` is `.../notify/KEY`.
    Apprise,
    /// E-mail: `url` is a mail server's, `from` and `to` are addresses, `username` and `password` a
    /// log-in.
    Email,
    /// Any other: `url`, `method`, `headers` and a `body` template.
    Webhook,
}

impl Service {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Ntfy,
        Self::Gotify,
        Self::Bark,
        Self::ServerChan,
        Self::Telegram,
        Self::Discord,
        Self::Slack,
        Self::Apprise,
        Self::Email,
        Self::Webhook,
    ];

    /// The word of rules files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ntfy => "ntfy",
            Self::Gotify => "gotify",
            Self::Bark => "bark",
            Self::ServerChan => "serverchan",
            Self::Telegram => "telegram",
            Self::Discord => "discord",
            Self::Slack => "slack",
            Self::Apprise => "apprise",
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }
}

/// How a conversation with a mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSafety {
    /// Encrypted from the start: `smtps://`.
    Tls,
    /// Encrypted before anything is said, or broken off: `starttls://`.
    StartTls,
    /// Not at all: `smtp://`.
    None,
}

/// A mail server that takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// How it is spoken with.
    pub safety: MailSafety,
    /// Its name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl MailServer {
    /// What is wrong with a password for a server that is open.
    pub const OPEN: &str = "the password would cross the network for all to read";

    /// Whether what is said to it crosses a network in clear.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let here = self.host == "localhost"
            || self.host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.safety == MailSafety::None && !here
    }
}

impl std::str::FromStr for MailServer {
    type Err = &'static str;

    /// Reads `smtps://HOST`, `starttls://HOST` or `smtp://HOST`, with or without a port.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.trim().split_once("://").ok_or("there is no `smtps://` in it")?;
        let (safety, usual) = match scheme {
            "smtps" => (MailSafety::Tls, 465),
            "starttls" => (MailSafety::StartTls, 587),
            "smtp" => (MailSafety::None, 25),
            _ => return Err("it begins with `smtps://`, `starttls://` or `smtp://`"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("it holds no user; give `username` and `password`");
        }
        // `[::1]:25`, `::1`, `host:25`.
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None if rest.matches(':').count() == 1 => {
                rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
            }
            None => (rest, None),
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#[]\\".contains(c);
        if host.is_empty() || host.contains(odd) {
            return Err("it names no host");
        }
        let port = match port {
            None => usual,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err("its port is none"),
            },
        };
        Ok(Self { safety, host: host.to_owned(), port })
    }
}

/// What people may want to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A rule gave a task up.
    GaveUp,
    /// A rule's `notify` fired.
    Notify,
    /// A breaker opened or closed.
    Breaker,
    /// A server does not answer, or does again.
    Server,
    /// A server refuses the log-in, or takes it again.
    Login,
    /// The rules file cannot be used, or can again.
    Reload,
    /// Nothing can be written down, or it can again.
    Store,
    /// Something of the daemon itself broke down.
    Daemon,
}

impl Topic {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::GaveUp,
        Self::Notify,
        Self::Breaker,
        Self::Server,
        Self::Login,
        Self::Reload,
        Self::Store,
        Self::Daemon,
    ];

    /// The word of rules files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GaveUp => "gave_up",
            Self::Notify => "notify",
            Self::Breaker => "breaker",
            Self::Server => "server",
            Self::Login => "login",
            Self::Reload => "reload",
            Self::Store => "store",
            Self::Daemon => "daemon",
        }
    }
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFault {
    /// What is wrong.
    pub message: String,
    /// The bytes of the template at fault, if that is known.
    pub range: Option<std::ops::Range<usize>>,
}

/// Puts a message into a template: `{{ title }}`, `{{ text }}` and `{{ bad }}`, with `| tojson` for
/// text in JSON. Nothing else has a name there.
///
/// # Errors
///
/// What is wrong with the template.
pub fn render(template: &str, message: &Message) -> Result<String, TemplateFault> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let fault = |error: minijinja::Error| TemplateFault {
        message: match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        },
        range: error.range(),
    };
    let compiled = environment.template_from_str(template).map_err(fault)?;
    let Message { title, text, bad } = message;
    let names = context! { title => title.as_str(), text => text.as_str(), bad => *bad };
    compiled.render(names).map_err(fault)
}

/// Checks a template on messages of both sorts.
///
/// # Errors
///
/// What is wrong with the template.
pub fn check_template(template: &str) -> Result<(), TemplateFault> {
    let environment = Environment::new();
    if let Ok(compiled) = environment.template_from_str(template) {
        let known = |name: &String| matches!(name.as_str(), "title" | "text" | "bad");
        let mut unknown: Vec<String> =
            compiled.undeclared_variables(false).into_iter().filter(|name| !known(name)).collect();
        unknown.sort();
        if let Some(name) = unknown.first() {
            let at = template.find(name.as_str());
            return Err(TemplateFault {
                message: format!("nothing is called `{name}` there"),
                range: at.map(|at| at..at + name.len()),
            });
        }
    }
    for bad in [false, true] {
        let message = Message { title: "title".to_owned(), text: "text".to_owned(), bad };
        render(template, &message)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message { title: "a \"b\"".to_owned(), text: "1\n2".to_owned(), bad: true }
    }

    #[test]
    fn mail_servers_are_read_with_their_usual_ports() {
        let read = |text: &str| text.parse::<MailServer>();
        for (text, safety, host, port, open) in [
            ("smtps://mail.example", MailSafety::Tls, "mail.example", 465, false),
            ("starttls://mail.example/", MailSafety::StartTls, "mail.example", 587, false),
            ("smtp://mail.example", MailSafety::None, "mail.example", 25, true),
            ("smtp://localhost:2525", MailSafety::None, "localhost", 2525, false),
            ("smtp://127.0.0.1", MailSafety::None, "127.0.0.1", 25, false),
            ("smtp://[::1]:26", MailSafety::None, "::1", 26, false),
            ("smtps://[2001:db8::1]", MailSafety::Tls, "2001:db8::1", 465, false),
        ] {
            let server = read(text).unwrap();
            assert_eq!((server.safety, server.host.as_str(), server.port), (safety, host, port));
            assert_eq!(server.is_open(), open, "{text}");
        }
        for text in [
            "mail.example",
            "https://mail.example",
            "smtps://",
            "smtps://:465",
            "smtps://a b",
            "smtps://me:hunter2@mail.example",
            "smtps://mail.example:0",
            "smtps://mail.example:smtp",
            "smtps://mail.example/inbox",
            "smtps://[::1",
        ] {
            assert!(!read(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_template_says_what_it_is_told_to() {
        for (template, said) in [
            ("{{ title }}: {{ text }}", "a \"b\": 1\n2"),
            (
                r#"{"t": {{ title | tojson }}, "x": {{ text | tojson }}}"#,
                r#"{"t": "a \"b\"", "x": "1\n2"}"#,
            ),
            ("{% if bad %}!{% endif %}", "!"),
        ] {
            assert_eq!(render(template, &message()).unwrap(), said);
        }
    }

    #[test]
    fn what_has_no_name_is_a_fault_with_its_place() {
        for (template, at) in [
            ("x {{ titel }}", Some(5..10)),
            ("{% if wrong %}{% endif %}", Some(6..11)),
            ("{{ message | tojson }}", Some(3..10)),
            ("{{ title", None),
            ("{{ title|upcase }}", None),
        ] {
            let fault = check_template(template).unwrap_err();
            if at.is_some() {
                assert_eq!(fault.range, at, "{template}: {fault:?}");
            }
            assert!(!fault.message.is_empty());
        }
    }
}
