//! Loads endpoints with one kind of operation on keys.

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::LoadFlags;
use super::measure::Meter;
use super::operation::{Kind, Maker, RANGE, Shape, whole};
use super::pace::{Client, Turns, drive};
use super::report::Summary;
use super::tally::Done;
use super::wire::{Connection, frame, scan};

/// Keys that one transaction writes when keys are written only to be there.
pub(super) const FILL_PUTS: u64 = 64;

/// One client of a connection that others use, too.
struct Caller {
    kind: Kind,
    connection: Connection,
    maker: Maker,
}

impl Client for Caller {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        let request = self.maker.request(turn);
        let answer = self.connection.call(self.kind.path(), request).await?;
        self.maker.judge(&answer)?;
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}

/// Writes the keys that will be read, unless they are there, and reads.
pub(super) async fn read(
    kind: Kind,
    flags: &LoadFlags,
    is_filled: bool,
) -> anyhow::Result<Summary> {
    let mut connections = Connection::open_all(&flags.server).await?;
    if !is_filled {
        fill(flags, &connections).await.context("the keys to read cannot be written")?;
    }
    let count = count_keys(&mut connections[0], &flags.prefix).await?;
    // A single key is right whatever lies beside it.
    let single = matches!(kind, Kind::Range { shape: Shape::Key, .. });
    ensure!(
        count == flags.key_space || (single && count > flags.key_space),
        "{count} keys begin with {:?}, not {}: use another --prefix, or leave --no-fill away",
        flags.prefix,
        flags.key_space
    );
    measure(kind, flags, &connections).await
}

/// Loads the endpoints as the flags say: warms up, measures.
pub(super) async fn generate(kind: Kind, flags: &LoadFlags) -> anyhow::Result<Summary> {
    if let Kind::Txn { puts } = kind {
        ensure!(puts > 0 && puts as u64 <= flags.key_space, "a transaction needs 1 to all keys");
    }
    let connections = Connection::open_all(&flags.server).await?;
    measure(kind, flags, &connections).await
}

async fn measure(
    kind: Kind,
    flags: &LoadFlags,
    connections: &[Connection],
) -> anyhow::Result<Summary> {
    let pace = &flags.pace;
    ensure!(pace.clients > 0, "at least one client");
    let clients = || callers(kind, flags, connections);
    if pace.warm_up > 0 {
        // Few clients that read much at once would warm up for minutes.
        let turns = Turns::new(pace.warm_up, pace.duration, None);
        drive(clients(), turns, 1).await?;
    }
    let meter = Meter::start(&flags.server.pids)?;
    let turns = Turns::new(pace.total, pace.duration, pace.rate);
    let tally = drive(clients(), turns, 1).await?;
    let what = format!(
        "{} clients on {} connections, key {} B, value {} B",
        pace.clients, flags.server.conns, flags.key_size, flags.val_size
    );
    Summary::new(kind.name(), what, pace.rate, &tally, meter)
}

fn callers(kind: Kind, flags: &LoadFlags, connections: &[Connection]) -> Vec<Caller> {
    (0..flags.pace.clients)
        .map(|client| Caller {
            kind,
            connection: connections[client % connections.len()].clone(),
            maker: Maker::new(kind, flags, client),
        })
        .collect()
}

/// Writes all keys of the flags, and exactly those.
async fn fill(flags: &LoadFlags, connections: &[Connection]) -> anyhow::Result<()> {
    ensure!(flags.key_space > 0, "at least one key");
    let puts = FILL_PUTS.min(flags.key_space);
    let kind = Kind::Txn { puts: usize::try_from(puts)? };
    // The last transaction goes round, and writes some of the first keys again.
    let turns = Turns::count(flags.key_space.div_ceil(puts));
    let tally = drive(callers(kind, flags, connections), turns, 1).await?;
    tally.all_succeeded("transactions")
}

async fn count_keys(connection: &mut Connection, prefix: &str) -> anyhow::Result<u64> {
    let request = proto::etcdserverpb::RangeRequest { count_only: true, ..whole(prefix) };
    let answer: Bytes = connection.call(RANGE, frame(&request)).await?;
    scan::number(&answer, 4)
}
