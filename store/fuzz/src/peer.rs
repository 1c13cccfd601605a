//! What members say to each other, and what a member sends for a backup.
//!
//! The first byte chooses the message; a snapshot and a comparison are made of several.

use std::{collections::BTreeMap, fmt::Debug};

use prost::Message as _;
use proto::orlop::{backup::v1 as backup, peer::v1 as peer, store::v1 as store};
use store_server::{Config, decoders::peers};
use store_state_machine::Reply;
use testbed::fuzz::Input;

use crate::{laws, scratch};

/// Takes one of them.
pub fn peer(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 12 {
        0 => stable(input.rest(), peers::append),
        1 => stable(input.rest(), |message| peers::appended(&message)),
        2 => stable(input.rest(), |message| peers::vote(&message)),
        3 => stable(input.rest(), |message| peers::voted(&message)),
        4 => stable(input.rest(), |message| peers::membership(&message)),
        5 => forwarded(input.rest()),
        6 => snapshot(input),
        7 => hashes(input),
        8 => join(input.rest()),
        9 => changed(input.rest()),
        10 => outcomes(input.rest()),
        _ => others(input),
    }
}

/// Z2: what is understood of a message is the same when it was said again.
fn stable<M: prost::Message + Default + PartialEq + Clone + Debug>(
    bytes: &[u8],
    there_and_back: impl Fn(M) -> Result<M, String>,
) {
    let Some(message) = laws::message::<M>(bytes) else { return };
    let Ok(once) = there_and_back(message) else { return };
    let twice = there_and_back(once.clone()).expect("Z2: it is understood again");
    assert!(once == twice, "Z2: {once:?} became {twice:?}");
}

/// What enters the log is what apply can read.
fn forwarded(bytes: &[u8]) {
    let Some(request) = laws::message::<peer::ForwardRequest>(bytes) else { return };
    if let Ok(batch) = peers::forwarded(&request) {
        peers::batch(&batch).expect("Z5: what is proposed can be applied");
    }
}

fn snapshot(mut input: Input<'_>) {
    let mut messages: Vec<peer::InstallSnapshotRequest> = Vec::new();
    while let Some(piece) = input.piece() {
        messages.extend(laws::message(piece));
    }
    let folder = scratch::folder();
    let dir = folder.path().join("received");
    let outcome = peers::snapshot(&dir, &messages);
    assert!(!dir.exists(), "what was received is removed when nobody holds it");
    let beside = folder.path().read_dir().expect("it is a folder").count();
    assert_eq!(beside, 0, "nothing is written beside it");
    let Ok(received) = outcome else { return };
    let Some(peer::install_snapshot_request::Part::Manifest(manifest)) =
        messages.into_iter().next().and_then(|message| message.part)
    else {
        panic!("a snapshot begins with its manifest");
    };
    let mut listed = manifest.files;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(received, listed, "what arrived is what was listed");
}

/// A member is thought to differ only from a majority.
fn hashes(mut input: Input<'_>) {
    let position = (input.long() % 4, input.long().cast_signed() % 4, 0);
    let mut answers = BTreeMap::new();
    let mut digests = BTreeMap::new();
    while let Some(piece) = input.piece() {
        if let Some(answer) = laws::message::<peer::HashKvResponse>(piece) {
            answers.insert(answers.len() as u64, answer);
        }
        if let Some(answer) = laws::message::<peer::DigestResponse>(piece) {
            digests.insert(digests.len() as u64, answer);
        }
    }
    let apart = peers::digests_differ(&digests);
    assert!(2 * apart.len() < digests.len().max(1), "{apart:?} of {digests:?}");
    let differ = peers::differ(position, &answers);
    assert!(2 * differ.len() < answers.len().max(1), "{differ:?} of {answers:?}");
}

fn config() -> &'static Config {
    static CONFIG: std::sync::LazyLock<Config> = std::sync::LazyLock::new(|| {
        let flags = [
            "--name=b",
            "--initial-advertise-peer-urls=http://b:1",
            "--initial-cluster=a=http://a:1,b=http://b:1",
            "--initial-cluster-state=existing",
        ];
        let config = store_server::decoders::flags::command_line(&flags);
        config.expect("these are good flags").0
    });
    &CONFIG
}

fn join(bytes: &[u8]) {
    let Some(answer) = laws::message::<peer::IdentifyResponse>(bytes) else { return };
    if let Ok(id) = peers::joiner(&answer, config()) {
        assert!(answer.members.iter().any(|member| member.id == id), "it is one of the members");
    }
}

fn changed(bytes: &[u8]) {
    use peer::change_membership_request::Change;
    let Some(request) = laws::message::<peer::ChangeMembershipRequest>(bytes) else { return };
    let urls = match request.change {
        Some(Change::Add(add)) => add.peer_urls,
        Some(Change::Update(update)) => update.peer_urls,
        Some(Change::Remove(_) | Change::Promote(_) | Change::MoveLeader(_)) | None => return,
    };
    drop(peers::member_urls(&urls));
}

fn outcomes(bytes: &[u8]) {
    let Some(response) = laws::message::<peer::ForwardResponse>(bytes) else { return };
    let Some(peer::forward_response::Result::Forwarded(forwarded)) = response.result else {
        return;
    };
    for outcome in forwarded.outcomes {
        // One that this version does not know is none.
        if let Some(known) = Reply::from_wire(outcome) {
            let wire = Reply::to_wire(known.clone());
            let wire = store::Outcome::decode(wire.encode_to_vec().as_slice()).expect("Z2");
            assert_eq!(Reply::from_wire(wire), Some(known), "Z2: an outcome is the same");
        }
    }
}

fn others(mut input: Input<'_>) {
    let kind = input.byte() % 8;
    let bytes = input.rest();
    match kind {
        0 => drop(laws::message::<peer::ReadIndexResponse>(bytes)),
        1 => drop(laws::message::<peer::LeaseRenewResponse>(bytes)),
        2 => drop(laws::message::<peer::LeaseTimeToLiveRequest>(bytes)),
        3 => drop(laws::message::<peer::ChangeMembershipResponse>(bytes)),
        4 => drop(laws::message::<peer::TransferLeaderRequest>(bytes)),
        5 => {
            let _hashes: Option<peer::HashKvRequest> = laws::message(bytes);
            let _digests: Option<peer::DigestRequest> = laws::message(bytes);
        }
        6 => drop(laws::message::<backup::CheckpointRequest>(bytes)),
        _ => drop(laws::message::<backup::CheckpointResponse>(bytes)),
    }
}
