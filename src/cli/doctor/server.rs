//! What a server says when it is asked.

use jiff::{SignedDuration, Timestamp};

use super::super::Exit;
use super::super::acquaintance::{Kept, NoClient, careful_client};
use super::Line;
use crate::ambient::Clock;
use crate::daemon::supervise::StartError;
use crate::engine::rule::Effect;
use crate::engine::task::{Flavour, Kind};
use crate::rules::{AuthConfig, Config, ServerConfig};
use crate::upstream::{Account, Base, Client, Discovery, Error, Oddity, SecretError, Transport};

/// A difference of clocks above this is worth a word.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// One server under examination.
pub(super) struct Examination<'a> {
    pub(super) server: &'a ServerConfig,
    pub(super) config: &'a Config,
    pub(super) candidates: &'a [Kind],
    /// Whether a daemon works with the state folder.
    pub(super) daemon_runs: bool,
}

impl Examination<'_> {
    /// Asks step by step, from what needs no login on; what hangs on a failed step is left out.
    pub(super) async fn run(&self, kept: &Kept, clock: &Clock, tell: &mut impl FnMut(Line)) {
        let client = match careful_client(self.server, kept, clock) {
            Ok(client) => client,
            Err(NoClient::Careful(why)) => {
                tell(Line::fail("token", why, "see to the database first").ending(Exit::Findings));
                return;
            }
            Err(NoClient::Settings(error)) => {
                tell(self.no_client(&error));
                return;
            }
        };
        let greeting = match client.greet().await {
            Ok(greeting) => greeting,
            // Nothing that does not answer as a file-list server is sent a token or a password.
            Err(error) => {
                tell(unreached(&error).ending(Exit::Unreached));
                return;
            }
        };
        tell(Line::ok("reach", "answers as a file-list server"));
        tell(transport(&client, self.server.ca_file.is_some()));
        tell(clocks(greeting.skew));
        let refused_before = client.login_memory().refused();
        let found = match client.discover(self.candidates).await {
            Ok(found) => found,
            Err(error) => {
                tell(self.refused(&client, &error, refused_before, clock.now()));
                return;
            }
        };
        let account = client.me().await;
        tell(self.token(&client, account.as_ref().ok()));
        tell(rights(&account));
        tell(version(&found));
        tell(self.kinds(&found));
        let admin = account.is_ok_and(|account| account.is_admin());
        tell(self.settings(&client, admin).await);
    }

    fn no_client(&self, error: &StartError) -> Line {
        let line = match error {
            StartError::Secret {
                cause: cause @ (SecretError::Unset(_) | SecretError::NoCredentials(_)),
                ..
            } if self.daemon_runs => {
                let what = match cause {
                    SecretError::NoCredentials(name) => format!("the credential {name}"),
                    cause => secret(cause).detail.replace(" is not set", ""),
                };
                let detail = format!("{what} is not here; the running daemon has its own");
                let fix = "run doctor with what the service is given, such as `set -a; . \
                           /etc/taskwarden/environment` before it, to have the server asked too";
                return Line::warn("token", detail, fix);
            }
            StartError::Secret { cause, .. } => secret(cause),
            StartError::Client { cause, .. } => {
                let fix = format!("correct server `{}` in the rules file", self.server.name);
                Line::fail("reach", cause.to_string(), fix)
            }
            error => Line::fail("reach", error.to_string(), "correct the rules file"),
        };
        line.ending(Exit::Config)
    }

    /// Why nothing could be read with this token or login.
    fn refused(&self, client: &Client, error: &Error, refused_before: u32, now: Timestamp) -> Line {
        let by_token = matches!(self.server.auth, AuthConfig::Token(_));
        match error {
            Error::AuthRefused { .. } if by_token => {
                let expired = client.token_claims().and_then(|claims| claims.expires);
                let line = if let Some(expired) = expired.filter(|expired| *expired <= now) {
                    let detail = format!("the token is a login's, and ended at {expired}");
                    Line::fail("token", detail, LASTING)
                } else {
                    let fix = "copy the token again from the server's settings (Other: Token), \
                               without a `Bearer` before it";
                    Line::fail("token", "the server refuses the token (401)", fix)
                };
                line.ending(Exit::Unreached)
            }
            Error::AuthRefused { reason, .. } => {
                let refused = client.login_memory().refused();
                let (detail, fix) = if refused > refused_before {
                    (format!("{reason} (one login was tried)"), CREDENTIALS)
                } else if refused > 0 {
                    let detail = "no login was tried, because the daemon remembers that";
                    let times = if refused == 1 { "one was" } else { "several were" };
                    (format!("{detail} {times} refused: {reason}"), CREDENTIALS)
                } else {
                    let fix = "see in the server's pages that the user is neither disabled nor the \
                               guest";
                    (reason.clone(), fix)
                };
                Line::fail("token", detail, fix).ending(Exit::Unreached)
            }
            Error::LoginLocked { until, .. } => {
                let detail =
                    format!("the server has locked logins from this address until {until}");
                let fix = "wait until then without any try, or restart the server; correct the \
                           credentials before";
                Line::fail("token", detail, fix).ending(Exit::Unreached)
            }
            Error::Secret { source, .. } => secret(source),
            Error::Unreachable { .. } | Error::Lost { .. } | Error::Redirected { .. } => {
                unreached(error).ending(Exit::Unreached)
            }
            error => {
                let fix = "see that `url` is the server's own address, prefix included, and that \
                           the server is not too old to have tasks";
                Line::fail("kinds", error.to_string(), fix).ending(Exit::Unreached)
            }
        }
    }

    fn token(&self, client: &Client, account: Option<&Account>) -> Line {
        let of = account.map_or_else(String::new, |account| format!(" of user `{}`", account.name));
        let claims = client.token_claims();
        let expires = claims.as_ref().and_then(|claims| claims.expires);
        match (&self.server.auth, claims) {
            (AuthConfig::Password { .. }, _) => {
                let until = expires.map_or_else(String::new, |until| format!(" until {until}"));
                Line::ok(
                    "token",
                    format!("a login{of} is accepted; it lasts{until} and is renewed by itself"),
                )
            }
            (AuthConfig::Token(_), None) => {
                Line::ok("token", format!("the static token{of} is accepted; it does not expire"))
            }
            (AuthConfig::Token(_), Some(_)) => {
                let until = expires
                    .map_or_else(|| "sooner or later".to_owned(), |until| format!("at {until}"));
                let detail = format!("the token{of} is a login's: it expires {until}");
                Line::warn("token", detail, LASTING)
            }
        }
    }

    fn kinds(&self, found: &Discovery) -> Line {
        let names = |kinds: &[Kind]| kinds.iter().map(Kind::as_str).collect::<Vec<_>>().join(", ");
        let mut detail = names(&found.kinds);
        if found.base == Base::Legacy {
            detail.push_str("; under the old paths /api/admin/task");
        }
        if !found.unsure.is_empty() {
            let detail = format!("{detail}; not known whether {}", names(&found.unsure));
            return Line::warn("kinds", detail, "look again when the server is less busy");
        }
        let lacking: Vec<Kind> =
            self.server.kinds.iter().filter(|kind| !found.kinds.contains(kind)).cloned().collect();
        if !lacking.is_empty() {
            let detail =
                format!("{detail}; but not {}, which the rules file adds", names(&lacking));
            return Line::warn("kinds", detail, "correct `kinds:` of this server");
        }
        Line::ok("kinds", detail)
    }

    /// The settings that matter. Both servers keep `allow_retry_canceled` and the persistence of
    /// tasks in their `config.json`, which no call shows; should one list the former, it is told.
    async fn settings(&self, client: &Client, admin: bool) -> Line {
        let settings = if admin { client.task_settings().await.ok() } else { None };
        let settings = settings.unwrap_or_default();
        let allowed = settings
            .iter()
            .find(|(key, _)| key.contains("allow_retry_canceled"))
            .map(|(_, value)| value == "true");
        let workers: Vec<String> = settings
            .iter()
            .filter_map(|(key, value)| {
                Some(format!("{} {value}", key.strip_suffix("_task_threads_num")?))
            })
            .collect();
        let mut parts = Vec::new();
        if !workers.is_empty() {
            parts.push(format!("workers: {}", workers.join(", ")));
        }
        let (shown, hidden) = match allowed {
            Some(allowed) => (Some(allowed), "the persistence of tasks stands"),
            None => (None, "allow_retry_canceled and the persistence of tasks stand"),
        };
        parts.extend(shown.map(|allowed| format!("allow_retry_canceled: {allowed}")));
        parts.push(format!("{hidden} in the server's config.json, which cannot be read from here"));
        let detail = parts.join("; ");
        let rules = &self.config.rules.rules;
        let wants = rules
            .iter()
            .find(|rule| rule.action.effect() == Effect::Retry && rule.asks_for_canceled());
        match wants {
            Some(rule) if allowed != Some(true) => {
                let detail = format!("{detail}; rule `{}` retries canceled tasks", rule.name);
                let fix = "servers retry canceled tasks only with `tasks.allow_retry_canceled: true` \
                           in their `config.json`; see that it is so";
                Line::warn("settings", detail, fix)
            }
            _ => Line::ok("settings", detail),
        }
    }
}

/// What to do about a login that is refused.
const CREDENTIALS: &str = "correct `username`, `password` or `totp`; a server locks the address at the \
                           fifth wrong login, and each run of this command may send one";

/// What to do about a token that will end.
const LASTING: &str = "use the server's static token, which does not expire, or `username` and \
                       `password`, with which the daemon logs in anew";

fn secret(error: &SecretError) -> Line {
    let fix = match error {
        SecretError::NoCredentials(_) => {
            "add the line to the unit, or use `{ file: PATH }` outside of a service"
        }
        SecretError::Unset(_) => "set it where the daemon starts, or name a file",
        SecretError::Unreadable { .. } => "put the secret there, for the daemon's user to read",
        SecretError::Empty(_) | SecretError::Unusable(..) => {
            "put the secret there, and nothing else"
        }
    };
    let detail = match error {
        SecretError::Unset(name) => format!("the environment variable {name} is not set"),
        error => error.to_string(),
    };
    Line::fail("token", detail, fix)
}

fn unreached(error: &Error) -> Line {
    let fix = match error {
        Error::Unreachable { cause, .. } if cause.contains("certificate") => {
            "name the authority's PEM file with `ca_file:`, or give the server a certificate for \
             this name that is valid now"
        }
        Error::Unreachable { .. } => {
            "see that the server runs, and that `url` and the network are right"
        }
        Error::Lost { .. } => {
            "look at the server and at proxies before it; a slow one may need a longer `timeout`"
        }
        Error::Redirected { .. } => "set `url` to the address that it redirects to",
        Error::Unexpected { oddity: Oddity::HttpError, .. } => {
            "look at the proxy before the server, and at the server behind it"
        }
        _ => "see that `url` is the server's own address, prefix included",
    };
    Line::fail("reach", error.to_string(), fix)
}

fn transport(client: &Client, own_authority: bool) -> Line {
    match client.transport() {
        Transport::Tls if own_authority => {
            Line::ok("tls", "the certificate is accepted, by the system's authorities or `ca_file`")
        }
        Transport::Tls => Line::ok("tls", "the certificate is accepted"),
        Transport::Loopback => {
            Line::ok("tls", "none, and none is needed on this machine's loopback")
        }
        Transport::Clear => Line::warn(
            "tls",
            "none: token and names travel in clear",
            "use https, unless the whole way to the server is trusted",
        ),
    }
}

fn clocks(skew: Option<SignedDuration>) -> Line {
    let Some(skew) = skew else {
        return Line::ok("clock", "the server does not tell its time");
    };
    let seconds = skew.as_secs().unsigned_abs();
    if skew.abs() <= SKEW {
        return Line::ok("clock", "the server's and this machine's agree");
    }
    let side = if skew.is_negative() { "behind" } else { "ahead of" };
    let detail = format!("the server's is {seconds} s {side} this machine's");
    Line::warn("clock", detail, "set both by NTP; times of tasks are corrected meanwhile")
}

fn rights(account: &Result<Account, Error>) -> Line {
    match account {
        Ok(account) if account.is_admin() => {
            Line::ok("rights", format!("`{}` is an admin: all tasks are seen", account.name))
        }
        Ok(account) => {
            let detail = format!("`{}` is no admin, and sees only their own tasks", account.name);
            let fix = "use the static token or an admin's login, unless that is what is meant";
            Line::warn("rights", detail, fix)
        }
        Err(error) => {
            let detail = format!("the server does not say who the user is: {error}");
            let fix = "see in the server's pages that the user is an admin";
            Line::warn("rights", detail, fix)
        }
    }
}

fn version(found: &Discovery) -> Line {
    let version = found.version.as_deref().unwrap_or("which it does not tell");
    match found.flavour {
        Flavour::Unknown => Line::warn(
            "version",
            format!("neither AList nor OpenList for sure; version {version}"),
            "canceled tasks and roles are told apart by the product; look at `plan` before you run",
        ),
        flavour => Line::ok("version", format!("{flavour}, version {version}")),
    }
}
