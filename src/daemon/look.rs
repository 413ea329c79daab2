//! Looking at a server: which kinds it has, and what they list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::ambient::Clock;
use crate::engine::memory::Snapshot;
use crate::engine::task::{Flavour, Kind, ServerName};
use crate::telemetry::{Event, Sink};
use crate::upstream::{self, Client, Discovery, Reader};

/// How many kinds of one server are read at a time.
const READS_AT_ONCE: usize = 4;

/// How often the kinds of a server are looked for anew.
const DISCOVER_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// An answer that took this long says little about the server's clock.
const SLOW_ANSWER: std::time::Duration = std::time::Duration::from_secs(4);

/// After how many looks in vain a kind that was there counts as gone.
const MISSED_FOR_GOOD: u32 = 3;

/// A difference of clocks that is not worth correcting: the `Date` header has whole seconds.
const SKEW_FLOOR: SignedDuration = SignedDuration::from_secs(2);

/// What looks at one server, and remembers what kind of server it is.
pub struct Eye {
    server: ServerName,
    client: Arc<Client>,
    clock: Clock,
    sink: Sink,
    kinds: BTreeSet<Kind>,
    extra_kinds: Vec<Kind>,
    flavour: Flavour,
    discovered_at: Option<Timestamp>,
    skew: SignedDuration,
    unread: BTreeSet<Kind>,
    /// What was read of each kind that could be read at the last look.
    readers: BTreeMap<Kind, Reader>,
    /// How many looks for kinds in a row did not find a kind that was there.
    missed: BTreeMap<Kind, u32>,
}

impl Eye {
    /// Nothing is asked yet. `extra_kinds` are looked for beside the known ones.
    #[must_use]
    pub fn new(
        server: ServerName,
        client: Arc<Client>,
        extra_kinds: Vec<Kind>,
        clock: Clock,
        sink: Sink,
    ) -> Self {
        Self {
            server,
            client,
            clock,
            sink,
            kinds: BTreeSet::new(),
            extra_kinds,
            flavour: Flavour::Unknown,
            discovered_at: None,
            skew: SignedDuration::ZERO,
            unread: BTreeSet::new(),
            readers: BTreeMap::new(),
            missed: BTreeMap::new(),
        }
    }

    /// Tells that the server is there, and what it is.
    pub fn announce(&self) {
        self.sink.emit(&Event::ServerReached {
            server: self.server.clone(),
            flavour: self.flavour,
            kinds: self.kinds.iter().cloned().collect(),
        });
    }

    /// Whether it is known what the server is.
    #[must_use]
    pub fn knows_the_server(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// Reads every kind the server has.
    ///
    /// # Errors
    ///
    /// When the server as a whole cannot be read.
    pub async fn look(&mut self) -> Result<Snapshot, upstream::Error> {
        let now = self.clock.now();
        let stale =
            self.discovered_at.is_none_or(|at| now.duration_since(at).abs() > DISCOVER_EVERY);
        if stale {
            let known = Kind::KNOWN.into_iter().chain(self.extra_kinds.iter().cloned());
            match self.client.discover(&known.collect::<Vec<_>>()).await {
                Ok(found) => self.learn(found, now),
                // What was known before serves until the next look.
                Err(error) if self.kinds.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        let reads = self.kinds.iter().cloned().map(|kind| {
            let client = Arc::clone(&self.client);
            let mut reader = self.readers.remove(&kind).unwrap_or_default();
            async move {
                let list = client.list_again(&kind, &mut reader).await;
                (kind, list, reader)
            }
        });
        let reads: Vec<_> = reads.collect();
        let lists: Vec<_> =
            futures_util::stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        let (mut kinds, mut unread) = (BTreeMap::new(), BTreeMap::new());
        let mut first_error = None;
        let mut skew: Option<(std::time::Duration, SignedDuration)> = None;
        for (kind, list, reader) in lists {
            match list {
                Ok(list) => {
                    self.readers.insert(kind.clone(), reader);
                    // The clock was read somewhere between question and answer, so the quickest
                    // answer tells the most; a slow one tells too little.
                    if let Some(date) = list.date
                        && list.roundtrip < SLOW_ANSWER
                        && skew.is_none_or(|(roundtrip, _)| list.roundtrip < roundtrip)
                    {
                        let half = SignedDuration::try_from(list.roundtrip / 2).unwrap_or_default();
                        let measured = date.duration_since(list.read_at) - half;
                        skew = Some((list.roundtrip, measured));
                    }
                    kinds.insert(kind, list.tasks);
                }
                Err(error) => {
                    // The kind may have gone with a change of the server, or a page of a proxy only
                    // looks so: the kinds are looked for anew.
                    if matches!(error, upstream::Error::KindAbsent { .. }) {
                        self.discovered_at = None;
                    }
                    unread.insert(kind, error.to_string());
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error
            && kinds.is_empty()
        {
            return Err(error);
        }
        if let Some((_, skew)) = skew {
            self.note_skew(skew);
        }
        let now_unread: BTreeSet<Kind> = unread.keys().cloned().collect();
        for (kind, error) in &unread {
            if !self.unread.contains(kind) {
                let (server, kind, error) = (self.server.clone(), kind.clone(), error.clone());
                self.sink.emit(&Event::KindUnread { server, kind, error });
            }
        }
        self.unread = now_unread;
        let (server, flavour) = (self.server.clone(), self.flavour);
        Ok(Snapshot { server, flavour, skew: self.skew, kinds, unread })
    }

    /// Takes in which kinds the server has; a look that was cut short tells less than a whole one.
    fn learn(&mut self, found: Discovery, now: Timestamp) {
        let mut whole = found.unsure.is_empty();
        let mut kinds: BTreeSet<Kind> = found.kinds.into_iter().collect();
        kinds.extend(found.unsure.into_iter().filter(|kind| self.kinds.contains(kind)));
        self.missed.retain(|kind, _| !kinds.contains(kind));
        for kind in &self.kinds {
            if kinds.contains(kind) {
                continue;
            }
            // One stray web page is not the end of a kind that was there.
            let times = self.missed.entry(kind.clone()).or_default();
            *times += 1;
            if *times < MISSED_FOR_GOOD {
                kinds.insert(kind.clone());
                whole = false;
            }
        }
        let flavour = match found.flavour {
            Flavour::Unknown => self.flavour,
            known => known,
        };
        let news = kinds != self.kinds || flavour != self.flavour;
        (self.kinds, self.flavour) = (kinds, flavour);
        if news {
            self.announce();
        }
        self.readers.retain(|kind, _| self.kinds.contains(kind));
        self.discovered_at = whole.then_some(now);
    }

    /// Moves along with our clock, which was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        if let Some(at) = &mut self.discovered_at {
            *at = at.saturating_add(by).unwrap_or(*at);
        }
    }

    fn note_skew(&mut self, measured: SignedDuration) {
        let measured = if measured.abs() <= SKEW_FLOOR { SignedDuration::ZERO } else { measured };
        if (measured - self.skew).abs() > SKEW_FLOOR {
            self.skew = measured;
            let (server, seconds) = (self.server.clone(), measured.as_secs());
            self.sink.emit(&Event::ClockSkew { server, seconds });
        }
    }
}
