//! What operators do while everything runs: move the leader, compact, defragment, back up.

use std::time::Instant;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::strike::{Blow, Effect};
use crate::history::{Action, Outcome};
use crate::limits;

/// Of etcd's database files, after the header of their first page.
const BBOLT_MAGIC: u32 = 0xED0C_DAED;
/// Where it stands.
const BBOLT_MAGIC_AT: usize = 16;
/// Database files are a whole number of these.
const SECTOR: usize = 512;

/// The leader hands over to the next member that is up.
pub(super) async fn move_leader(blow: &Blow) -> anyhow::Result<Effect> {
    let world = &blow.world;
    let (leader, term) = world.wait_leader(limits::RUN_CALL_DEADLINE).await?;
    let target = world.another(&[leader]).context("nobody else is up")?;
    let id = world.id(target).await?;
    world.api(leader)?.move_leader(id).await?;
    let start = Instant::now();
    let mut view = world.view().await;
    while view.leader == Some(leader) && start.elapsed() < limits::RUN_CALL_DEADLINE {
        tokio::time::sleep(limits::POLL_INTERVAL).await;
        view = world.view().await;
    }
    let now = view.leader.map_or_else(|| "nobody".to_owned(), |now| format!("member {now}"));
    let words = format!(
        "member {leader} led in term {term}, {now} does in term {} (asked for: {target})",
        view.term
    );
    Ok(Effect::if_so(view.leader.is_some_and(|now| now != leader), words))
}

/// Compacts what a watcher of everything has been told: the checkers have the log from it. As one of
/// the recorded operations, for watchers may lawfully be told of it.
pub(super) async fn compact(blow: &Blow) -> anyhow::Result<Effect> {
    let world = &blow.world;
    let (leader, _) = world.wait_leader(limits::RUN_CALL_DEADLINE).await?;
    let mut margin = i64::try_from(blow.event.seed % 50).unwrap_or(0);
    let mut is_late = false;
    let mut before = world.compacted.lock().await;
    let start = Instant::now();
    let revision = loop {
        let revision = world.watched() - margin;
        if revision <= (*before).max(1) {
            if is_late && start.elapsed() < limits::RUN_CALL_DEADLINE {
                tokio::time::sleep(limits::POLL_INTERVAL).await;
                continue;
            }
            return Ok(Effect::Nothing("nothing new is old enough".to_owned()));
        }
        let action = Action::Compact { revision };
        let recorder = &world.recorder;
        let index = recorder.invoke(recorder.new_process(), leader, action.clone());
        let index = index.context("the history is full")?;
        let outcome = world.client(leader)?.execute(&action).await;
        recorder.complete(index, outcome.clone());
        *before = revision;
        match outcome {
            Outcome::Ok(_) => break revision,
            // A client that compacts too was ahead.
            Outcome::Refused(why) if why.contains("compacted") => {
                (margin, is_late) = (margin / 2, true);
            }
            Outcome::Refused(why) | Outcome::Unknown(why) => {
                return Ok(Effect::Nothing(format!("to {revision}: {why}")));
            }
        }
    };
    let took_ms = start.elapsed().as_millis();
    // Asked of a member that certainly votes: a leader that has just learned may not say so yet.
    let asked = world.another(&[]).context("nobody is up")?;
    let error = world.api(asked)?.read_error_at(revision - 1).await?.unwrap_or_default();
    let words = format!("to {revision} in {took_ms} ms; a read before it: {error:?}");
    Ok(Effect::if_so(error.contains("compacted"), words))
}

/// One after the other.
pub(super) async fn defragment(blow: &Blow) -> anyhow::Result<Effect> {
    let mut words = Vec::new();
    for member in blow.members.iter().filter(|member| blow.world.is_up(**member)) {
        let api = blow.world.api(*member)?;
        let before = api.status(limits::RUN_STATUS_DEADLINE).await?.db_size;
        let start = Instant::now();
        api.defragment().await.with_context(|| format!("member {member}"))?;
        let took_ms = start.elapsed().as_millis();
        let after = api.status(limits::RUN_STATUS_DEADLINE).await?.db_size;
        words.push(format!("member {member}: {before} to {after} bytes in {took_ms} ms"));
    }
    Ok(Effect::if_so(!words.is_empty(), words.join("; ")))
}

/// Takes a snapshot, and looks whether it is whole.
pub(super) async fn backup(blow: &Blow) -> anyhow::Result<Effect> {
    let start = Instant::now();
    let taken = snapshot(blow, blow.members[0]).await?;
    let took_ms = start.elapsed().as_millis();
    Ok(match taken {
        Ok(file) => {
            let bytes = file.len();
            Effect::Took(format!("{bytes} bytes in {took_ms} ms, whole by their checksum"))
        }
        Err(wrong) => Effect::Nothing(wrong),
    })
}

/// A snapshot that is whole, or what is wrong with it, which the run fails of.
pub(super) async fn snapshot(
    blow: &Blow,
    member: usize,
) -> anyhow::Result<Result<Vec<u8>, String>> {
    let file = blow.world.api(member)?.snapshot().await?;
    Ok(match checked(&file) {
        Ok(()) => Ok(file),
        Err(wrong) => {
            let wrong = format!("the snapshot of member {member} is damaged: {wrong}");
            blow.world.told.lock().crashes.push(wrong.clone());
            Err(wrong)
        }
    })
}

/// A database of whole sectors with its mark, and the checksum of it all.
fn checked(file: &[u8]) -> Result<(), String> {
    let Some((database, told)) = file.split_last_chunk::<32>() else {
        return Err(format!("{} bytes are no snapshot", file.len()));
    };
    if !database.len().is_multiple_of(SECTOR) {
        return Err(format!("{} bytes are no whole number of sectors", database.len()));
    }
    let is = Sha256::digest(database);
    if is.as_slice() != told {
        return Err("its checksum is another one".to_owned());
    }
    let magic = database.get(BBOLT_MAGIC_AT..BBOLT_MAGIC_AT + 4);
    if magic != Some(BBOLT_MAGIC.to_le_bytes().as_slice()) {
        return Err(format!("it begins with {magic:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        let mut database = vec![7; 4 * SECTOR];
        database[BBOLT_MAGIC_AT..BBOLT_MAGIC_AT + 4].copy_from_slice(&BBOLT_MAGIC.to_le_bytes());
        let digest = Sha256::digest(&database);
        database.extend_from_slice(&digest);
        database
    }

    #[test]
    fn only_a_whole_snapshot_is_accepted() {
        assert_eq!(checked(&whole()), Ok(()));
        assert!(checked(&whole()[..100]).is_err());
        assert!(checked(&[]).is_err());
        let mut flipped = whole();
        flipped[700] ^= 1;
        assert!(checked(&flipped).is_err_and(|why| why.contains("checksum")));
        let other = vec![7; SECTOR];
        let other = [other.as_slice(), Sha256::digest(&other).as_slice()].concat();
        assert!(checked(&other).is_err_and(|why| why.contains("begins")));
    }
}
