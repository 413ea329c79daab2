//! Charts as SVG, from numbers alone. They say nothing that does not stand as text beside them, so they
//! are hidden from screen readers; colours come from the style sheet, by class.

use std::fmt::Write as _;

/// How wide and high a drawing is in its own units; the page stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;

/// A drawing with the numbers beside its axis.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Chart {
    /// The drawing.
    pub(super) svg: String,
    /// What its horizontal lines stand for, from the top down; the last is 0.
    pub(super) lines: Vec<u64>,
}

/// A round number of at least `most` to end an axis with, and how many equal steps lead to it.
fn axis(most: u64) -> (u64, u64) {
    let mut unit: u64 = 1;
    loop {
        for (top, steps) in [(1, 1), (2, 2), (4, 4), (5, 5)] {
            let Some(top) = unit.checked_mul(top) else { return (u64::MAX, 1) };
            if top >= most {
                return (top, if top == 1 { 1 } else { steps.max(2) });
            }
        }
        let Some(next) = unit.checked_mul(10) else { return (u64::MAX, 1) };
        unit = next;
    }
}

#[allow(clippy::cast_precision_loss, reason = "a drawing is not that exact")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

fn open(class: &str) -> String {
    format!(
        r#"<svg class="{class}" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">"#
    )
}

/// Draws the lines of the axis, and says what they stand for.
fn grid(svg: &mut String, top: u64, steps: u64) -> Vec<u64> {
    let mut lines = Vec::new();
    for step in 0..=steps {
        let y = HEIGHT * share(step, steps);
        let _ = write!(svg, r#"<path class="grid" d="M0 {y:.1}H{WIDTH}"/>"#);
        lines.push(top / steps * (steps - step));
    }
    lines
}

/// Areas upon each other over time. A point has the moment, in seconds, and a number for each class,
/// from the bottom up, or nothing where they are not known; a number holds until the next point. Nothing
/// is drawn for less than two points.
#[must_use]
pub(super) fn areas(points: &[(i64, Option<Vec<u64>>)], classes: &[&str]) -> Option<Chart> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let long = u64::try_from(last - first).ok().filter(|long| *long > 0)?;
    let x = |time: i64| WIDTH * share(u64::try_from(time - first).unwrap_or(0), long);
    let sums =
        points.iter().flat_map(|(_, counts)| counts).map(|counts| counts.iter().sum::<u64>());
    let (top, steps) = axis(sums.max().unwrap_or(0));
    let y = |count: u64| HEIGHT * (1.0 - share(count, top));
    let mut svg = open("plot");
    // What is not known is no zero.
    for unknown in points.chunk_by(|(_, a), (_, b)| a.is_none() && b.is_none()) {
        if let [(from, None), ..] = unknown {
            let next = points.iter().find(|(time, counts)| time > from && counts.is_some());
            let (from, to) = (x(*from), x(next.map_or(last, |(time, _)| *time)));
            let _ =
                write!(svg, r#"<path class="gap" d="M{from:.1} 0H{to:.1}V{HEIGHT}H{from:.1}Z"/>"#);
        }
    }
    let lines = grid(&mut svg, top, steps);
    // From the top down, so that each area is laid over the one above it, down to the ground.
    for (index, class) in classes.iter().enumerate().rev() {
        let known = || points.iter().flat_map(|(_, counts)| counts);
        if known().all(|counts| counts.get(index).is_none_or(|count| *count == 0)) {
            continue;
        }
        // The page has what they are filled with: `textures` in its template.
        let _ =
            write!(svg, r#"<path class="area {class}" fill="url(#fill-{class})" d="M0 {HEIGHT}"#);
        let mut before = 0;
        for (time, counts) in points {
            let height = counts.iter().flatten().take(index + 1).sum::<u64>();
            if height != before {
                let _ = write!(svg, "H{:.1}V{:.1}", x(*time), y(height));
            }
            before = height;
        }
        let _ = write!(svg, r#"H{WIDTH}V{HEIGHT}Z"/>"#);
    }
    svg.push_str("</svg>");
    Some(Chart { svg, lines })
}

/// Upright bars side by side.
#[must_use]
pub(super) fn columns(counts: &[u64]) -> Chart {
    let (top, steps) = axis(counts.iter().copied().max().unwrap_or(0));
    let mut svg = open("plot");
    let lines = grid(&mut svg, top, steps);
    let number = u64::try_from(counts.len()).unwrap_or(1);
    let each = WIDTH * share(1, number);
    for (index, count) in counts.iter().enumerate() {
        let height = HEIGHT * share(*count, top);
        if height > 0.0 {
            let x = WIDTH * share(u64::try_from(index).unwrap_or(0), number) + each * 0.12;
            let (y, width) = (HEIGHT - height, each * 0.76);
            let _ = write!(
                svg,
                r#"<rect class="column" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
            );
        }
    }
    svg.push_str("</svg>");
    Chart { svg, lines }
}

/// A lying bar that fills a share of its place with each class, from the left.
#[must_use]
pub(super) fn bar(parts: &[(u64, &str)], whole: u64) -> String {
    let mut svg = String::from(
        r#"<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">"#,
    );
    let mut from = 0.0;
    for (part, class) in parts.iter().filter(|(part, _)| *part > 0) {
        // What is there is seen, however little it is.
        let width = (100.0 * share(*part, whole)).max(0.8).min(100.0 - from);
        let _ = write!(
            svg,
            r#"<rect class="{class}" x="{from:.2}" y="0" width="{width:.2}" height="8"/>"#
        );
        from += width;
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_axis_ends_with_a_round_number() {
        for (most, expected) in [
            (0, (1, 1)),
            (1, (1, 1)),
            (2, (2, 2)),
            (3, (4, 4)),
            (5, (5, 5)),
            (7, (10, 2)),
            (23, (40, 4)),
            (100_000, (100_000, 2)),
            (u64::MAX, (u64::MAX, 1)),
        ] {
            assert_eq!(axis(most), expected, "{most}");
        }
    }

    #[test]
    fn areas_lie_upon_each_other() {
        let points = [
            (0, Some(vec![1, 2, 0])),
            (60, Some(vec![1, 0, 0])),
            (90, Some(vec![1, 0, 0])),
            (100, None),
            (120, Some(vec![0, 4, 0])),
            (160, Some(vec![0, 1, 1])),
        ];
        let chart = areas(&points, &["run", "bad", "ok"]).unwrap();
        insta::assert_snapshot!(chart.svg.replace("><", ">\n<"));
        assert_eq!(chart.lines, [4, 3, 2, 1, 0]);
        assert_eq!(areas(&points[..1], &["run", "bad", "ok"]), None);
        assert_eq!(areas(&[], &["run"]), None);
    }

    #[test]
    fn columns_stand_side_by_side() {
        let chart = columns(&[0, 3, 10]);
        insta::assert_snapshot!(chart.svg.replace("><", ">\n<"));
        assert_eq!(chart.lines, [10, 5, 0]);
    }

    #[test]
    fn a_bar_is_filled_by_its_parts() {
        insta::assert_snapshot!(bar(&[(1, "ok"), (0, "run"), (2, "bad")], 4).replace("><", ">\n<"));
    }

    proptest! {
        #[test]
        fn any_numbers_can_be_drawn(
            counts in prop::collection::vec(prop::collection::vec(0..=u64::MAX / 4, 3), 0..9),
            times in prop::collection::vec(any::<i32>(), 9),
        ) {
            let mut times = times;
            times.sort_unstable();
            let points: Vec<_> =
                times.iter().map(|time| i64::from(*time)).zip(counts.iter().cloned().map(Some)).collect();
            let all: Vec<u64> = counts.concat();
            let drawn = [
                areas(&points, &["a", "b", "c"]).map_or(String::new(), |chart| chart.svg),
                columns(&all).svg,
                bar(&[(all.first().copied().unwrap_or(0), "a")], 3),
            ];
            for svg in drawn {
                prop_assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("=\"-"), "{svg}");
            }
        }
    }
}
