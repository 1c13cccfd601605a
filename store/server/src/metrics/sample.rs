//! What is not kept, but looked up when somebody asks; and the older of the two text formats.

use std::{
    fmt::Write as _,
    fs,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

static STARTED: LazyLock<f64> = LazyLock::new(|| {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
});

/// Counters of etcd's whose names do not end as those of counters do.
const BARE: [&str; 8] = [
    "etcd_network_snapshot_receive_failures",
    "etcd_network_snapshot_receive_success",
    "etcd_network_snapshot_send_failures",
    "etcd_network_snapshot_send_success",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_learner_promote_failures",
    "etcd_server_learner_promote_successes",
];

/// From OpenMetrics to the format before it, which etcd speaks and every tool reads: there, the type
/// of a counter is said of its whole name, and a bound is written as short as it can be.
pub(super) fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    // A counter's help comes before its type, so one line is held back.
    let mut help: Option<(&str, &str)> = None;
    let mut bare = false;
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        else {
            if bare {
                out.push_str(&line.replacen("_total", "", 1));
            } else if line.contains(".0\"} ") && line.contains("_bucket{") {
                out.push_str(&line.replacen(".0\"} ", "\"} ", 1));
            } else {
                out.push_str(line);
            }
            out.push('\n');
            continue;
        };
        bare = kind == "counter" && BARE.contains(&name);
        let total = if kind == "counter" && !bare { "_total" } else { "" };
        if let Some((_, text)) = help.take() {
            writeln!(out, "# HELP {name}{total} {text}").expect("a string takes everything");
        }
        let kind = if kind == "unknown" { "untyped" } else { kind };
        writeln!(out, "# TYPE {name}{total} {kind}").expect("a string takes everything");
    }
    out
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    let line = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    out.push_str(&line);
}

/// A metric that is looked up: its name, its labels, and its value, 1 where the labels say it all.
pub(crate) type Named = (&'static str, Vec<(&'static str, String)>, u8);

/// Metrics whose labels say most; those of one name follow each other.
pub(crate) fn named(list: &[Named]) -> String {
    let mut out = String::new();
    let mut last = "";
    for (name, labels, value) in list {
        if *name != last {
            out.push_str(&format!("# TYPE {name} gauge\n"));
            last = name;
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        out.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
    }
    out
}

/// A number of kibibytes in /proc/self/status.
fn kibibytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().split(' ').next()?.parse().ok()
}

/// A number of /proc/self/net/netstat: a line of names, and one of their values. As Prometheus'
/// libraries read it, it is of all processes that share the network's namespace.
fn octets(table: &str, name: &str) -> Option<f64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let at = lines.next()?.split(' ').position(|field| field == name)?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

/// The process as Prometheus' libraries describe theirs. Reads /proc.
pub(crate) fn process() -> String {
    let mut out = String::new();
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand files")]
    let open = open as f64;
    #[expect(clippy::cast_precision_loss, reason = "the sample is a float")]
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0.0, |(now, _)| now as f64);
    for (name, value, help) in [
        ("process_open_fds", open, "Number of open file descriptors."),
        ("process_max_fds", limit, "Maximum number of open file descriptors."),
        ("os_fd_used", open, "The number of used file descriptors."),
        ("os_fd_limit", limit, "The file descriptor limit."),
        ("process_start_time_seconds", *STARTED, "Start time since the epoch in seconds."),
    ] {
        metric(&mut out, name, "gauge", help, value);
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for (name, field, help) in [
            ("process_resident_memory_bytes", "VmRSS", "Resident memory size in bytes."),
            ("process_virtual_memory_bytes", "VmSize", "Virtual memory size in bytes."),
        ] {
            if let Some(size) = kibibytes(&status, field) {
                metric(&mut out, name, "gauge", help, size * 1024.0);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "the sample is a float")]
    let space = getrlimit(Resource::RLIMIT_AS).map_or(0.0, |(now, _)| now as f64);
    let help = "Maximum amount of virtual memory available in bytes.";
    metric(&mut out, "process_virtual_memory_max_bytes", "gauge", help, space);
    if let Ok(table) = fs::read_to_string("/proc/self/net/netstat") {
        for (name, field, help) in [
            (
                "process_network_receive_bytes_total",
                "InOctets",
                "Number of bytes received by the process over the network.",
            ),
            (
                "process_network_transmit_bytes_total",
                "OutOctets",
                "Number of bytes sent by the process over the network.",
            ),
        ] {
            if let Some(bytes) = octets(&table, field) {
                metric(&mut out, name, "counter", help, bytes);
            }
        }
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        #[expect(clippy::cast_precision_loss, reason = "the sample is a float")]
        let seconds = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0
        };
        let spent = seconds(usage.user_time()) + seconds(usage.system_time());
        let help = "Total user and system CPU time spent in seconds.";
        metric(&mut out, "process_cpu_seconds_total", "counter", help, spent);
    }
    out
}

/// Remembers when the process began.
pub(super) fn begin() {
    LazyLock::force(&STARTED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_whole_in_the_older_format() {
        let text = "# HELP a Some a.\n# TYPE a counter\na_total 1\n# HELP b Some b.\n\
                    # TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_total Some a.\n# TYPE a_total counter\na_total 1\n\
                        # HELP b Some b.\n# TYPE b gauge\nb 2\n";
        assert_eq!(older(text), expected);
    }

    #[test]
    fn the_process_is_described() {
        begin();
        let text = process();
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds"] {
            let line = text.lines().find(|line| line.starts_with(name)).expect(name);
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }
}
