//! The alert rules and the dashboard ask for metrics that there are.
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::collections::BTreeSet;

const METRICS: &str = include_str!("../src/telemetry/metrics.rs");
const ALERTS: &str = include_str!("../packaging/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../packaging/grafana/taskwarden.json");

/// The metrics that a text asks for.
fn asked(text: &str) -> BTreeSet<&str> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.match_indices("taskwarden_").map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())]
    });
    found.collect()
}

#[test]
fn what_is_asked_for_is_counted() {
    for (text, least) in [(ALERTS, 8), (DASHBOARD, 11)] {
        let asked = asked(text);
        assert!(asked.len() >= least, "{asked:?}");
        for name in asked {
            // What OpenMetrics puts behind the name: the sort and the unit.
            let bare = name.strip_prefix("taskwarden_").unwrap();
            let bare = ["_bucket", "_total"]
                .iter()
                .fold(bare, |bare, end| bare.strip_suffix(end).unwrap_or(bare));
            let without_unit = ["_seconds", "_bytes"]
                .iter()
                .fold(bare, |bare, end| bare.strip_suffix(end).unwrap_or(bare));
            let known = METRICS.contains(&format!("\"{bare}\""))
                || METRICS.contains(&format!("\"{without_unit}\""));
            assert!(known, "nothing counts `{name}`");
        }
    }
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["panels"].as_array().unwrap().len(), 12);
}
