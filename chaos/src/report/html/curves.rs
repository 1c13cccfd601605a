//! Latency and throughput over time, over the faults.

use std::fmt::{self, Write as _};

use super::axis::{self, Axis, LEFT, PLOT, TOP};
use super::buckets::Bucket;
use crate::history::Fault;
use crate::report::words;

const HEIGHT: u32 = 170;

/// Writes how long acknowledged operations took: half of them, 99 of 100, and the slowest.
pub(super) fn latency(
    out: &mut String,
    axis: &Axis,
    buckets: &[Bucket],
    faults: &[Fault],
) -> fmt::Result {
    let all = buckets.iter().flat_map(|bucket| &bucket.latencies_ns);
    let (fastest, slowest) =
        all.fold((u64::MAX, 1), |(low, high), ns| (low.min((*ns).max(1)), high.max(*ns)));
    let decades = Decades::around(fastest.min(slowest), slowest);
    axis::open(out, axis, HEIGHT, "latency over time")?;
    axis::bands(out, axis, faults, (0, HEIGHT), None)?;
    for power in decades.low..=decades.high {
        let y = decades.y(10_u64.pow(power));
        writeln!(out, r#"<line class="grid" x1="0" y1="{y:.1}" x2="{PLOT}" y2="{y:.1}"/>"#)?;
    }
    for (class, share) in [("max", 1000), ("p99", 990), ("p50", 500)] {
        curve(out, axis, buckets, class, |bucket| Some(decades.y(bucket.quantile_ns(share)?)))?;
    }
    for bucket in buckets {
        let [Some(half), Some(most), Some(slowest)] =
            [500, 990, 1000].map(|share| bucket.quantile_ns(share))
        else {
            continue;
        };
        let title = format!(
            "{} ok sent from {} to {}: p50 {}, p99 {}, max {}",
            bucket.latencies_ns.len(),
            words::at(bucket.from_ns),
            words::at(bucket.to_ns),
            words::took(half),
            words::took(most),
            words::took(slowest)
        );
        hover(out, axis, bucket, &title)?;
    }
    axis::close(out, axis, HEIGHT, faults)?;
    for power in decades.low..=decades.high {
        let y = f64::from(TOP) + decades.y(10_u64.pow(power)) + 4.0;
        let name = words::decade(power);
        writeln!(out, r#"<text class="kind" x="{}" y="{y:.1}">{name}</text>"#, LEFT - 6)?;
    }
    out.push_str(axis::END);
    Ok(())
}

/// Writes how many operations ended in a second: acknowledged ones as areas upon each other, others
/// as bars.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
pub(super) fn throughput(
    out: &mut String,
    axis: &Axis,
    buckets: &[Bucket],
    faults: &[Fault],
) -> fmt::Result {
    let a_second = |count: u64, bucket: &Bucket| {
        count as f64 * 1e9 / (bucket.to_ns - bucket.from_ns).max(1) as f64
    };
    let parts = |bucket: &Bucket| {
        let Bucket { writes, reads, refused, unknown, .. } = bucket;
        [("writes", *writes), ("reads", *reads), ("refused", *refused), ("unknown", *unknown)]
    };
    let highest = buckets
        .iter()
        .map(|bucket| a_second(parts(bucket).iter().map(|(_, count)| count).sum(), bucket))
        .fold(1.0, f64::max);
    let step = round_step(highest / 4.0);
    let top = (highest / step).ceil() * step;
    let y = |rate: f64| f64::from(HEIGHT) * (1.0 - rate / top);

    axis::open(out, axis, HEIGHT, "operations a second over time")?;
    axis::bands(out, axis, faults, (0, HEIGHT), None)?;
    let lines: Vec<f64> = (0..=10).map(|n| f64::from(n) * step).filter(|at| *at <= top).collect();
    for at in &lines {
        let y = y(*at);
        writeln!(out, r#"<line class="grid" x1="0" y1="{y:.1}" x2="{PLOT}" y2="{y:.1}"/>"#)?;
    }
    for bucket in buckets {
        let (x, end) = (axis.x(bucket.from_ns), axis.x(bucket.to_ns));
        let mut below = 0;
        for (class, count) in parts(bucket).into_iter().filter(|(_, count)| *count > 0) {
            let from = y(a_second(below, bucket));
            below += count;
            let to = y(a_second(below, bucket));
            writeln!(
                out,
                r#"<rect class="{class}" x="{x:.1}" y="{to:.1}" width="{:.1}" height="{:.1}"/>"#,
                (end - x).max(0.5),
                from - to
            )?;
        }
        let counts = parts(bucket).map(|(class, count)| format!("{count} {class}")).join(", ");
        let (from, to) = (words::at(bucket.from_ns), words::at(bucket.to_ns));
        hover(out, axis, bucket, &format!("ended from {from} to {to}: {counts}"))?;
    }
    axis::close(out, axis, HEIGHT, faults)?;
    for at in lines {
        let place = f64::from(TOP) + y(at) + 4.0;
        writeln!(out, r#"<text class="kind" x="{}" y="{place:.1}">{at}/s</text>"#, LEFT - 6)?;
    }
    out.push_str(axis::END);
    Ok(())
}

/// A line that breaks where nothing was measured.
fn curve(
    out: &mut String,
    axis: &Axis,
    buckets: &[Bucket],
    class: &str,
    y: impl Fn(&Bucket) -> Option<f64>,
) -> fmt::Result {
    write!(out, r#"<path class="curve {class}" d=""#)?;
    let mut pen = 'M';
    for bucket in buckets {
        match y(bucket) {
            Some(y) => {
                // A step that stands alone is still seen: the line goes over its whole length.
                let (from, to) = (axis.x(bucket.from_ns), axis.x(bucket.to_ns));
                write!(out, "{pen}{from:.1} {y:.1}L{to:.1} {y:.1}")?;
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    writeln!(out, r#""/>"#)
}

fn hover(out: &mut String, axis: &Axis, bucket: &Bucket, title: &str) -> fmt::Result {
    let (from, to) = (axis.x(bucket.from_ns), axis.x(bucket.to_ns));
    writeln!(
        out,
        r#"<rect class="hover" x="{from:.1}" y="0" width="{:.1}"
height="{HEIGHT}"><title>{title}</title></rect>"#,
        to - from
    )
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|n| *n >= least).unwrap_or(10.0 * power)
}

/// A logarithmic scale between two powers of ten of nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Decades {
    low: u32,
    high: u32,
}

impl Decades {
    fn around(low: u64, high: u64) -> Self {
        let low = low.max(1).ilog10();
        let high = high.max(1).ilog10() + 1;
        Self { low, high: high.max(low + 1).min(18) }
    }

    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    fn y(&self, ns: u64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let share = ((ns.max(1) as f64).log10() - low) / (high - low);
        f64::from(HEIGHT) * (1.0 - share.clamp(0.0, 1.0))
    }
}
