//! Leases kept alive: each client asks on a stream of its own and waits for the answer.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use proto::etcdserverpb as pb;

use super::LeaseFlags;
use super::measure::Meter;
use super::pace::{Client, Turns, drive};
use super::report::Summary;
use super::tally::{Done, Tally};
use super::wire::{Connection, Receiver, Sender, frame, scan};

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Clients that grant and revoke leases, before and after.
const HELPERS: usize = 32;

/// Grants the leases, keeps them alive as the flags say, and revokes them.
pub(super) async fn run(flags: &LeaseFlags) -> anyhow::Result<Summary> {
    ensure!(flags.leases > 0 && flags.pace.clients > 0, "at least one lease and one client");
    let connections = Connection::open_all(&flags.server).await?;
    let leases = grant(&connections, flags.leases, flags.ttl).await?;
    let summary = keep_alive(flags, &connections, &leases).await;
    // Also when that failed: leases that nobody keeps alive would expire under the next one's feet.
    let revoked = revoke(&connections, &leases).await;
    let summary = summary?;
    revoked?;
    Ok(summary)
}

async fn keep_alive(
    flags: &LeaseFlags,
    connections: &[Connection],
    leases: &Arc<Vec<i64>>,
) -> anyhow::Result<Summary> {
    let pace = &flags.pace;
    let warm_up = Turns::new(pace.warm_up, pace.duration, None);
    drive(keepers(pace.clients, connections, leases), warm_up, 1).await?;
    let meter = Meter::start(&flags.server.pids)?;
    let turns = Turns::new(pace.total, pace.duration, pace.rate);
    let tally = drive(keepers(pace.clients, connections, leases), turns, 1).await?;
    let what = format!(
        "{} leases, {} clients on {} connections, a stream each",
        flags.leases, pace.clients, flags.server.conns
    );
    Summary::new("lease-keepalive".to_owned(), what, pace.rate, &tally, meter)
}

fn keepers(clients: usize, connections: &[Connection], leases: &Arc<Vec<i64>>) -> Vec<Keeper> {
    (0..clients)
        .map(|client| Keeper {
            connection: connections[client % connections.len()].clone(),
            stream: None,
            leases: Arc::clone(leases),
        })
        .collect()
}

/// Keeps one lease after the other alive.
struct Keeper {
    connection: Connection,
    stream: Option<(Sender, Receiver)>,
    leases: Arc<Vec<i64>>,
}

impl Client for Keeper {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        let place = usize::try_from(turn % self.leases.len() as u64)?;
        let lease = self.leases[place];
        // A stream that failed is not used again: an answer that comes late would be taken for
        // that of the next request.
        let (mut sender, mut receiver) = match self.stream.take() {
            Some(stream) => stream,
            None => self.connection.stream(KEEP_ALIVE).await?,
        };
        sender.send(frame(&pb::LeaseKeepAliveRequest { id: lease }))?;
        let answer = receiver.expect().await?;
        ensure!(scan::signed(&answer, 2)? == lease, "an answer is for another lease");
        ensure!(scan::signed(&answer, 3)? > 0, "a lease is not there any more");
        self.stream = Some((sender, receiver));
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}

/// Grants so many leases, with ids that the server chooses.
pub(super) async fn grant(
    connections: &[Connection],
    count: u64,
    ttl: i64,
) -> anyhow::Result<Arc<Vec<i64>>> {
    let granted = Arc::new(Mutex::new(Vec::new()));
    let clients = (0..HELPERS)
        .map(|client| Granter {
            connection: connections[client % connections.len()].clone(),
            ttl,
            granted: Arc::clone(&granted),
        })
        .collect();
    let tally: Tally = drive(clients, Turns::count(count), 1).await?;
    tally.all_succeeded("leases cannot be granted")?;
    let granted = std::mem::take(&mut *granted.lock());
    Ok(Arc::new(granted))
}

struct Granter {
    connection: Connection,
    ttl: i64,
    granted: Arc<Mutex<Vec<i64>>>,
}

impl Client for Granter {
    async fn turn(&mut self, _: u64) -> anyhow::Result<Done> {
        let request = pb::LeaseGrantRequest { ttl: self.ttl, id: 0 };
        let answer = self.connection.call(GRANT, frame(&request)).await?;
        let id = scan::signed(&answer, 2)?;
        ensure!(id != 0, "a lease has no id");
        self.granted.lock().push(id);
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}

/// Revokes leases, and with them the keys that they hold.
pub(super) async fn revoke(
    connections: &[Connection],
    leases: &Arc<Vec<i64>>,
) -> anyhow::Result<()> {
    let clients = (0..HELPERS)
        .map(|client| Revoker {
            connection: connections[client % connections.len()].clone(),
            leases: Arc::clone(leases),
        })
        .collect();
    let tally = drive(clients, Turns::count(leases.len() as u64), 1).await?;
    tally.all_succeeded("leases cannot be revoked")
}

struct Revoker {
    connection: Connection,
    leases: Arc<Vec<i64>>,
}

impl Client for Revoker {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        let lease = self.leases.get(usize::try_from(turn)?).context("a turn is a lease")?;
        let request = pb::LeaseRevokeRequest { id: *lease };
        let answer = self.connection.call(REVOKE, frame(&request)).await?;
        scan::revision(&answer)?;
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}
