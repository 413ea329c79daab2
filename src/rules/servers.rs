//! The `servers` of a rules file.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::codes::Code;
use super::finding::Span;
use super::reader::{At, Fields, Place, Reader, shorten};
use super::rule::modes;
use super::values;
use super::yaml::{Node, Value};
use crate::engine::rule::Mode;
use crate::engine::task::{Kind, ServerName};

/// A server to look after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What rules, logs and the audit trail call it; unique.
    pub name: ServerName,
    /// Its address, `http` or `https`, with the base path and without a final slash.
    pub url: String,
    /// How to prove who asks.
    pub auth: AuthConfig,
    /// The time between two looks, 1s to 1h; 15s unless set.
    pub poll: Duration,
    /// Whether rules act on it.
    pub mode: Mode,
    /// Certificates to trust beside the system's, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for a connection, 1s to 5m; 10s unless set.
    pub connect_timeout: Duration,
    /// The longest wait for an answer, 1s to 10m; 60s unless set.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes, 1 MiB to 4 GiB; 256 MiB unless set.
    pub max_body: u64,
    /// Kinds to look for beside the known ones.
    pub kinds: Vec<Kind>,
}

/// How to prove to a server who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// By its admin token, or a token of a user.
    Token(SecretRef),
    /// By logging in.
    Password {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretRef,
        /// The secret of the second factor, in base32.
        totp: Option<SecretRef>,
    },
}

impl AuthConfig {
    /// Whether both are sure to be the same user of a server.
    fn is_of_one_account(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one == other,
            (Self::Password { username: one, .. }, Self::Password { username: other, .. }) => {
                one == other
            }
            _ => false,
        }
    }
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretRef {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(PathBuf),
    /// In the credential of this name that systemd hands the service.
    Credential(String),
    /// In the rules file itself.
    Literal(SecretString),
}

impl PartialEq for SecretRef {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Env(one), Self::Env(other))
            | (Self::Credential(one), Self::Credential(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            // Both are from files of the same owner; how long this takes tells nobody anything.
            (Self::Literal(one), Self::Literal(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for SecretRef {}

impl Reader<'_> {
    pub(super) fn servers(&mut self, at: At<'_>) -> Vec<ServerConfig> {
        let items = match &at.node.value {
            Value::Seq(items) => items,
            Value::Null => return Vec::new(),
            _ => {
                self.wrong_type(at, "a list of servers", "begin each server with `- name: ...`");
                return Vec::new();
            }
        };
        let mut seen: std::collections::BTreeMap<String, Span> = std::collections::BTreeMap::new();
        let (mut servers, mut accounts) = (Vec::new(), Vec::new());
        for node in items {
            let span = if node.span.is_empty() { at.key_span } else { node.span };
            let Some(fields) = self.fields(node, span, Place::Server) else { continue };
            if let Some(at) = fields.get("name")
                && matches!(&at.node.value, Value::Text(scalar) if scalar.text == "-")
            {
                // What the daemon does itself stands under it in the audit log.
                self.report(Code::UnknownValue, at.span, "a server cannot be called `-`")
                    .help("give it a name, such as `home`");
            }
            if let Some((name, span)) = self.server_name(&fields, node, span) {
                if let Some(first) = seen.get(&name) {
                    let first = *first;
                    self.report(
                        Code::DuplicateServer,
                        span,
                        format!("two servers are called `{}`", shorten(&name)),
                    )
                    .label("a second time")
                    .related(first, "first here")
                    .help("give each server its own name");
                } else {
                    seen.insert(name.clone(), span);
                }
                self.servers.insert(name.clone());
                let at = fields.get("url").map_or(span, |at| at.span);
                let Some(server) = self.server(name, &fields, span) else { continue };
                if let Some((_, first)) = accounts.iter().find(|(other, _): &&(ServerConfig, _)| {
                    other.url == server.url && other.auth.is_of_one_account(&server.auth)
                }) {
                    self.report(
                        Code::DuplicateServer,
                        at,
                        "two servers are the same account at the same address",
                    )
                    .label("a second time")
                    .related(*first, "first here")
                    .help("keep one of them: two would act on the same tasks at once");
                }
                accounts.push((server.clone(), at));
                servers.push(server);
            } else {
                // What else is wrong with it is told all the same.
                self.server(String::new(), &fields, span);
            }
        }
        servers
    }

    fn server_name(
        &mut self,
        fields: &Fields<'_>,
        node: &Node,
        span: Span,
    ) -> Option<(String, Span)> {
        let Some(at) = fields.get("name") else {
            let start = first_key(node).unwrap_or(span);
            self.report(Code::MissingKey, start, "a server needs a `name`")
                .help("add `name: home`, or what else you call it");
            return None;
        };
        self.text(at).map(|text| (text.to_owned(), at.span))
    }

    fn server(&mut self, name: String, fields: &Fields<'_>, span: Span) -> Option<ServerConfig> {
        let url = if let Some(at) = fields.get("url") {
            self.url(at)
        } else {
            self.report(Code::MissingKey, span, "the server needs a `url`")
                .help("add `url: http://127.0.0.1:5244`, the address a browser would open");
            None
        };
        let auth = self.auth(fields, span);
        let second = Duration::from_secs(1);
        let mut duration = |key, default: u64, max: u64| match fields.get(key) {
            Some(at) => self.duration(at, second, Duration::from_secs(max)),
            None => Some(Duration::from_secs(default)),
        };
        let poll = duration("poll", 15, 3600);
        let connect_timeout = duration("connect_timeout", 10, 300);
        let timeout = duration("timeout", 60, 600);
        let mode = match fields.get("mode") {
            Some(at) => self.word(at, &modes()),
            None => Some(Mode::Live),
        };
        let ca_file = fields.get("ca_file").and_then(|at| self.path(at));
        let max_body = match fields.get("max_body") {
            Some(at) => {
                let (min, max) = ((1 << 20, "1MiB"), (4 << 30, "4GiB"));
                self.size(at, min, max, "256MiB is right for most")
            }
            None => Some(256 << 20),
        };
        let kinds = match fields.get("kinds") {
            Some(at) => self.list(at, Self::extra_kind),
            None => Some(Vec::new()),
        };
        for kind in kinds.iter().flatten() {
            self.kinds.insert(kind.as_str().to_owned());
        }
        Some(ServerConfig {
            name: ServerName::new(name),
            url: url?,
            auth: auth?,
            poll: poll?,
            mode: mode?,
            ca_file,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            max_body: max_body?,
            kinds: kinds?,
        })
    }

    fn url(&mut self, at: At<'_>) -> Option<String> {
        let text = self.text(at)?;
        match values::url(text) {
            Ok(url) => Some(url),
            Err(fault) => {
                // What stands before an `@` may be a password, however broken the address is.
                // So may what stands behind a `?` or a `#`.
                if text.contains(['?', '#'])
                    || text.char_indices().any(|(at, c)| c == '@' && !text[..at].ends_with('/'))
                {
                    self.secrets.push(at.span);
                }
                self.fault(at, fault);
                None
            }
        }
    }

    /// A kind stands in the API's paths, so its letters are few.
    fn extra_kind(&mut self, at: At<'_>) -> Option<Kind> {
        let text = self.text(at)?;
        if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Some(Kind::from(text));
        }
        let message = format!("`{}` cannot be the name of a kind", shorten(text));
        self.report(Code::UnknownKind, at.span, message)
            .help("kinds are written as in the API's paths: small letters, digits and `_`");
        None
    }

    fn auth(&mut self, fields: &Fields<'_>, span: Span) -> Option<AuthConfig> {
        let token = fields.get("token");
        let (username, password) = (fields.get("username"), fields.get("password"));
        let totp = fields.get("totp");
        let secrets = [token, password, totp].map(|at| at.map(|at| self.secret(at)));
        let [token_ref, password_ref, totp_ref] = secrets;
        let name = username.map(|at| self.text(at).map(str::to_owned));
        if let Some(token) = token {
            for other in [username, password, totp].into_iter().flatten() {
                let message =
                    format!("the server has a `token`, so `{}` has no meaning", other.key);
                self.report(Code::ConflictingKeys, other.key_span, message)
                    .related(token.key_span, "the token is given here")
                    .help("keep the token, or user and password, not both");
            }
            return token_ref.flatten().map(AuthConfig::Token);
        }
        let missing = match (username, password) {
            (Some(at), None) => Some((
                at.key_span,
                "`username` needs a `password`",
                "add `password: { env: NAME }` or `password: { file: PATH }`",
            )),
            (None, Some(at)) => {
                Some((at.key_span, "`password` needs a `username`", "add `username:`"))
            }
            (None, None) => Some((
                span,
                "the server needs a `token`, or `username` and `password`",
                "add `token: { env: OPENLIST_TOKEN }`; the token stands in the server's settings under `other`",
            )),
            (Some(_), Some(_)) => None,
        };
        if let Some((span, message, help)) = missing {
            self.report(Code::MissingKey, span, message).help(help);
            return None;
        }
        let totp = match totp_ref {
            Some(read) => Some(read?),
            None => None,
        };
        Some(AuthConfig::Password {
            username: name.flatten()?,
            password: password_ref.flatten()?,
            totp,
        })
    }

    pub(super) fn secret(&mut self, at: At<'_>) -> Option<SecretRef> {
        if !matches!(at.node.value, Value::Map(_)) {
            self.secrets.push(at.node.span);
            let message = format!(
                "`{}` stands in this file, and everyone on this machine can read it",
                at.key
            );
            let text = self.text(at)?;
            self.literals.push((at.span, message));
            return Some(SecretRef::Literal(SecretString::from(text.to_owned())));
        }
        let fields = self.fields(at.node, at.span, Place::Secret)?;
        let places: Vec<At<'_>> = fields.iter().collect();
        match places[..] {
            [first, second, ..] => {
                let message = format!(
                    "a secret comes from `{}` or from `{}`, not from both",
                    first.key, second.key
                );
                self.report(Code::ConflictingKeys, second.key_span, message)
                    .related(first.key_span, "the other is here")
                    .help("drop one of the two");
                None
            }
            [at] if at.key == "env" => {
                let name = self.text(at)?;
                let fine = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                    && !name.starts_with(|c: char| c.is_ascii_digit());
                if !fine {
                    // What stands here may be the secret itself.
                    self.secrets.push(at.node.span);
                    let message = "`env` takes the name of an environment variable";
                    self.report(Code::UnknownValue, at.span, message)
                        .help("write the bare name, such as `env: OPENLIST_TOKEN`; letters, digits and `_`");
                    return None;
                }
                Some(SecretRef::Env(name.to_owned()))
            }
            [at] if at.key == "credential" => {
                let name = self.text(at)?;
                if name.contains('/') || name.starts_with('.') {
                    self.secrets.push(at.node.span);
                    let message = "`credential` takes the name of a credential";
                    self.report(Code::UnknownValue, at.span, message)
                        .help("write the name that `LoadCredential=NAME:PATH` gives it");
                    return None;
                }
                Some(SecretRef::Credential(name.to_owned()))
            }
            [at] => self.path(at).map(SecretRef::File),
            [] => {
                // An unknown key was told of already.
                if matches!(&at.node.value, Value::Map(entries) if entries.is_empty()) {
                    let message = format!("`{}` does not say where the secret is", at.key);
                    self.report(Code::MissingKey, at.span, message)
                        .help("write `{ env: NAME }` or `{ file: PATH }`");
                } else if let Value::Map(entries) = &at.node.value {
                    let spans: Vec<Span> = entries.iter().map(|entry| entry.value.span).collect();
                    self.secrets.extend(spans);
                }
                None
            }
        }
    }
}

/// The first key of a map: where to point when something is missing from it.
pub(super) fn first_key(node: &Node) -> Option<Span> {
    match &node.value {
        Value::Map(entries) => entries.first().map(|entry| entry.key_span),
        _ => None,
    }
}
