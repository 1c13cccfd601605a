//! A real etcd beside us.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A real etcd of one member; it ends with the test.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) client_url: String,
    _dir: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Etcd {
    pub(crate) fn start(program: &Path, extra: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (client_url, peer_url) = (testbed::free_url(), testbed::free_url());
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(program)
            .args(["--name=m0", "--bcrypt-cost=4", "--log-level=error"])
            .arg(format!("--data-dir={}", dir.path().join("data").display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=m0={peer_url}"))
            .args(extra)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, client_url, _dir: dir }
    }
}
