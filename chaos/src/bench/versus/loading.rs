//! Row B2, and the many keys of other rows: written in parts, in turns.

use super::flags::{PARTS, PUTS};
use super::goal::Goal::TimesAtLeast;
use super::sample::{Comparison, KEYS, Sample};
use super::stores::{Side, Stores};
use super::{BIG_KEY_BYTES, BIG_PREFIX, VersusFlags, progress};
use crate::bench::operation::Kind;
use crate::bench::{LoadFlags, PaceFlags, ServerFlags, load};

/// Clients and connections of the row.
const CLIENTS: usize = 8;

/// Writes the many keys into both, and returns how fast each was. They must not be there yet.
pub(super) async fn load(flags: &VersusFlags, stores: &mut Stores) -> anyhow::Result<Comparison> {
    let title = format!("transactions of {PUTS} puts, to {} keys, {CLIENTS} clients", flags.keys);
    let mut comparison = Comparison::new("B2", title, vec![(KEYS, TimesAtLeast(5.0))]);
    let keys = flags.keys / PARTS;
    for part in 0..PARTS {
        for side in Side::BOTH {
            progress(&format!("{} keys into {}, {}/{PARTS}", flags.keys, side.name(), part + 1));
            let sample = write(stores, side, part * keys, keys).await?;
            comparison.push(side, sample);
        }
    }
    stores.is_loaded = true;
    Ok(comparison)
}

/// Writes some of the many keys, all of which are a multiple of a transaction's.
pub(super) async fn write(
    stores: &mut Stores,
    side: Side,
    first_key: u64,
    keys: u64,
) -> anyhow::Result<Sample> {
    let cluster = stores.of(side);
    let flags = LoadFlags {
        server: ServerFlags::plain(cluster.urls(), CLIENTS, cluster.pids()),
        pace: PaceFlags {
            clients: CLIENTS,
            total: keys / PUTS,
            duration: None,
            warm_up: 0,
            rate: None,
            seed: 1,
        },
        prefix: BIG_PREFIX.to_owned(),
        key_size: BIG_KEY_BYTES,
        val_size: 256,
        key_space: keys,
        first_key,
        sequential_keys: true,
    };
    let kind = Kind::Txn { puts: usize::try_from(PUTS)? };
    let summary = Box::pin(load::generate(kind, &flags)).await?;
    anyhow::ensure!(
        summary.failed == 0,
        "{}: the many keys cannot be written: {:?}",
        side.name(),
        summary.errors
    );
    Sample::of(&summary, Some(PUTS))
}
