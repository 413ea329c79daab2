//! `listen:`: where the metrics and the health checks are served.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::codes::Code;
use super::reader::{At, Place, Reader, shorten};
use super::servers::SecretRef;

/// Where the daemon listens, beside the socket in its state folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// The address.
    pub address: SocketAddr,
    /// What callers must show; there unless the address is this machine's own.
    pub token: Option<SecretRef>,
    /// The names under which it may be asked for, in small letters; empty for any that the token is
    /// shown under, and for none without a token.
    pub hosts: Vec<String>,
    /// Whether it only shows.
    pub read_only: bool,
}

impl Reader<'_> {
    pub(super) fn listen(&mut self, at: At<'_>) -> Option<ListenConfig> {
        let fields = self.fields(at.node, at.span, Place::Listen)?;
        let Some(address_at) = fields.get("address") else {
            self.report(Code::MissingKey, at.key_span, "`listen` does not say its `address`")
                .help("add `address: 127.0.0.1:9790`");
            return None;
        };
        let address = self.address(address_at);
        let token = fields.get("token").map(|at| self.secret(at));
        let hosts = fields.get("hosts").map(|at| self.list(at, Self::host));
        let read_only = fields.get("read_only").and_then(|at| self.bool(at)).unwrap_or(false);
        let address = address?;
        if token.is_none() && !address.ip().is_loopback() {
            let message = format!("anyone who reaches {address} could read it");
            self.report(Code::OpenListener, address_at.span, message)
                .help("add `token: { env: NAME }`, or listen on 127.0.0.1 only");
            return None;
        }
        let token = match token {
            Some(read) => Some(read?),
            None => None,
        };
        let hosts = match hosts {
            Some(read) => read?,
            None => Vec::new(),
        };
        Some(ListenConfig { address, token, hosts, read_only })
    }

    fn host(&mut self, at: At<'_>) -> Option<String> {
        let text = self.text(at)?;
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if text.is_empty() || !text.chars().all(name) {
            let message = format!("`{}` is no name of a machine", shorten(text));
            self.report(Code::InvalidAddress, at.span, message)
                .help("write it as it stands in a browser's address, without `http://` and port");
            return None;
        }
        Some(text.to_ascii_lowercase())
    }

    fn address(&mut self, at: At<'_>) -> Option<SocketAddr> {
        let text = self.text(at)?;
        // A port alone is on this machine only.
        let port = text.strip_prefix(':').unwrap_or(text);
        let parsed = text
            .parse()
            .ok()
            .or_else(|| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)))
            .or_else(|| {
                let port = text.strip_prefix("localhost:")?.parse().ok()?;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
            });
        if parsed.is_none() {
            let message = format!("`{}` is no address to listen on", shorten(text));
            self.report(Code::InvalidAddress, at.span, message)
                .help("write an IP address and a port, such as `127.0.0.1:9790` or `[::1]:9790`");
        }
        parsed
    }
}
