//! Speaks with the running daemon, over the socket in its state folder; and without one does to the
//! state itself what it can.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;

use super::{Common, Exit, Failure, paths, runtime};
use crate::ambient::Clock;
use crate::daemon::control::{Done, check_names};
use crate::engine::memory::Memory;
use crate::engine::order::Order;
use crate::engine::task::ServerName;
use crate::store::{Lock, Store, WriteBatch, lock_of};
use crate::web::problem::Refused;
use crate::web::routes::{Asked, RELOAD, Status};
use crate::web::socket;

/// The longest that an answer is waited for: a loop heeds an order when it is done with its server,
/// which may hang.
const PATIENCE: Duration = Duration::from_secs(120);

fn config(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Config, error)
}

/// Whether a daemon works with the state folder.
fn is_running(dir: &Path) -> Result<bool, Failure> {
    let lock = lock_of(dir).with_context(|| format!("`{}` cannot be looked at", dir.display()));
    Ok(lock.map_err(config)? != Lock::Free)
}

/// How the daemon stands.
pub(super) fn status(common: &Common) -> Result<Status, Failure> {
    let dir = paths::state_dir(common)?;
    let (code, text) = call(&dir, None)?;
    answer(code, &text)
}

/// Has the daemon read its rules now; what changed, or the findings.
pub(super) fn reload(common: &Common) -> Result<Result<String, String>, Failure> {
    let dir = paths::state_dir(common)?;
    let (code, text) = call(&dir, Some((RELOAD, String::new())))?;
    let text = text.trim_end().to_owned();
    match code {
        200 => Ok(Ok(text)),
        422 => Ok(Err(text)),
        _ => Err(unexpected(code, &text)),
    }
}

/// Has an order carried out: by the daemon, or, when none runs, in the state that the next one will
/// find.
pub(super) fn order(
    common: &Common,
    server: Option<ServerName>,
    order: Order,
) -> Result<Vec<Done>, Failure> {
    let dir = paths::state_dir(common)?;
    if is_running(&dir)? {
        let body = serde_json::to_string(&Asked { server, order }).map_err(config)?;
        let (code, text) = call(&dir, Some(("/api/v1/orders", body)))?;
        return answer(code, &text);
    }
    let (_, rules) = paths::load_rules(common)?;
    let servers: Vec<_> = rules.servers.iter().map(|server| server.name.clone()).collect();
    let known: Vec<_> = rules.rules.rules.iter().map(|rule| rule.name.clone()).collect();
    check_names(&order, server.as_ref(), &servers, &known)
        .map_err(|refusal| Failure::new(Exit::Usage, refusal))?;
    let asked = server.map_or(servers, |server| vec![server]);
    let now = Clock::system().now();
    let store = Store::open(&dir).map_err(config)?;
    let (runtime, mut done) = (runtime()?, Vec::new());
    for server in asked {
        let mut memory = Memory::new(server.clone());
        memory.restore(store.reader().map_err(config)?.load(&server).map_err(config)?);
        let obeyed = memory.obey(&order, now);
        let mut batch = WriteBatch::new(server.clone());
        for obeyed in obeyed {
            let id = store.next_intent_id();
            batch.new_rows.push(order.row(&obeyed, id, now, &server, &rules.rules.revision));
            done.push(Done::new(&server, &order, obeyed));
        }
        batch.memory = Some(Arc::new(memory));
        runtime.block_on(store.write(batch)).map_err(config)?;
    }
    Ok(done)
}

fn answer<T: DeserializeOwned>(code: u16, text: &str) -> Result<T, Failure> {
    match code {
        200 => serde_json::from_str(text)
            .context("the daemon's answer is not understood; is it of another version?")
            .map_err(|error| Failure::new(Exit::Unreached, error)),
        404 | 503 => {
            let refused: Refused =
                serde_json::from_str(text).unwrap_or_else(|_| Refused { error: text.to_owned() });
            let exit = if code == 404 { Exit::Usage } else { Exit::Unreached };
            Err(Failure::new(exit, anyhow!(refused.error)))
        }
        _ => Err(unexpected(code, text)),
    }
}

fn unexpected(code: u16, text: &str) -> Failure {
    let error = anyhow!(
        "the daemon answers {code}: {}; is it of another version?",
        crate::engine::text::printable(text)
    );
    Failure::new(Exit::Unreached, error)
}

/// Asks the daemon; a path with a body is posted, and without one the status is read.
fn call(dir: &Path, post: Option<(&str, String)>) -> Result<(u16, String), Failure> {
    if !is_running(dir)? {
        let error = anyhow!(
            "no daemon works with the state folder `{}`; start one with `taskwarden run`, or name \
             its folder with --state-dir",
            dir.display()
        );
        return Err(Failure::new(Exit::Unreached, error));
    }
    runtime()?
        .block_on(socket::call(dir, post, PATIENCE))
        .map_err(|error| Failure::new(Exit::Unreached, error))
}
