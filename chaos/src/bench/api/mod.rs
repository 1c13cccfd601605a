//! API servers under load: `orlop bench api`, of any Kubernetes API server or of two in turns.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | A request that failed, or whose answer does not show what was asked for, is in no |
//! |    | figure but the count of those. |
//! | A2 | Both servers are up all the time, and each round of one stands beside one of the other. |
//! | A3 | Every wait has a deadline, and nothing that was made is left behind. |

mod bring_up;
mod crud;
mod figures;
mod flags;
mod lines;
mod list;
mod objects;
mod processes;
mod report;
mod server;
mod watch;
mod wire;

pub use flags::{ApiFlags, ApiRow};

use std::io::Write as _;
use std::time::Instant;

use self::figures::Comparison;
use self::report::{Document, Failure};
use self::server::Server;
use self::wire::{Ask, Connection};

/// Runs the rows and returns the report: markdown, or JSON.
pub(super) async fn run(flags: &ApiFlags) -> anyhow::Result<String> {
    let flags = flags.clone().settled()?;
    let mut document = Document::begin(flags.rounds)?;
    for row in &flags.rows {
        let measured = Box::pin(measure(&flags, *row, &mut document)).await;
        match measured {
            Ok(comparisons) => document.comparisons.extend(comparisons),
            Err(error) => {
                let row = name(*row);
                progress(&format!("{row} failed: {error:#}"));
                document.failures.push(Failure { row, error: format!("{error:#}") });
            }
        }
        // What is known so far must not be lost with what is still to come.
        document.write(flags.report.as_deref())?;
    }
    if flags.wants_json() { document.json() } else { document.write(flags.report.as_deref()) }
}

/// Each row has its servers anew, as far as they are started: memory is of that row alone.
async fn measure(
    flags: &ApiFlags,
    row: ApiRow,
    document: &mut Document,
) -> anyhow::Result<Vec<Comparison>> {
    if row == ApiRow::B15 {
        return Box::pin(bring_up::run(flags)).await;
    }
    let servers = server::all(flags).await?;
    if document.servers.is_empty() {
        for server in &servers {
            document.servers.push((server.side.name(), version(server).await?));
        }
    }
    for server in &servers {
        objects::prepare(server).await?;
    }
    let measured = match row {
        ApiRow::B10 => Box::pin(crud::run(flags, &servers)).await,
        ApiRow::B11 => Box::pin(list::run(flags, &servers)).await,
        ApiRow::B12 | ApiRow::B15 => Box::pin(watch::run(flags, &servers)).await,
    };
    // A3, also of a row that failed.
    for server in &servers {
        if let Err(error) = objects::clean(server).await {
            progress(&format!("{} keeps what was made: {error:#}", server.side.name()));
        }
    }
    measured
}

/// What a server says of itself.
async fn version(server: &Server) -> anyhow::Result<String> {
    let mut connection = Connection::open(server).await?;
    let body = connection.call(Ask::get("/version")).await?.expect(&[200], "/version")?;
    let tree: serde_json::Value = serde_json::from_slice(&body)?;
    let text = |field: &str| tree[field].as_str().unwrap_or("unknown").to_owned();
    let commit = text("gitCommit");
    Ok(format!("{} ({commit})", text("gitVersion")))
}

fn name(row: ApiRow) -> &'static str {
    match row {
        ApiRow::B10 => "B10",
        ApiRow::B11 => "B11",
        ApiRow::B12 => "B12",
        ApiRow::B15 => "B15",
    }
}

/// Tells on standard error what is under way. Nobody listening is no reason to stop.
fn progress(what: &str) {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    drop(writeln!(std::io::stderr(), "[{seconds:>4} s] {what}"));
}
