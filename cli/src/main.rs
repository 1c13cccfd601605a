//! The one binary `orlop`: parses arguments and calls one function.

mod backup;
mod completion;
mod connect;
mod ephemeral;
mod etcd;
mod image;
mod limits;
mod logs;
mod migrate;
mod part;
mod status;
mod up;
mod version;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use self::part::Threads;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// For RocksDB's C++ too (`override` puts it in malloc's place): a put frees on one thread what
/// another one allocated, many times. The system's allocator took a fifth more CPU time for puts of
/// 256 clients. Without huge pages (`no_thp`), which cost an idle member 30 MB and bought nothing.
///
/// Debug builds have the system's: chaos tests make clocks jump by libfaketime, which needs memory to
/// find out what time it is, while mimalloc asks for the time before it gives any.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  orlop up                          three hosts and one node in ./.orlop
  orlop up --nodes 0 --dir /srv/c   a control plane alone, somewhere else
  orlop status                      what runs, from another terminal
  orlop host kill host-2 --hold     lose a whole host, and see that nothing is lost with it
  orlop down                        stop it; `orlop up` resumes

Each part can be started by hand too, with the flags of its upstream twin:
  orlop store --help    orlop apiserver --help    orlop node --help";

/// An etcd-equivalent store and a Kubernetes control plane in one binary
#[derive(Debug, Parser)]
#[command(name = "orlop", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
struct Arguments {
    /// How much the log says: error, warn, info, debug, trace; given before the command. RUST_LOG
    /// wins
    // Not for all commands to share: the store has etcd's own flag of this name.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine and keep it running
    ///
    /// Each host is a store member, an API server, a controller manager and a scheduler: separate
    /// processes on a loopback address of their own. Ctrl-C stops all of them in order; the same
    /// command resumes with all data.
    Up(Box<up::Flags>),
    /// Show what a running cluster is doing
    Status(status::StatusFlags),
    /// Stop a running cluster, in order
    Down(status::DownFlags),
    /// Lose a control-plane host of a running cluster, and bring it back
    #[command(subcommand)]
    Host(status::HostCommand),
    /// Give container images to the nodes, while there is no registry
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Run a store member, an equivalent of etcd, with etcd's own flags
    ///
    /// Example: `orlop store --data-dir /srv/store`, then `etcdctl put a b`.
    ///
    /// `orlop store migrate` moves the keys of a live etcd into it.
    Store(Box<StoreFlags>),
    /// Back up a store, ours or a real etcd, and restore it
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Run a Kubernetes API server, with kube-apiserver's flags
    ///
    /// With --ephemeral it is one for tests: in memory, on a free port, ready in milliseconds.
    #[command(after_help = ephemeral::EXAMPLES)]
    Apiserver(Box<ephemeral::ServerFlags>),
    /// Run the controllers, with kube-controller-manager's flags
    ControllerManager(Box<api_controllers::Flags>),
    /// Run the scheduler, with kube-scheduler's flags
    Scheduler(Box<api_scheduler::Flags>),
    /// Run a node agent, with the kubelet's flags where it has them
    Node(Box<node_agent::Flags>),
    /// Measure a store, ours or any other that speaks etcd's v3 API
    Bench(Box<chaos::bench::Flags>),
    /// Break a cluster on purpose and check that every promise was kept
    Chaos(Box<chaos::Command>),
    /// Print this binary's version and the levels of the wires that it speaks
    Version {
        /// Print JSON
        #[arg(short, long, value_parser = ["json"], value_name = "FORMAT")]
        output: Option<String>,
    },
    /// Print a completion script for a shell
    ///
    /// For bash: `orlop completion bash > /etc/bash_completion.d/orlop`.
    Completion(completion::Flags),
    /// Become another program that ends with the supervisor
    #[command(hide = true)]
    Exec {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// A member, or a tool around one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
struct StoreFlags {
    #[command(flatten)]
    flags: store_server::Flags,
    #[command(subcommand)]
    command: Option<migrate::StoreCommand>,
}

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    if let Some(lines) = etcd::version(&given) {
        return match writeln!(std::io::stdout(), "{lines}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let matches = Arguments::command().get_matches_from(etcd::arguments(given));
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(arguments, matches.subcommand().map(|(_, given)| given)) {
        Ok(code) => code,
        Err(error) => {
            // One line, whatever the causes below it say.
            let line = format!("{error:#}").replace('\n', " ");
            // Without a standard error there is nobody to tell; the exit code still says it.
            drop(writeln!(std::io::stderr(), "error: {line}"));
            ExitCode::FAILURE
        }
    }
}

/// `given` is what the command line says to the command.
fn run(arguments: Arguments, given: Option<&ArgMatches>) -> anyhow::Result<ExitCode> {
    up::process::end_with_supervisor()?;
    let parts_log = arguments.log_level.as_str();
    match arguments.command {
        Command::Up(flags) => {
            // The screen says what matters; its own log is for when something is odd.
            part::set_up_logs(if parts_log == "info" { "warn" } else { parts_log })?;
            part::block_on(up::run(*flags))?;
        }
        Command::Status(flags) => return part::block_on(status::status(flags)),
        Command::Down(flags) => part::block_on(status::down(flags))?,
        Command::Host(command) => part::block_on(status::host(command))?,
        Command::Image(command) => part::block_on(image::run(command))?,
        Command::Store(flags) => {
            let StoreFlags { flags, command } = *flags;
            if let Some(command) = command {
                part::block_on(migrate::run(command))?;
                return Ok(ExitCode::SUCCESS);
            }
            let flags = flags.resolved()?;
            part::set_up_store_logs(&flags.logs()?)?;
            let config = flags.into_config()?;
            part::run(Threads::PerCore, |stop| store_server::run(config, stop))?;
        }
        Command::Backup(command) => part::block_on(backup::run(command))?,
        Command::Apiserver(flags) => {
            part::set_up_logs(flags.log_level(parts_log))?;
            flags.run(given)?;
        }
        Command::ControllerManager(flags) => {
            part::set_up_logs(parts_log)?;
            let config = flags.into_config()?;
            part::run(limits::QUIET_PART, |stop| api_controllers::run(config, stop))?;
        }
        Command::Scheduler(flags) => {
            part::set_up_logs(parts_log)?;
            let config = flags.into_config()?;
            part::run(limits::QUIET_PART, |stop| api_scheduler::run(config, stop))?;
        }
        Command::Node(flags) => {
            part::set_up_logs(parts_log)?;
            let config = flags.into_config()?;
            part::run(Threads::PerCore, |stop| node_agent::run(config, stop))?;
        }
        Command::Bench(flags) => {
            part::set_up_logs("warn")?;
            part::run(Threads::PerCore, |stop| chaos::bench::run(*flags, stop))?;
        }
        Command::Chaos(command) => {
            part::set_up_logs("warn")?;
            part::run(Threads::PerCore, |stop| chaos::run(*command, stop))?;
        }
        Command::Version { output } => print_version(output.is_some())?,
        Command::Completion(flags) => completion::print(&flags)?,
        Command::Exec { command } => return Err(up::process::become_program(&command)),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_version(json: bool) -> anyhow::Result<()> {
    let version = version::Version::of_this_binary();
    let text = if json { serde_json::to_string_pretty(&version)? } else { version.for_people() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// The folder of a cluster, for commands that talk to a running one.
#[derive(Debug, Clone, clap::Args)]
struct Dir {
    /// The cluster's folder, as given to `orlop up`
    #[arg(long, default_value = ".orlop", value_name = "FOLDER")]
    dir: PathBuf,
}
