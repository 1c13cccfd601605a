//! Are the ports free, and if not, who has them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::layout::Layout;

/// Refuses when an address of the cluster is taken. After a supervisor that was killed, `patience`
/// gives the kernel time to end its parts.
pub(crate) fn check(layout: &Layout, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    for (what, address, port) in layout.listeners() {
        loop {
            let error = match TcpListener::bind((address.as_str(), port)) {
                Ok(_) => break,
                Err(error) => error,
            };
            if Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            refuse(&what, &address, port, &error)?;
        }
    }
    Ok(())
}

fn refuse(what: &str, address: &str, port: u16, error: &std::io::Error) -> anyhow::Result<()> {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let who = holder(port).map(|who| format!(" by {who}")).unwrap_or_default();
            let flag = match port {
                super::layout::CONTROLLER_MANAGER_PORT
                | super::layout::SCHEDULER_PORT
                | super::layout::KUBELET_PORT => {
                    "stop what uses it (another cluster? `orlop down --dir ITS-FOLDER`)"
                }
                _ => "stop what uses it, or choose others with --api-port and --store-client-port",
            };
            bail!("{address}:{port} ({what}) is in use{who}: {flag}")
        }
        std::io::ErrorKind::PermissionDenied => {
            bail!("{address}:{port} ({what}) needs more rights: choose a port above 1023")
        }
        _ => bail!("cannot listen on {address}:{port} ({what}): {error}"),
    }
}

/// The process that listens on `port`, as far as this user may see.
fn holder(port: u16) -> Option<String> {
    let inodes = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect::<Vec<_>>();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let path = process.path();
        // `self` and `thread-self` are other names of a process that comes by its number too.
        if process.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let Ok(files) = fs::read_dir(path.join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| {
                inodes.iter().any(|inode| target == Path::new(&format!("socket:[{inode}]")))
            })
        });
        if holds {
            let name = fs::read_to_string(path.join("comm")).ok()?;
            return Some(format!("{} (pid {})", name.trim(), process.file_name().display()));
        }
    }
    None
}

/// The inodes of listening sockets on `port`, from the kernel's table.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let matches = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
            matches.then(|| fields.get(9)?.parse().ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let who = holder(port).unwrap();
        assert!(who.ends_with(&format!("(pid {})", std::process::id())), "{who}");
    }

    #[test]
    fn only_listening_sockets_of_that_port_are_taken_from_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
   0: 0B00007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
   1: 0B00007F:192B 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
   2: 0B00007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(listening_inodes(table, 6443), [111]);
    }
}
