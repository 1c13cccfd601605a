//! A whole cluster of real processes of the built binary, for tests.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

pub(crate) mod traces;
pub(crate) mod witness;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) fn orlop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs to the end; never longer than a minute.
pub(crate) fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Read while it runs: who says more than a pipe holds would wait for a reader for ever.
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{command:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A running `orlop up` in a folder of its own.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    flags: Vec<String>,
    process: Option<Child>,
    kubectl: PathBuf,
}

impl Cluster {
    /// Starts a cluster and waits until it says that it is ready. Its addresses are its own: those
    /// of other tests, of a user's cluster and of another run of these tests are others.
    pub(crate) fn start(kubectl: PathBuf, flags: &[&str]) -> Self {
        let mut own = vec![format!("--host-prefix={}", host_prefix())];
        own.push(format!("--api-port={}", testbed::free_port()));
        own.extend(flags.iter().map(|flag| (*flag).to_owned()));
        // Short: sockets of containerd are below it.
        let folder = tempfile::Builder::new().prefix("orlop-").tempdir_in("/tmp").unwrap();
        let mut cluster = Self { folder, flags: own, process: None, kubectl };
        cluster.up();
        cluster
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("c")
    }

    /// `orlop up` with the same flags as before.
    pub(crate) fn up(&mut self) {
        let out = File::create(self.folder.path().join("screen")).unwrap();
        let errors = File::create(self.folder.path().join("errors")).unwrap();
        let process = orlop()
            .arg("up")
            .arg("--json")
            .arg("--dir")
            .arg(self.dir())
            .args(&self.flags)
            .stdout(out)
            .stderr(errors)
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.eventually("the cluster is ready", Duration::from_secs(150), |cluster| {
            if let Some(status) = cluster.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("orlop up ended with {status}:\n{}\n{}", cluster.errors(), cluster.logs());
            }
            cluster.events().iter().any(|event| event["event"] == "ready")
        });
    }

    /// What `orlop up` has said on standard error.
    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap()
    }

    /// What `orlop up --json` has said so far: each line is an object.
    pub(crate) fn events(&self) -> Vec<Value> {
        let said = std::fs::read_to_string(self.folder.path().join("screen")).unwrap();
        // The last line may be half written.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let object = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
        };
        whole.lines().map(object).collect()
    }

    /// `orlop down`; answers how long it took.
    pub(crate) fn down(&mut self) -> Duration {
        let began = Instant::now();
        let output = self.orlop(&["down"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let took = began.elapsed();
        let ended = self.process.take().unwrap().wait().unwrap();
        assert!(ended.success(), "orlop up ended with {ended}:\n{}", self.errors());
        took
    }

    /// Ctrl-C, as a terminal sends it; answers how long the end took.
    pub(crate) fn interrupt(&mut self) -> Duration {
        let mut process = self.process.take().unwrap();
        let began = Instant::now();
        send(&process, nix::sys::signal::Signal::SIGINT);
        let ended = process.wait().unwrap();
        assert!(ended.success(), "orlop up ended with {ended}:\n{}", self.errors());
        began.elapsed()
    }

    /// The host of the process that leads by a lease of `kube-system`: the one that said so.
    pub(crate) fn lease_host(&self, lease: &str) -> Option<String> {
        let holder = ["get", "lease", lease, "-n", "kube-system"];
        let holder = [&holder[..], &["-o", "jsonpath={.spec.holderIdentity}"]].concat();
        let output = self.try_kubectl(&holder);
        let holder = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || holder.is_empty() {
            return None;
        }
        let part = lease.trim_start_matches("kube-");
        (1..=5).map(|number| format!("host-{number}")).find(|host| {
            let log = self.dir().join(format!("logs/{host}-{part}.log"));
            std::fs::read_to_string(log).unwrap_or_default().contains(&holder)
        })
    }

    /// SIGKILL for the supervisor alone.
    pub(crate) fn kill_supervisor(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// `orlop COMMAND... --dir`.
    pub(crate) fn orlop(&self, arguments: &[&str]) -> Output {
        run(orlop().args(arguments).arg("--dir").arg(self.dir()))
    }

    /// `orlop status --json`.
    pub(crate) fn status(&self) -> Value {
        let output = self.orlop(&["status", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// The processes of a host.
    pub(crate) fn pids(&self, host: &str) -> Vec<u64> {
        self.parts(host).iter().filter_map(|part| part["pid"].as_u64()).collect()
    }

    /// Where a part of a host serves.
    pub(crate) fn address(&self, host: &str, part: &str) -> String {
        let parts = self.parts(host);
        let found = parts.iter().find(|one| one["part"] == part).unwrap();
        found["address"].as_str().unwrap().to_owned()
    }

    fn parts(&self, host: &str) -> Vec<Value> {
        let status = self.status();
        let parts = status["parts"].as_array().unwrap().iter();
        parts.filter(|part| part["host"] == host).cloned().collect()
    }

    /// The host of the store's leader.
    pub(crate) fn leader(&self) -> Option<String> {
        let status = self.status();
        let leader = status["store"].as_array()?.iter().find(|member| member["leader"] == true)?;
        leader["host"].as_str().map(str::to_owned)
    }

    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Output {
        run(self.kubectl_command().args(arguments))
    }

    /// kubectl with this cluster's kubeconfig, to be given arguments.
    pub(crate) fn kubectl_command(&self) -> Command {
        let mut command = self.plain_kubectl_command();
        command.arg(format!("--kubeconfig={}", self.dir().join("kubeconfig").display()));
        command
    }

    /// kubectl without this cluster's kubeconfig.
    pub(crate) fn plain_kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        // Its caches are not to leave traces in a home.
        command.env("HOME", self.folder.path()).env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    /// ctr on the containerd of the first node.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Output {
        let socket = self.dir().join("node-1/containerd/containerd.sock");
        run(Command::new("ctr").arg("-a").arg(socket).args(["-n", "k8s.io"]).args(arguments))
    }

    /// kubectl that must work; answers what it printed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.logs()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for a condition that kubectl's output must meet.
    pub(crate) fn kubectl_until(
        &mut self,
        what: &str,
        arguments: &[&str],
        mut met: impl FnMut(&str) -> bool,
    ) {
        self.eventually(what, Duration::from_secs(90), |cluster| {
            let output = cluster.try_kubectl(arguments);
            output.status.success() && met(&String::from_utf8_lossy(&output.stdout))
        });
    }

    pub(crate) fn eventually(
        &mut self,
        what: &str,
        within: Duration,
        mut met: impl FnMut(&mut Self) -> bool,
    ) {
        let deadline = Instant::now() + within;
        while !met(self) {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The ends of all logs, for a test that fails.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir().join("logs")).into_iter().flatten().flatten() {
            let all = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = all.lines().collect();
            let end = &lines[lines.len().saturating_sub(8)..];
            text.push_str(&format!("--- {}\n{}\n", entry.path().display(), end.join("\n")));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        send(&process, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn send(process: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
    // Whoever has ended needs no signal: waiting for it tells.
    let _ = nix::sys::signal::kill(pid, signal);
}

/// The first three numbers of addresses that no other cluster uses: of this process and call.
pub(crate) fn host_prefix() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(8) + CALLS.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{}.", 64 + number / 250 % 150, 1 + number % 250)
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
