//! Stores as processes, ours and etcd's, for tests of commands that talk to them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store_client::mvccpb::KeyValue;
use store_client::rpc::{PutRequest, RangeRequest};
use store_client::{Client, Config};

pub(crate) fn orlop() -> Command {
    Command::new(env!("CARGO_BIN_EXE_orlop"))
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_url(scheme: &str) -> String {
    format!("{scheme}://127.0.0.1:{}", testbed::free_port())
}

/// A member of one, of whatever `command` begins; and where its clients go.
pub(crate) fn start(command: Command, folder: &Path, scheme: &str) -> (Running, String) {
    start_at(command, folder, scheme, &free_url("http"))
}

/// The same, with the peer URL that its folder was made for.
pub(crate) fn start_at(
    mut command: Command,
    folder: &Path,
    scheme: &str,
    peer: &str,
) -> (Running, String) {
    let client = free_url(scheme);
    let child = command
        .args(["--name", "one", "--data-dir"])
        .arg(folder)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Running(child), client)
}

pub(crate) fn our_store() -> Command {
    let mut command = orlop();
    command.arg("store");
    command
}

/// A client of a store that has just been started.
pub(crate) async fn client(config: &Config) -> Client {
    let client = Client::new(config).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) =
        client.range(RangeRequest { key: "x".into(), ..Default::default() }).await
    {
        assert!(Instant::now() < deadline, "the store does not serve: {error}");
    }
    client
}

pub(crate) fn put_of(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

pub(crate) async fn put(client: &Client, key: &str, value: &str) {
    client.put(put_of(key, value)).await.unwrap();
}

/// All keys, each with its value and its lease.
pub(crate) async fn everything(client: &Client) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let request = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let content = |kv: &KeyValue| (kv.key.to_vec(), kv.value.to_vec(), kv.lease);
    client.range(request).await.unwrap().kvs.iter().map(content).collect()
}

/// Runs `orlop` with these arguments. Answers whether it succeeded, and all that it said.
pub(crate) async fn run(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.arg("60").arg(env!("CARGO_BIN_EXE_orlop")).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}
