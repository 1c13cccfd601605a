//! What clients send beside watches and commands: messages, JSON of the gateway, names of locks,
//! tokens, certificates.
//!
//! The first byte chooses.

use std::{fmt::Debug, sync::LazyLock};

use prost::Message;
use proto::{etcdserverpb as etcd, v3electionpb as election, v3lockpb as lock};
use store_server::decoders::clients::{self, SignedTokens};
use store_state_machine::KeyRange;
use testbed::fuzz::Input;

use crate::{laws, scratch};

/// Bytes of one JSON document.
const DOCUMENT_BYTES: usize = 1 << 15;

/// Reads one of them.
pub fn requests(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 8 {
        0 | 1 => json(input),
        2 | 3 => message(input),
        4 => names(&mut input),
        5 => tokens(input.rest()),
        6 => claims(input.rest()),
        _ => certificates(input.rest()),
    }
}

/// Decodes a message, and takes it through JSON and back.
fn carried<M: Message + Default + PartialEq + Debug>(name: &str, bytes: &[u8]) -> bool {
    let Some(message) = laws::message::<M>(bytes) else { return false };
    match clients::gateway_round_trip(name, &message.encode_to_vec()) {
        Ok((json, again)) => {
            let again = M::decode(again.as_slice()).expect("Z2: it is that message");
            let json = String::from_utf8_lossy(&json);
            assert!(again == message, "Z2: {message:?} became {again:?} by way of {json}");
        }
        // JSON goes less deep than messages do.
        Err(why) => assert!(why.contains("recursion limit"), "Z2: {message:?}: {why}"),
    }
    true
}

type Carrier = (&'static str, fn(&str, &[u8]) -> bool);

macro_rules! carriers {
    ($($package:literal $module:ident: $($message:ident)*;)*) => {
        [$($((
            concat!($package, ".", stringify!($message)),
            carried::<$module::$message> as fn(&str, &[u8]) -> bool,
        )),*),*]
    };
}

const MESSAGES: [Carrier; 57] = carriers! {
    "etcdserverpb" etcd:
        RangeRequest PutRequest DeleteRangeRequest TxnRequest CompactionRequest WatchRequest
        LeaseGrantRequest LeaseRevokeRequest LeaseKeepAliveRequest LeaseTimeToLiveRequest
        LeaseLeasesRequest MemberAddRequest MemberRemoveRequest MemberUpdateRequest
        MemberListRequest MemberPromoteRequest AlarmRequest StatusRequest DefragmentRequest
        HashRequest HashKvRequest SnapshotRequest MoveLeaderRequest DowngradeRequest
        AuthEnableRequest AuthDisableRequest AuthStatusRequest AuthenticateRequest
        AuthUserAddRequest AuthUserGetRequest AuthUserDeleteRequest AuthUserChangePasswordRequest
        AuthUserGrantRoleRequest AuthUserRevokeRoleRequest AuthRoleAddRequest AuthRoleGetRequest
        AuthRoleDeleteRequest AuthRoleGrantPermissionRequest AuthRoleRevokePermissionRequest
        RangeResponse TxnResponse WatchResponse StatusResponse MemberListResponse
        LeaseTimeToLiveResponse AuthRoleGetResponse AuthUserGetResponse AlarmResponse;
    "v3lockpb" lock: LockRequest UnlockRequest LockResponse;
    "v3electionpb" election:
        CampaignRequest ProclaimRequest LeaderRequest ResignRequest CampaignResponse
        LeaderResponse;
};

fn message(mut input: Input<'_>) {
    let (name, carry) = MESSAGES[usize::from(input.byte()) % MESSAGES.len()];
    // prost's names are Rust's.
    carry(&name.replace("Kv", "KV"), input.rest());
}

static PATHS: LazyLock<Vec<(&'static str, String, String)>> = LazyLock::new(clients::gateway_paths);

/// A document is refused, or it is a message.
fn json(mut input: Input<'_>) {
    let (path, asked, _) = &PATHS[usize::from(input.byte()) % PATHS.len()];
    let Ok(messages) = clients::gateway_request(path, input.rest(), DOCUMENT_BYTES) else { return };
    let Some((name, carry)) = MESSAGES.iter().find(|(name, _)| name == asked) else { return };
    for message in messages {
        assert!(carry(name, &message), "what the gateway makes of {path} is a {name}");
        drop(clients::gateway_answer(path, &message));
    }
}

/// Who waits for a lock or an election is found below its name.
fn names(input: &mut Input<'_>) {
    let lease = input.long().cast_signed();
    let name = input.take(usize::MAX);
    let (key, range) = clients::waiter(name, lease);
    let all = KeyRange::new(&range.key, &range.range_end);
    assert!(all.contains(&key), "a waiter is among those who wait");
    let other = clients::waiter(name, lease.wrapping_add(1)).0;
    assert_ne!(other, key, "two leases wait with two keys");
}

struct Signer {
    tokens: SignedTokens,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let folder = scratch::folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret that is long enough").expect("a file can be written");
    Signer { tokens: SignedTokens::new(&secret).expect("it is a secret") }
});

fn tokens(bytes: &[u8]) {
    for header in ["token", "authorization"] {
        let Ok(Some(token)) = clients::header(header, bytes) else { continue };
        let _index = clients::simple_token(&token);
        assert_eq!(SIGNER.tokens.check(&token), None, "nobody signs a token by chance");
    }
}

/// A signed token says what was signed; changed anywhere, it says nothing.
fn claims(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (revision, place) = (input.long() >> 11, usize::from(input.short()));
    let Ok(user) = str::from_utf8(input.rest()) else { return };
    let token = SIGNER.tokens.sign(user, revision).expect("it can be signed");
    assert_eq!(SIGNER.tokens.check(&token), Some((user.to_owned(), revision)), "Z2");
    let mut changed = token.into_bytes();
    let at = place % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("it is base64");
    // The last letter of a base64 text has bits that mean nothing.
    if at + 1 != changed.len() {
        assert_eq!(SIGNER.tokens.check(&changed), None, "another token is not good");
    }
}

fn certificates(der: &[u8]) {
    if let Some(name) = clients::common_name(der) {
        assert!(!name.is_empty());
    }
}
