//! Whether this build can simulate: the command, and the program that it starts for each seed.

use std::path::{Path, PathBuf};

use anyhow::bail;
use tokio::process::Command;

/// The name of the simulator's program.
const PROGRAM: &str = "orlop-sim";

/// Where the simulator is, or why there are no simulated rounds.
///
/// # Errors
/// If one was named that cannot be used.
pub(super) async fn find(
    program: &Path,
    named: Option<&Path>,
    seeds: u64,
) -> anyhow::Result<Result<PathBuf, String>> {
    if seeds == 0 {
        return Ok(Err("--sim-seeds is 0".to_owned()));
    }
    let simulator = named.map_or_else(|| program.with_file_name(PROGRAM), Path::to_owned);
    let why = if !simulator.is_file() {
        format!("there is no {} (make sim builds one; --simulator says where)", simulator.display())
    } else if !is_command(program).await {
        "this build has no `orlop chaos sim --summary`".to_owned()
    } else {
        return Ok(Ok(simulator));
    };
    if named.is_some() {
        bail!("--simulator: {why}");
    }
    Ok(Err(why))
}

async fn is_command(program: &Path) -> bool {
    let help = Command::new(program).args(["chaos", "sim", "--help"]).output().await;
    help.is_ok_and(|help| {
        let text = String::from_utf8_lossy(&help.stdout);
        help.status.success() && text.contains("--summary")
    })
}
