//! A history as JSON lines: one operation, watch response, fault or final state a line.

use std::io::{self, Write};

use serde::Serialize;

use super::History;

#[derive(Serialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line<'a> {
    Base { revision: i64 },
    Op { op: &'a super::Op },
    Fault { fault: &'a super::Fault },
    Watch { watcher: usize, name: &'a str, seen: &'a super::WatchSeen },
    Final { state: &'a super::FinalState },
}

/// Writes the history, oldest first within each kind of line.
pub fn write_json_lines(history: &History, out: &mut impl Write) -> io::Result<()> {
    write_line(out, &Line::Base { revision: history.base_revision })?;
    for op in &history.ops {
        write_line(out, &Line::Op { op })?;
    }
    for fault in &history.faults {
        write_line(out, &Line::Fault { fault })?;
    }
    for watch in &history.watches {
        for seen in &watch.seen {
            write_line(out, &Line::Watch { watcher: watch.watcher, name: &watch.name, seen })?;
        }
    }
    for state in &history.finals {
        write_line(out, &Line::Final { state })?;
    }
    out.flush()
}

fn write_line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
