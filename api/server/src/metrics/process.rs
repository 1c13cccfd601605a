//! What the system says of this process, and what it is: read when somebody asks.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;

/// Ticks of the clock in which the system counts a process' time: the same on all that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The metrics that every process of Go has.
#[derive(Debug)]
pub(super) struct Process;

/// What was read; what cannot be is left out.
#[derive(Debug, Default, PartialEq)]
struct Sample {
    cpu_seconds: Option<f64>,
    gauges: Vec<(&'static str, &'static str, f64)>,
}

fn sample() -> Sample {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut sample = of_texts(
        &read("/proc/self/stat"),
        &read("/proc/stat"),
        &read("/proc/self/status"),
        &read("/proc/self/limits"),
    );
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 files")]
        let open = open.count() as f64;
        sample.gauges.push(("process_open_fds", "Number of open file descriptors", open));
    }
    sample
}

fn of_texts(own: &str, system: &str, status: &str, limits: &str) -> Sample {
    let mut sample = Sample::default();
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    // The name of the process, in parentheses, may have blanks and parentheses of its own.
    let fields: Vec<&str> =
        own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number_of: usize| number(fields.get(number_of - 3).copied());
    if let (Some(user), Some(kernel)) = (field(14), field(15)) {
        sample.cpu_seconds = Some((user + kernel) / TICKS_PER_SECOND);
    }
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
    if let (Some(booted), Some(started)) = (number(booted), field(22)) {
        let help = "Start time of the process since the epoch, in seconds";
        let started = booted + started / TICKS_PER_SECOND;
        sample.gauges.push(("process_start_time_seconds", help, started));
    }
    for (name, line, help) in [
        ("process_resident_memory_bytes", "VmRSS:", "Resident memory size in bytes"),
        ("process_virtual_memory_bytes", "VmSize:", "Virtual memory size in bytes"),
    ] {
        let found = status.lines().find_map(|one| one.strip_prefix(line));
        let kibibytes = number(found.and_then(|rest| rest.split_whitespace().next()));
        sample.gauges.extend(kibibytes.map(|found| (name, help, found * 1024.0)));
    }
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = number(files.and_then(|rest| rest.split_whitespace().next()));
    let help = "Maximum number of open file descriptors";
    sample.gauges.extend(files.map(|found| ("process_max_fds", help, found)));
    sample
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let sample = sample();
        if let Some(seconds) = sample.cpu_seconds {
            let metric = ConstCounter::new(seconds);
            let help = "Total user and system CPU time spent in seconds";
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        }
        for (name, help, value) in sample.gauges {
            let metric = ConstGauge::new(value);
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let build = Info::new(vec![
            ("major", "1"),
            ("minor", "36"),
            ("git_version", crate::handlers::GIT_VERSION),
            ("compiler", "rustc"),
        ]);
        let help = "What this process was built from";
        let kind = build.metric_type();
        build.encode(encoder.encode_descriptor("kubernetes_build", help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let fields: Vec<String> = (4..40).map(|number| number.to_string()).collect();
        let own = format!("12 (a) b) S {}", fields.join(" "));
        let read = of_texts(
            &own,
            "cpu 1\nbtime 1000\n",
            "VmSize:\t  10 kB\nVmRSS:\t 3 kB\n",
            "Limit Soft Hard Units\nMax open files            20000                20000 files\n",
        );
        assert_eq!(read.cpu_seconds, Some(0.29));
        let wanted = [1000.22, 3072.0, 10240.0, 20000.0];
        assert_eq!(read.gauges.len(), wanted.len());
        for ((name, _, value), wanted) in read.gauges.iter().zip(wanted) {
            assert!((value - wanted).abs() < 1e-6, "{name}: {value}");
        }
        assert_eq!(of_texts("", "", "", ""), Sample::default());
    }
}
