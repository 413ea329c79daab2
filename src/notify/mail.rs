//! Messages as e-mail.

use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret;

use super::service::{Address, NotSent, causes};
use crate::engine::message::{MailSafety, MailServer, Message};

/// The longest that one step of the conversation may take.
const STEP: Duration = Duration::from_secs(20);
/// The longest that all of it may take.
const WHOLE: Duration = Duration::from_secs(60);

/// Tells other programs not to answer, as RFC 3834 has it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Hands a message to a mail server; tells what that answered.
///
/// # Errors
///
/// Why it was not taken, or may not have been.
pub(super) async fn send(address: &Address, message: &Message) -> Result<String, NotSent> {
    let mail = mail(address, message)?;
    let transport = transport(address)?;
    let sent = tokio::time::timeout(WHOLE, transport.send(mail)).await;
    let answer = sent
        .map_err(|_| NotSent::new(format!("no end after {} seconds", WHOLE.as_secs())))?
        .map_err(|error| NotSent::new(causes(&error)))?;
    let said: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), said.join(" ")).trim_end().to_owned())
}

fn mail(address: &Address, message: &Message) -> Result<Mail, NotSent> {
    let mailbox = |text: &str| {
        let read = text.parse::<Mailbox>();
        read.map_err(|error| NotSent::new(format!("`{text}` is no address of mail: {error}")))
    };
    let from = address.from.as_deref().ok_or_else(|| NotSent::new("the target has no `from`"))?;
    let mut from = mailbox(from)?;
    from.name.get_or_insert_with(|| "taskwarden".to_owned());
    let mut mail = Mail::builder()
        .from(from)
        .subject(message.title.as_str())
        .message_id(None)
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for to in &address.to {
        mail = mail.to(mailbox(to)?);
    }
    mail.body(format!("{}\n", message.text)).map_err(|error| NotSent::new(causes(&error)))
}

fn transport(address: &Address) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotSent> {
    let url = address.url.as_ref().ok_or_else(|| NotSent::new("the target has no `url`"))?;
    let server: MailServer = url.expose_secret().parse().map_err(NotSent::new)?;
    let tls =
        || TlsParameters::new(server.host.clone()).map_err(|error| NotSent::new(causes(&error)));
    let safety = match server.safety {
        MailSafety::Tls => Tls::Wrapper(tls()?),
        MailSafety::StartTls => Tls::Required(tls()?),
        MailSafety::None => Tls::None,
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        .port(server.port)
        .tls(safety)
        .timeout(Some(STEP));
    if let (Some(username), Some(password)) = (&address.username, &address.password) {
        if server.is_open() {
            return Err(NotSent::new(MailServer::OPEN));
        }
        let password = password.expose_secret().to_owned();
        transport = transport.credentials(Credentials::new(username.clone(), password));
    }
    Ok(transport.build())
}
