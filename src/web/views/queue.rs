//! The queue by kind and state over time, for a chart.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::{count, moment};
use crate::engine::observe::{QueueSample, Sampler};
use crate::engine::task::{Kind, ServerName};
use crate::store::Reader;

/// Which of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueQuery {
    /// Only of this server.
    pub server: Option<String>,
    /// Only tasks of this kind.
    pub kind: Option<String>,
    /// Since then: a moment, a day, or a length of time ago; usually `24h`.
    pub since: Option<String>,
    /// Until then; usually now.
    pub until: Option<String>,
    /// So many moments: 2 to 500, usually 96.
    pub points: Option<u32>,
}

/// The queue over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueueView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// The moments, at even distances; the last is the end.
    pub times: Vec<Timestamp>,
    /// For each kind and state that any task was in: how many at each of the moments.
    pub series: Vec<Series>,
}

/// How many tasks of a kind were in a state, over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Series {
    /// The kind.
    pub kind: Kind,
    /// The state.
    pub state: String,
    /// A count for each moment; null where it is not known, since nobody looked or the server was
    /// away.
    pub counts: Vec<Option<u64>>,
}

/// Gathers it from the samples in the store, and from the board for the present.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub async fn queue(desk: &Desk, query: &QueueQuery) -> Result<QueueView, Problem> {
    let now = desk.clock.now();
    let since = moment("since", query.since.as_deref(), now, SignedDuration::from_hours(24))?;
    let until = moment("until", query.until.as_deref(), now, SignedDuration::ZERO)?.min(now);
    let points = count("points", query.points, 96, 500)?;
    if points < 2 {
        return Err(Problem::wrong("`points`: 1 is not from 2 to 500"));
    }
    if since >= until {
        return Err(Problem::wrong(format!("`since`: {since} is not before {until}")));
    }
    let times = moments(since, until, points);
    let wanted = |name: &ServerName| query.server.as_deref().is_none_or(|w| w == name.as_str());
    let servers: Vec<ServerName> = desk
        .control
        .status()
        .borrow()
        .servers
        .iter()
        .filter(|name| wanted(name))
        .cloned()
        .collect();
    if let Some(server) = query.server.as_deref()
        && servers.is_empty()
    {
        return Err(Problem::missing(format!("there is no server `{server}`")));
    }
    // The present, which the samples may be some minutes behind.
    let present: BTreeMap<ServerName, QueueSample> = desk
        .statuses()
        .iter()
        .filter(|status| status.time < until)
        .map(|status| {
            let tasks = status.away.is_none().then(|| status.tasks.clone());
            (status.server.clone(), QueueSample { time: status.time, tasks })
        })
        .collect();
    let kind: Option<Kind> = query.kind.as_deref().map(Into::into);
    let gather = move |reader: &Reader| {
        let mut sums = Sums::default();
        for server in &servers {
            let mut samples = reader.queue(server, since, until)?;
            if let Some(present) = present.get(server)
                && samples.last().is_none_or(|last| last.time < present.time)
            {
                samples.push(present.clone());
            }
            sums.add(&samples, &times, kind.as_ref());
        }
        Ok(QueueView { now, series: sums.series(times.len()), times })
    };
    desk.read(gather).await
}

/// `points` moments from `since` to `until` at even distances.
fn moments(since: Timestamp, until: Timestamp, points: u32) -> Vec<Timestamp> {
    let (from, to) = (since.as_microsecond(), until.as_microsecond());
    let step = i64::from(points.max(2) - 1);
    (0..=step)
        .filter_map(|at| Timestamp::from_microsecond(from + (to - from) / step * at).ok())
        .map(|moment| moment.min(until))
        .enumerate()
        .map(|(at, moment)| if at as u64 == step.unsigned_abs() { until } else { moment })
        .collect()
}

/// Counts of several servers, added up moment by moment.
#[derive(Default)]
struct Sums(BTreeMap<(Kind, String), BTreeMap<usize, u64>>, BTreeMap<Kind, Vec<usize>>);

impl Sums {
    /// Adds what stood at each of the moments.
    fn add(&mut self, samples: &[QueueSample], times: &[Timestamp], only: Option<&Kind>) {
        let mut at = 0;
        for (index, time) in times.iter().enumerate() {
            while samples.get(at + 1).is_some_and(|next| next.time <= *time) {
                at += 1;
            }
            let Some(sample) = samples.get(at).filter(|sample| sample.time <= *time) else {
                continue;
            };
            // A sample is due at least so often while somebody looks.
            let stands = Sampler::LATEST + Sampler::SOONEST;
            if time.duration_since(sample.time) > stands {
                continue;
            }
            for (kind, states) in sample.tasks.iter().flatten() {
                if only.is_some_and(|only| only != kind) {
                    continue;
                }
                let known = self.1.entry(kind.clone()).or_default();
                if known.last() != Some(&index) {
                    known.push(index);
                }
                for (state, count) in states {
                    let series = self.0.entry((kind.clone(), state.clone())).or_default();
                    *series.entry(index).or_default() += *count as u64;
                }
            }
        }
    }

    fn series(self, points: usize) -> Vec<Series> {
        let Self(sums, known) = self;
        let series = sums.into_iter().map(|((kind, state), sums)| {
            let mut counts = vec![None; points];
            for index in known.get(&kind).into_iter().flatten() {
                counts[*index] = Some(sums.get(index).copied().unwrap_or(0));
            }
            Series { kind, state, counts }
        });
        series.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + minute * 60).unwrap()
    }

    fn sample(minute: i64, failed: Option<usize>) -> QueueSample {
        let states = |failed| BTreeMap::from([("failed".to_owned(), failed)]);
        let tasks = failed.map(|failed| BTreeMap::from([(Kind::Copy, states(failed))]));
        QueueSample { time: at(minute), tasks }
    }

    #[test]
    fn a_sample_stands_until_the_next_but_not_over_a_gap() {
        let times = moments(at(0), at(300), 11);
        assert_eq!(times.len(), 11);
        assert_eq!((times[0], times[1], times[10]), (at(0), at(30), at(300)));
        let mut sums = Sums::default();
        sums.add(
            &[sample(20, Some(3)), sample(40, Some(5)), sample(100, None), sample(160, Some(0))],
            &times,
            None,
        );
        // Another server that was there at the end only.
        sums.add(&[sample(290, Some(7))], &times, None);
        let series = sums.series(times.len());
        assert_eq!(series.len(), 1);
        let expected =
            [None, Some(3), Some(5), Some(5), None, None, Some(0), Some(0), None, None, Some(7)];
        assert_eq!(series[0].counts, expected);
    }
}
