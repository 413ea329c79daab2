//! The socket in the state folder, through which the commands speak with the running daemon. Only
//! the user who runs the daemon can reach it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use super::desk::Desk;
use super::routes;
use crate::ambient::http_client_builder;

/// Where the socket of a state folder is.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// Serves the commands until the daemon ends.
///
/// # Errors
///
/// When the socket cannot be made.
pub async fn serve(state_dir: &Path, desk: Desk) -> io::Result<()> {
    let path = path(state_dir);
    // The folder is locked by this process, so whoever made the old one is gone.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let router = routes::public().merge(routes::reloading()).merge(routes::owner());
    axum::serve(listener, router.with_state(desk)).await
}

/// The daemon does not answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the daemon does not answer on `{}`; it may be starting or ending, or the server it waits for \
     hangs; what was asked for may still be done when that is over",
    .path.display()
)]
pub struct NoAnswer {
    path: PathBuf,
    source: reqwest::Error,
}

/// Asks the daemon of a state folder: a path with a body is posted, and without one the status is
/// read. Returns the code and the text of the answer.
///
/// # Errors
///
/// When no answer comes within `patience`.
pub async fn call(
    state_dir: &Path,
    post: Option<(&str, String)>,
    patience: Duration,
) -> Result<(u16, String), NoAnswer> {
    let path = path(state_dir);
    let ask = async {
        let client = http_client_builder()
            .unix_socket(path.as_path())
            .no_proxy()
            .tls_certs_only([])
            .timeout(patience)
            .build()?;
        let request = match post {
            Some((path, body)) => client
                .post(format!("http://taskwarden{path}"))
                .header("content-type", "application/json")
                .body(body),
            None => client.get("http://taskwarden/api/v1/status"),
        };
        let answer = request.send().await?;
        let code = answer.status().as_u16();
        Ok((code, answer.text().await?))
    };
    let answered: Result<_, reqwest::Error> = ask.await;
    answered.map_err(|source| NoAnswer { path, source })
}
