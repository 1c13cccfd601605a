//! Measures apply and reads on this machine: `cargo run --release --example apply_speed -p store-state-machine`.
#![expect(clippy::print_stdout, reason = "a measurement is for a person")]
#![expect(clippy::disallowed_methods, reason = "measures time; the state machine does not see it")]

use std::time::Instant;

use bytes::Bytes;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use proto::orlop::store::v1::{Command, command::Op};
use store_state_machine::{Entry, Options, StateMachine};

const KEYS: u64 = 100_000;
const WRITES: u64 = 400_000;
const WRITES_PER_APPLY: u64 = 100;

fn command(number: u64, value: &Bytes) -> Command {
    // Spread over the keys without a random number.
    let key = number.wrapping_mul(7_919) % KEYS;
    let key = Bytes::from(format!("/registry/pods/namespace-{:03}/pod-{key:08}", key % 100));
    let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
    Command { id: number, op: Some(Op::Put(put)), ..Command::default() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut machine = StateMachine::open(dir.path(), &Options::default())?;
    let value: Bytes = (0..1024u32).map(|n| u8::try_from(n * 31 % 64).unwrap_or(0)).collect();

    let start = Instant::now();
    for batch in 0..WRITES / WRITES_PER_APPLY {
        let first = batch * WRITES_PER_APPLY;
        let commands = (first..first + WRITES_PER_APPLY).map(|n| command(n, &value)).collect();
        let log_id = Bytes::copy_from_slice(&batch.to_be_bytes());
        machine.apply(vec![Entry { log_id, membership: None, commands }])?;
    }
    let per_second = |count: u64, start: Instant| count as f64 / start.elapsed().as_secs_f64();
    println!("puts of 1 KiB: {:.0}/s", per_second(WRITES, start));

    let small = Bytes::from_static(b"small");
    let start = Instant::now();
    for batch in 0..WRITES / WRITES_PER_APPLY {
        let first = batch * WRITES_PER_APPLY;
        let entry = |n: u64| {
            let log_id = Bytes::copy_from_slice(&[n.to_be_bytes(); 3].concat());
            Entry { log_id, membership: None, commands: vec![command(n, &small)] }
        };
        machine.apply((first..first + WRITES_PER_APPLY).map(entry).collect())?;
    }
    println!("small puts, each an entry: {:.0}/s", per_second(WRITES, start));

    let view = machine.view();
    let zero = Bytes::from_static(b"\0");
    let all = RangeRequest { key: zero.clone(), range_end: zero, ..RangeRequest::default() };
    for name in ["first list", "second list"] {
        let start = Instant::now();
        let answer = view.range(&all)?;
        println!("{name}: {:.0} keys/s", per_second(answer.kvs.len() as u64, start));
    }
    let start = Instant::now();
    let page = RangeRequest { limit: 500, ..all };
    for _ in 0..100 {
        view.range(&page)?;
    }
    println!("pages of 500 with their count: {:.0}/s", per_second(100, start));

    let start = Instant::now();
    let page = view.events(2, i64::MAX, usize::MAX)?;
    println!("events replayed: {:.0}/s", per_second(page.len() as u64, start));

    machine.flush()?;
    drop(page);
    drop((view, machine));
    let start = Instant::now();
    let machine = StateMachine::open(dir.path(), &Options::default())?;
    println!("reopen with {} keys: {:?}", machine.view().key_counts().0, start.elapsed());
    Ok(())
}
