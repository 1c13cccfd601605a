//! The store in memory answers as etcd does: the same random calls through the same client on both.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use store_client::rpc::{self, ResponseHeader};
use store_client::{Client, Config, Error, WatchOptions, compare, op};
use store_memory::Memory;

const STEPS: usize = 3000;
const SEED: u64 = 1;
const DEADLINE: Duration = Duration::from_secs(30);

/// A real etcd, which ends with the test.
struct Etcd {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Etcd {
    fn start(program: &std::path::Path) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (url, peer) = (format!("http://{}", free()), format!("http://{}", free()));
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args(["--name=one", "--log-level=error", "--unsafe-no-fsync"])
            .arg(format!("--data-dir={}", folder.path().display()))
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=one={peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url, _folder: folder }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One call.
#[derive(Clone, Debug)]
enum Step {
    Range(rpc::RangeRequest),
    Put(rpc::PutRequest),
    Delete(rpc::DeleteRangeRequest),
    Txn(rpc::TxnRequest),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
    Lease(i64),
}

struct Dice {
    dice: StdRng,
    revision: i64,
}

impl Dice {
    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.dice.random_range(0..8)))
    }

    fn lease(&mut self) -> i64 {
        if self.dice.random_ratio(1, 4) { self.dice.random_range(1..6) } else { 0 }
    }

    /// Half of the time now; else some revision, those that cannot be read included.
    fn at(&mut self) -> i64 {
        if self.dice.random() { 0 } else { self.dice.random_range(-1..self.revision + 3) }
    }

    fn range(&mut self) -> rpc::RangeRequest {
        rpc::RangeRequest {
            key: self.key(),
            range_end: if self.dice.random() { Bytes::from_static(b"k9") } else { Bytes::new() },
            limit: self.dice.random_range(0..4),
            revision: self.at(),
            sort_order: self.dice.random_range(0..3),
            sort_target: self.dice.random_range(0..5),
            keys_only: self.dice.random_ratio(1, 6),
            count_only: self.dice.random_ratio(1, 6),
            min_mod_revision: if self.dice.random_ratio(1, 8) { self.revision / 2 } else { 0 },
            ..rpc::RangeRequest::default()
        }
    }

    fn put(&mut self) -> rpc::PutRequest {
        let ignore_value = self.dice.random_ratio(1, 10);
        let value = format!("v{}", self.dice.random_range(0..1000));
        rpc::PutRequest {
            key: self.key(),
            value: if ignore_value { Bytes::new() } else { Bytes::from(value) },
            lease: self.lease(),
            prev_kv: self.dice.random(),
            ignore_value,
            ..rpc::PutRequest::default()
        }
    }

    fn delete(&mut self) -> rpc::DeleteRangeRequest {
        rpc::DeleteRangeRequest {
            key: self.key(),
            range_end: if self.dice.random_ratio(1, 5) { "k9".into() } else { Bytes::new() },
            prev_kv: self.dice.random(),
        }
    }

    fn txn(&mut self) -> rpc::TxnRequest {
        let expected =
            if self.dice.random() { 0 } else { self.dice.random_range(0..self.revision) };
        let key = self.key();
        let put = self.put();
        let branch = vec![op::put(put.key, put.value, put.lease), op::get(self.key())];
        rpc::TxnRequest {
            compare: vec![compare::mod_revision_is(key.clone(), expected)],
            success: branch,
            failure: vec![op::get(key), op::delete(self.key())],
        }
    }

    fn step(&mut self) -> Step {
        match self.dice.random_range(0..100) {
            0..30 => Step::Range(self.range()),
            30..60 => Step::Put(self.put()),
            60..70 => Step::Delete(self.delete()),
            70..90 => Step::Txn(self.txn()),
            90..91 => Step::Compact(self.dice.random_range(0..self.revision + 2)),
            91..95 => Step::Grant(self.dice.random_range(1..6)),
            95..98 => Step::Revoke(self.dice.random_range(1..6)),
            _ => Step::Lease(self.dice.random_range(1..6)),
        }
    }
}

/// Which member answered is not compared.
fn header(header: Option<ResponseHeader>) -> i64 {
    header.map_or(-1, |header| header.revision)
}

fn failed(error: &Error) -> String {
    match error {
        Error::Compacted { .. } => "compacted".to_owned(),
        Error::Refused { code, message } => format!("{code:?} {message}"),
        other => format!("{other:?}"),
    }
}

/// What a store says, without what differs from member to member, and its revision where it says that.
async fn ask(client: &Client, step: Step) -> (String, Option<i64>) {
    macro_rules! answer {
        ($call:expr) => {
            match $call.await {
                Ok(mut answer) => {
                    let revision = header(answer.header.take());
                    (format!("{revision} {answer:?}"), Some(revision))
                }
                Err(error) => (failed(&error), None),
            }
        };
    }
    match step {
        Step::Range(request) => answer!(client.range(request)),
        Step::Put(request) => answer!(client.put(request)),
        Step::Delete(request) => answer!(client.delete_range(request)),
        Step::Txn(request) => match client.txn(request).await {
            Ok(answer) => {
                let revision = header(answer.header);
                let mut responses = answer.responses;
                for one in &mut responses {
                    use rpc::response_op::Response;
                    match one.response.as_mut().unwrap() {
                        Response::ResponseRange(one) => one.header = None,
                        Response::ResponsePut(one) => one.header = None,
                        Response::ResponseDeleteRange(one) => one.header = None,
                        Response::ResponseTxn(one) => one.header = None,
                    }
                }
                (format!("{revision} {} {responses:?}", answer.succeeded), Some(revision))
            }
            Err(error) => (failed(&error), None),
        },
        Step::Compact(revision) => answer!(client.compact(revision)),
        Step::Grant(id) => answer!(client.lease_grant_as(id, 5000)),
        Step::Revoke(id) => answer!(client.lease_revoke(id)),
        Step::Lease(id) => match client.lease_time_to_live(id, true).await {
            Ok(mut answer) => {
                answer.header = None;
                answer.keys.sort();
                // Seconds go by between the two.
                answer.ttl = answer.ttl.signum();
                (format!("{answer:?}"), None)
            }
            Err(error) => (failed(&error), None),
        },
    }
}

/// Every event up to a revision, or what ended the watch.
async fn story(client: &Client, from: i64, to: i64) -> String {
    let mut watch = client.watch(WatchOptions {
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        start_revision: from,
        prev_kv: true,
        progress_notify: false,
    });
    let mut told = Vec::new();
    loop {
        let batch = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap().unwrap();
        match batch {
            Ok(batch) => told.extend(batch.events),
            Err(error) => return failed(&error),
        }
        if told.last().is_some_and(|last| last.kv.as_ref().unwrap().mod_revision >= to) {
            return format!("{told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_answers_as_etcd_does() {
    let Some(program) = testbed::program("etcd") else { return };
    let etcd = Etcd::start(&program);
    let theirs = Client::new(&Config::new([etcd.url.clone()])).unwrap();
    let memory = Memory::start().unwrap();
    let ours = memory.client();
    let mut dice = Dice { dice: StdRng::seed_from_u64(SEED), revision: 1 };
    let mut compacted = 0;
    for number in 0..STEPS {
        let step = dice.step();
        let (expected, revision) = ask(&theirs, step.clone()).await;
        let (said, _) = ask(&ours, step.clone()).await;
        assert_eq!(said, expected, "step {number}: {step:?}");
        dice.revision = revision.unwrap_or(dice.revision);
        if let (Step::Compact(at), Some(_)) = (&step, revision) {
            compacted = *at;
        }
    }
    assert!(compacted > 1, "nothing was compacted");
    // A last write, so that both know where the story ends.
    let last = rpc::PutRequest { key: "k0".into(), ..rpc::PutRequest::default() };
    let end = theirs.put(last.clone()).await.unwrap().header.unwrap().revision;
    ours.put(last).await.unwrap();
    for from in [1, compacted - 1, compacted + 1, compacted + 5, end] {
        let (expected, said) = (story(&theirs, from, end).await, story(&ours, from, end).await);
        assert_eq!(said, expected, "a watch from {from} to {end}");
    }
}

/// L1 and I3: the keys go with the lease, when the runtime's clock says so.
#[test]
fn a_lease_ends_by_the_clock_of_the_runtime() {
    let clock = clock::Clock::new();
    let thread = std::thread::spawn(move || {
        clock.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Memory::start().unwrap().client();
            let (hour, day) = (3600, 86400);
            for ttl in [hour, day] {
                let id = client.lease_grant(ttl).await.unwrap().id;
                let key = Bytes::from(format!("k{ttl}"));
                let put = rpc::PutRequest { key, lease: id, ..rpc::PutRequest::default() };
                client.put(put).await.unwrap();
            }
            let count = || async {
                let all = client.range(store_client::range_prefix("k")).await.unwrap();
                all.count
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(count().await, 2);
            clock.advance(Duration::from_secs(3601)).unwrap();
            tokio::time::timeout(DEADLINE, async {
                while count().await != 1 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
            let left = client.leases().await.unwrap();
            let answer = client.lease_time_to_live(left[0], true).await.unwrap();
            assert_eq!((left.len(), answer.keys), (1, vec![Bytes::from_static(b"k86400")]));
            assert!(answer.ttl < 86400 - 3600, "{}", answer.ttl);
        });
    });
    thread.join().unwrap();
}
