//! The comparison by hand: look for differences, replay a script, record what etcd answers.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use store_differential::{Generator, Launcher, Pair, Recording, Server, Side, compare};

#[derive(Parser)]
struct Line {
    /// A real etcd
    #[arg(long, env = "ORLOP_ETCD")]
    etcd: PathBuf,
    /// Our binary
    #[arg(long, env = "ORLOP_BIN")]
    orlop: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scripts from seeds until so many operations are done
    Explore {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 100_000)]
        operations: usize,
        #[arg(long, default_value_t = 400)]
        length: usize,
    },
    /// Run a script, or a recording, on both
    Replay { file: PathBuf },
    /// Run scripts on etcd alone and write down what it answers
    Record {
        /// A script; without one, they are made up from --seed
        #[arg(long)]
        script: Option<PathBuf>,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 400)]
        length: usize,
        /// Where it goes
        file: PathBuf,
    },
    /// Send a script to one server, which may well die of it
    Only { url: String, file: PathBuf },
}

fn read(file: &Path) -> anyhow::Result<Recording> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Recording::parse(&text)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let line = Line::parse();
    let (etcd, ours) = (Launcher::etcd(&line.etcd), Launcher::orlop(&line.orlop));
    match line.command {
        Command::Explore { seed, operations, length } => {
            let mut pair = Pair::start(&etcd, &ours).await?;
            let began = std::time::Instant::now();
            print!("{}", compare(&mut pair, (seed, 1), (operations, length)).await?);
            println!("{:?}", began.elapsed());
        }
        Command::Replay { file } => {
            let mut pair = Pair::start(&etcd, &ours).await?;
            let outcome = pair.run(&read(&file)?.script()).await?;
            for (step, answer) in outcome.steps.iter().zip(&outcome.answers) {
                print!("{step}\n{answer}");
            }
            match outcome.difference {
                Some(found) => println!("step {} differs:\n{}", found.place, found.what),
                None => println!("no difference"),
            }
        }
        Command::Record { script, seed, length, file } => {
            // Both sides are etcd: what differs between two runs of it must not be recorded.
            let mut pair = Pair::start(&etcd, &etcd).await?;
            let (outcome, comments) = match script {
                Some(script) => {
                    let recording = read(&script)?;
                    let comments = recording.comments().to_vec();
                    (pair.run(&recording.script()).await?, comments)
                }
                None => {
                    let outcome = pair.explore(&mut Generator::new(seed).small(), length).await?;
                    (outcome, vec![format!("made up from seed {seed}")])
                }
            };
            if let Some(found) = &outcome.difference {
                anyhow::bail!("two etcds differ at step {}: {}", found.place, found.what);
            }
            let version = pair.version();
            std::fs::write(file, Recording::of(outcome, version, comments).to_text())?;
        }
        Command::Only { url, file } => {
            let mut server = None;
            let url = match url.as_str() {
                "etcd" => server.insert(Server::start(&etcd)?).url().to_owned(),
                "ours" => server.insert(Server::start(&ours)?).url().to_owned(),
                _ => url,
            };
            let mut side = Side::connect(&url).await?;
            side.reset().await?;
            for (step, answer) in side.tell(&read(&file)?.script()).await {
                print!("{step}\n{answer}");
            }
            if let Some(mut server) = server {
                server.ensure_alive()?;
            }
        }
    }
    Ok(())
}
