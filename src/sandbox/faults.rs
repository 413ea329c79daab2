//! Calls that go wrong on the way.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::rng::Rng;
use super::task::Endpoint;

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An HTTP error with a plain text body.
    Http5xx(u16, String),
    /// A proxy's HTML page with status 502.
    Http502Page,
    /// The connection is reset (a TCP RST).
    Reset,
    /// The answer breaks off half way, short of its `Content-Length`. Only ever after the operation.
    Truncate,
    /// The envelope says that the token is invalidated. Only ever before the operation.
    Code401,
    /// The envelope says that the user has not the right. Only ever before the operation.
    Code403,
    /// Nothing comes; after the given (real) time the connection is reset, without one never.
    Hang(Option<Duration>),
    /// The answer is right, but late by this much real time.
    Slow(Duration),
    /// HTTP 200 with a web page.
    WrongHtml,
    /// HTTP 200 with the right type and no body.
    EmptyBody,
    /// HTTP 200 with the right type and something that is not JSON.
    GarbageJson,
}

/// Whether something happens before an operation takes effect or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The operation has not taken effect, and with a fault never will.
    Before,
    /// The operation was carried out; with a fault, only its answer is lost.
    After,
}

impl Fault {
    fn phase(&self, wanted: Option<Phase>, rng: &mut Rng) -> Phase {
        match (self, wanted) {
            (Self::Truncate, _) => Phase::After,
            (Self::Code401 | Self::Code403, _) => Phase::Before,
            (_, Some(phase)) => phase,
            (_, None) if rng.chance(0.5) => Phase::Before,
            (_, None) => Phase::After,
        }
    }
}

/// The first line of a request, for choosing which ones go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path without the server's prefix and without the query.
    pub path: String,
    /// The kind, where the path is one of the task API.
    pub kind: Option<String>,
    /// The endpoint, where the path is one of the task API.
    pub endpoint: Option<Endpoint>,
}

/// Decides whether a request may go wrong.
type Only = Arc<dyn Fn(&RequestLine) -> bool + Send + Sync>;

/// Faults at random.
#[derive(Clone)]
pub struct FaultPlan {
    /// The share of requests that go wrong, 0 to 1.
    pub rate: f64,
    /// What can go wrong, each as likely as the others.
    pub faults: Vec<Fault>,
    /// Which requests may go wrong; all without it.
    pub only: Option<Only>,
    /// Before or after the operation; either, by the seed, without it.
    pub phase: Option<Phase>,
    /// Repeats the same draws: for each path by itself, so that the order in which requests that are
    /// made at once arrive makes no difference.
    pub seed: u64,
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan")
            .field("rate", &self.rate)
            .field("faults", &self.faults)
            .field("phase", &self.phase)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The faults that are set on a sandbox.
#[derive(Default)]
pub struct Faults {
    plan: Option<(FaultPlan, HashMap<String, Rng>)>,
    next: Vec<(Only, Fault, Phase)>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Faults {
    /// From now on, requests go wrong at random.
    pub fn plan(&mut self, plan: FaultPlan) {
        self.plan = Some((plan, HashMap::new()));
    }

    /// The next request that `only` picks goes wrong, once. [`Fault::Truncate`],
    /// [`Fault::Code401`] and [`Fault::Code403`] have a phase of their own.
    pub fn next(
        &mut self,
        only: impl Fn(&RequestLine) -> bool + Send + Sync + 'static,
        fault: Fault,
        phase: Phase,
    ) {
        self.next.push((Arc::new(only), fault, phase));
    }

    /// The next request to this endpoint goes wrong, once.
    pub fn next_call(&mut self, endpoint: Endpoint, fault: Fault, phase: Phase) {
        self.next(move |line| line.endpoint == Some(endpoint), fault, phase);
    }

    /// Nothing goes wrong any more.
    pub fn off(&mut self) {
        *self = Self::default();
    }

    pub(super) fn draw(&mut self, line: &RequestLine) -> Option<(Fault, Phase)> {
        if let Some(at) = self.next.iter().position(|(only, ..)| only(line)) {
            let (_, fault, phase) = self.next.remove(at);
            let phase = fault.phase(Some(phase), &mut Rng::new(0));
            return Some((fault, phase));
        }
        let (plan, draws) = self.plan.as_mut()?;
        let rng = draws.entry(line.path.clone()).or_insert_with(|| {
            let mix = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            Rng::new(line.path.bytes().fold(plan.seed, mix))
        });
        if plan.only.as_ref().is_some_and(|only| !only(line)) || !rng.chance(plan.rate) {
            return None;
        }
        let fault = plan.faults.get(rng.below(plan.faults.len()))?.clone();
        let phase = fault.phase(plan.phase, rng);
        Some((fault, phase))
    }
}
