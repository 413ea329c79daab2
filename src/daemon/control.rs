//! What people ask of the running daemon, and how its loops answer.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::order::{Obeyed, Order};
use crate::engine::rule::RuleSet;
use crate::engine::task::{Kind, RuleName, ServerName, TaskId};
use crate::rules::ListenConfig;

/// An order on its way to a server's loop.
#[derive(Debug)]
pub struct OrderRequest {
    /// What is asked for.
    pub order: Order,
    /// Who waits for the answer.
    pub reply: oneshot::Sender<Result<Vec<Done>, String>>,
}

/// One thing that was done because a person asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// Where.
    pub server: ServerName,
    /// What, as in the audit log.
    pub action: String,
    /// The rule.
    pub rule: RuleName,
    /// The queue of the task, where it is about one.
    pub kind: Option<Kind>,
    /// The task's id.
    pub task_id: Option<TaskId>,
    /// The task's name, secrets out.
    pub task_name: Option<String>,
    /// Why, or what was before.
    pub reason: String,
}

impl Done {
    /// What was done on a server.
    #[must_use]
    pub fn new(server: &ServerName, order: &Order, obeyed: Obeyed) -> Self {
        let letter = obeyed.letter;
        Self {
            server: server.clone(),
            action: order.name().to_owned(),
            rule: obeyed.rule,
            kind: letter.as_ref().map(|letter| letter.kind.clone()),
            task_id: letter.as_ref().and_then(|letter| letter.task_id.clone()),
            task_name: letter.map(|letter| letter.task_name),
            reason: obeyed.reason,
        }
    }
}

/// What is asked of the daemon as a whole.
#[derive(Debug)]
pub(super) enum Request {
    /// To read the rules file now; answered with what changed, or with the findings.
    Reload(oneshot::Sender<Result<String, String>>),
    /// To have one server's loop, or all of them, carry an order out.
    Order {
        server: Option<ServerName>,
        order: Order,
        reply: oneshot::Sender<Result<Vec<Done>, Refusal>>,
    },
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names what there is not.
    #[error("{0}")]
    Unknown(String),
    /// The daemon or one of its loops cannot do it now.
    #[error("{0}")]
    NotNow(String),
}

/// What is known of the daemon as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The rules file, if it follows one.
    pub config: Option<String>,
    /// The revision of the rules in force.
    pub revision: String,
    /// The names of the servers it looks after.
    pub servers: Vec<ServerName>,
    /// The names of its rules.
    pub rules: Vec<RuleName>,
    /// Where it listens, beside the socket in the state folder.
    #[serde(skip)]
    pub listen: Option<ListenConfig>,
    /// After how long without a look a server's loop is stuck.
    #[serde(skip)]
    pub stuck_after: SignedDuration,
}

/// A handle on the running daemon.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<DaemonStatus>,
    pub(super) rules: watch::Receiver<Arc<RuleSet>>,
}

const ENDING: &str = "the daemon is ending";

impl Control {
    /// Has the rules file read now; tells what changed, or the findings with which it was refused.
    ///
    /// # Errors
    ///
    /// The findings, or that the daemon cannot.
    pub async fn reload(&self) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Reload(reply)).await.map_err(|_| ENDING.to_owned())?;
        answer.await.map_err(|_| ENDING.to_owned())?
    }

    /// Has an order carried out by one server's loop, or by all of them.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn order(
        &self,
        server: Option<ServerName>,
        order: Order,
    ) -> Result<Vec<Done>, Refusal> {
        let ending = || Refusal::NotNow(ENDING.to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request::Order { server, order, reply };
        self.requests.send(request).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.borrow())
    }

    /// What is known of the daemon as a whole.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<DaemonStatus> {
        self.status.clone()
    }
}

/// Holds an order against the names that there are.
///
/// # Errors
///
/// What it names and there is not, with the names there are.
pub fn check_names(
    order: &Order,
    server: Option<&ServerName>,
    servers: &[ServerName],
    rules: &[RuleName],
) -> Result<(), Refusal> {
    let list = |names: Vec<&str>| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(server) = server
        && !servers.contains(server)
    {
        let known = list(servers.iter().map(ServerName::as_str).collect());
        return Err(Refusal::Unknown(format!("there is no server `{server}`; there is {known}")));
    }
    // A rule may be gone from the file and have dead letters all the same, or rest paused.
    if let Order::Pause { rule, .. } = order
        && !rules.contains(rule)
    {
        let known = list(rules.iter().map(RuleName::as_str).collect());
        return Err(Refusal::Unknown(format!("there is no rule `{rule}`; there is {known}")));
    }
    Ok(())
}
