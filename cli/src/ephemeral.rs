//! `orlop apiserver --ephemeral`: an API server for tests, in memory.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Z1 | The line on standard output comes when the server is ready, and nothing else does. |
//! | Z2 | Its kubeconfig lies in memory, unless a path is given: killed, it leaves nothing behind. |

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use api_ephemeral::{Options, Server};
use clap::ArgMatches;
use clap::parser::ValueSource;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::part::{self, Threads};

/// How often it is looked whether the parent is there.
const PARENT_LOOK: Duration = Duration::from_millis(100);
const HEADING: &str = "For tests";

pub(crate) const EXAMPLES: &str = "\
Examples:
  orlop apiserver --etcd-servers http://127.0.0.1:2379 --tls-cert-file a.crt --tls-private-key-file a.key
  orlop apiserver --ephemeral --with-parent
                                    for one test: in memory, a free port, ends with who started it
  orlop apiserver --ephemeral -o json --crd-dir config/crd --manifests test/objects
                                    the same with kinds and objects; one line of JSON when it is ready
  kubectl create --raw '/ephemeral/time?advance=1h' -f /dev/null
                                    an hour later: tokens, events and finished jobs have ended";

/// The API server's flags, and those of one for tests.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerFlags {
    /// Serve from memory, for a test: no store, a free port of 127.0.0.1, RBAC and the controllers
    ///
    /// It makes its certificates itself. Everything is gone with the process. Other flags that do not
    /// name a store or a certificate keep their meaning: --secure-port, --bind-address,
    /// --authorization-mode, --audit-*, --token-auth-file, ...
    #[arg(long, help_heading = HEADING)]
    ephemeral: bool,
    #[command(flatten)]
    about: Ephemeral,
    #[command(flatten)]
    pub(crate) server: api_server::Flags,
}

/// What only a server for tests has.
#[derive(Debug, clap::Args)]
struct Ephemeral {
    /// Write the administrator's kubeconfig here; without it, it lies in memory and the output says where
    #[arg(long, requires = "ephemeral", value_name = "PATH", help_heading = HEADING)]
    kubeconfig: Option<PathBuf>,
    /// What is printed when the server is ready: json has url, kubeconfig, ca, token, certificate and key
    #[arg(short, long, requires = "ephemeral", value_parser = ["json"], value_name = "FORMAT",
          help_heading = HEADING)]
    output: Option<String>,
    /// End when the parent process ends, or the pipe on standard input is closed
    #[arg(long, requires = "ephemeral", help_heading = HEADING)]
    with_parent: bool,
    /// File or folder of CustomResourceDefinitions that are served from the start; may be repeated
    #[arg(long, requires = "ephemeral", value_name = "PATH", help_heading = HEADING)]
    crd_dir: Vec<PathBuf>,
    /// File or folder of objects that are there from the start; may be repeated
    #[arg(long, requires = "ephemeral", value_name = "PATH", help_heading = HEADING)]
    manifests: Vec<PathBuf>,
    /// Controllers to run: `*` for all, `name` for one, `-name` for all but one, empty for none
    #[arg(long, requires = "ephemeral", value_delimiter = ',', default_value = "*",
          allow_hyphen_values = true, help_heading = HEADING)]
    controllers: Vec<String>,
}

/// Flags of the API server that an ephemeral one has no use for.
const WITHOUT_USE: [&str; 12] = [
    "etcd_servers",
    "etcd_cafile",
    "etcd_certfile",
    "etcd_keyfile",
    "etcd_prefix",
    "client_ca_file",
    "tls_cert_file",
    "tls_private_key_file",
    "service_account_signing_key_file",
    "service_account_key_file",
    "kubelet_client_certificate",
    "kubelet_client_key",
];

impl ServerFlags {
    /// A test wants to hear of what is wrong, and else only its own words.
    pub(crate) fn log_level<'a>(&self, asked: &'a str) -> &'a str {
        if self.ephemeral && asked == "info" { "warn" } else { asked }
    }

    /// An API server, of the one kind or the other. `given` says what was on the command line.
    pub(crate) fn run(self, given: Option<&ArgMatches>) -> anyhow::Result<()> {
        if !self.ephemeral {
            let config = self.server.into_config()?;
            return part::run(Threads::PerCore, |stop| api_server::run(config, stop));
        }
        let is_given = |name: &str| {
            let source = given.and_then(|given| given.value_source(name));
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        for name in WITHOUT_USE {
            let flag = name.replace('_', "-");
            anyhow::ensure!(!is_given(name), "--{flag} cannot be used with --ephemeral");
        }
        let Self { about, mut server, .. } = self;
        let defaults = Options::default().flags;
        if !is_given("bind_address") {
            server.bind_address = defaults.bind_address;
        }
        if !is_given("secure_port") {
            server.secure_port = defaults.secure_port;
        }
        if !is_given("authorization_mode") {
            server.authorization_mode = defaults.authorization_mode;
        }
        let mut options = Options::with_flags(server);
        options.controllers.clone_from(&about.controllers);
        options.definitions.clone_from(&about.crd_dir);
        options.manifests.clone_from(&about.manifests);
        // The server has threads of its own.
        part::run(Threads::This, |stop| serve(options, about, stop))
    }
}

async fn serve(options: Options, about: Ephemeral, stop: CancellationToken) -> anyhow::Result<()> {
    if about.with_parent {
        // From before the start: a test may be interrupted at any time.
        follow_parent(&stop)?;
    }
    let server = tokio::select! {
        started = Server::start(options) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let file = Kubeconfig::write(about.kubeconfig, server.kubeconfig())?;
    announce(&server, &file, about.output.is_some())?;
    stop.cancelled().await;
    server.stop().await;
    drop(file);
    Ok(())
}

/// Z1
fn announce(server: &Server, file: &Kubeconfig, json: bool) -> anyhow::Result<()> {
    let path = file.path.display().to_string();
    let line = if json {
        let (certificate, key) = server.client_certificate();
        serde_json::json!({
            "url": server.url(),
            "kubeconfig": path,
            "ca": server.ca(),
            "token": server.token(),
            "clientCertificate": certificate,
            "clientKey": key,
            "pid": std::process::id(),
        })
        .to_string()
    } else {
        format!("ready: {}\nexport KUBECONFIG={path}", server.url())
    };
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot say that it is ready")
}

/// Where the kubeconfig lies. Z2
struct Kubeconfig {
    path: PathBuf,
    /// Its content, when it is in memory: it is there as long as this is open.
    _memory: Option<File>,
}

impl Kubeconfig {
    fn write(path: Option<PathBuf>, text: &str) -> anyhow::Result<Self> {
        if let Some(path) = path {
            let say = || format!("cannot write {}", path.display());
            let mut options = File::options();
            // It holds a key.
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&path).with_context(say)?;
            file.write_all(text.as_bytes()).with_context(say)?;
            return Ok(Self { path, _memory: None });
        }
        let memory = memfd_create("kubeconfig", MFdFlags::MFD_CLOEXEC);
        let mut file = File::from(memory.context("cannot keep a kubeconfig in memory")?);
        file.write_all(text.as_bytes()).context("cannot write to memory")?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Self { path: path.into(), _memory: Some(file) })
    }
}

/// Fires `stop` when the parent has ended. Not the kernel's parent-death signal: that goes out when the
/// *thread* ends that started this process, and test runners end threads as they like.
fn follow_parent(stop: &CancellationToken) -> anyhow::Result<()> {
    let parent = nix::unistd::getppid();
    let fired = stop.clone();
    tokio::spawn(async move {
        while nix::unistd::getppid() == parent {
            tokio::time::sleep(PARENT_LOOK).await;
        }
        tracing::info!("the parent has ended");
        fired.cancel();
    });
    if !is_pipe() {
        return Ok(());
    }
    let closed = std::sync::Arc::new(Notify::new());
    let (tell, fired) = (closed.clone(), stop.clone());
    // A read of it cannot be given up, so it has a thread that nobody waits for.
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut bytes = [0; 256];
            while std::io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            tell.notify_one();
        })
        .context("cannot start a thread")?;
    tokio::spawn(async move {
        closed.notified().await;
        tracing::info!("standard input was closed");
        fired.cancel();
    });
    Ok(())
}

/// Whether standard input is one that a parent holds open: a terminal and `/dev/null` are not.
fn is_pipe() -> bool {
    if std::io::stdin().is_terminal() {
        return false;
    }
    let kind = std::fs::metadata("/proc/self/fd/0").map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}
