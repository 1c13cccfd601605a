//! `orlop-sim`: runs one seed, and says in one line of JSON what came of it. `orlop chaos sim` runs many.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use chaos::sim::Summary;
use chaos_sim::plan::Plan;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

#[derive(clap::Parser)]
struct Flags {
    /// The seed that everything follows from
    #[arg(long, required_unless_present = "plan")]
    seed: Option<u64>,
    /// A plan as `--show` prints it, instead of the seed's own
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    plan: Option<PathBuf>,
    /// Print the plan, and run nothing
    #[arg(long)]
    show: bool,
    /// Where the members' data lie; a folder that does not exist yet
    #[arg(long, value_name = "DIR", required_unless_present = "show")]
    data: Option<PathBuf>,
    /// Where the plan, the history, the verdicts and a page go if a promise was broken
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let plan = match (&flags.plan, flags.seed) {
        (Some(file), _) => {
            let text = std::fs::read(file).with_context(|| file.display().to_string())?;
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?
        }
        (None, seed) => Plan::of(seed.context("--seed")?),
    };
    if flags.show {
        let mut text = serde_json::to_vec_pretty(&plan)?;
        text.push(b'\n');
        std::io::stdout().write_all(&text)?;
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    let folder = flags.data.context("--data")?;
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    let summary = chaos_sim::one(&plan, &folder, flags.output.as_deref(), print);
    print(&summary);
    anyhow::ensure!(summary.passed, "seed {} broke a promise", plan.seed);
    Ok(())
}

fn print(summary: &Summary) {
    if let Ok(mut line) = serde_json::to_vec(summary) {
        line.push(b'\n');
        // Nobody reads it: then nobody is told.
        drop(std::io::stdout().write_all(&line));
    }
}
