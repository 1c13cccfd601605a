//! A host: a network namespace with one interface, whose other end is the switch's.
//!
//! The namespace has no name and no way out. It lives as long as something holds it: its [`Host`],
//! or a process or socket that was made in it. So nothing is left to clean up, also after SIGKILL.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::fabric::Fabric;

/// What a host calls its interface.
const INTERFACE: &str = "orlop0";

/// The namespace of the thread that asks.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// No address is made up by a host itself, so that links carry only what programs send.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// A host with an address of its own.
#[derive(Debug)]
pub struct Host {
    address: Ipv4Addr,
    namespace: File,
}

impl Host {
    /// Its address, which only the hosts of the same topology reach.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs a task on a thread of this host. The sockets that it opens, and the threads and
    /// processes that it starts, belong to the host for good, wherever they are used from.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        on_own_thread(|| {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a host")?;
            Ok(task())
        })
    }
}

/// A namespace is left with the thread that entered it, so no other thread is ever in a wrong one.
fn on_own_thread<T: Send>(task: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| match scope.spawn(task).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The address of a host, the same in each topology: they do not see one another.
fn address(host: usize) -> Ipv4Addr {
    let [.., high, low] = (host + 1).to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

/// Makes one of so many hosts, and the end of its cable that goes into the switch.
pub(super) fn plugged_in(host: usize, hosts: usize) -> anyhow::Result<(Host, SyncDevice)> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("no right to make network namespaces")?;
        let namespace = File::open(OWN_NAMESPACE).context("cannot hold a network namespace")?;
        let cable = DeviceBuilder::new()
            .name(INTERFACE)
            .layer(Layer::L2)
            .inherit_enable_state()
            .build_sync()
            .context("cannot open a TAP interface (/dev/net/tun)")?;
        cable.set_nonblocking(true)?;
        match std::fs::write(NO_IPV6, "1") {
            // A kernel without IPv6 needs no word.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(NO_IPV6);
            }
            Ok(()) | Err(_) => {}
        }
        ip(&commands(host, hosts))?;
        Ok((Host { address: address(host), namespace }, cable))
    })
}

/// What makes a host's interface ready, in the words of `ip -batch`.
fn commands(host: usize, hosts: usize) -> String {
    let mac = |host| Fabric::mac(host).map(|byte| format!("{byte:02x}")).join(":");
    let mut text = format!(
        "link set dev lo up\n\
         link set dev {INTERFACE} address {}\n\
         link set dev {INTERFACE} up\n\
         address add {}/16 dev {INTERFACE}\n",
        mac(host),
        address(host)
    );
    // Everybody knows everybody: ARP has no checksum, so what it learned from a corrupted frame, or
    // not at all on a cut link, would outlast the fault.
    for other in (0..hosts).filter(|other| *other != host) {
        let (address, mac) = (address(other), mac(other));
        let neighbour = format!("{address} lladdr {mac} dev {INTERFACE} nud permanent");
        writeln!(text, "neighbour add {neighbour}").expect("a string takes everything");
    }
    text
}

/// Carries out commands of iproute2 in the namespace of this thread.
fn ip(commands: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip` (iproute2)")?;
    // Dropped at once, or `ip` would wait for more.
    child.stdin.take().context("no input of `ip`")?.write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip` ended with {}: {}", output.status, words.trim());
    Ok(())
}
