//! Where a fuzzer begins: for each target a few inputs that are understood.

use bytes::Bytes;
use prost::Message;
use proto::authpb::{Permission, Role, User};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, Member, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    compare::{CompareTarget, TargetUnion},
    request_op::Request,
    watch_request::RequestUnion,
};
use proto::mvccpb::{Event, KeyValue};
use proto::orlop::{
    peer::v1 as peer,
    store::v1::{
        AuthChange, Batch, Caller, Command, LeaseRecord, MemberRemove, Record, auth_change::Change,
        command::Op,
    },
};
use store_backup::{
    Error, Kind, Manifest, Source,
    archive::Step,
    etcd::{Auth, Place, Record as Written, Records, State},
    plan, write,
};
use testbed::fuzz::push_piece;

/// Those of a target; none for a name that is no target.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "apply" => vec![apply(commands()), apply(with_users())],
        "documents" => documents(),
        "flags" => flags(),
        "peer" => peers(),
        "requests" => requests(),
        "snapshot" => vec![snapshot()],
        "state" => vec![state()],
        "wal" => wal(),
        "watch" => vec![watch()],
        _ => Vec::new(),
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn put(key: &'static str, lease: i64) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes("value"),
        lease,
        prev_kv: true,
        ..PutRequest::default()
    }
}

fn delete(key: &'static str, end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true }
}

fn range(key: &'static str, end: &'static str, revision: i64) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        revision,
        limit: 2,
        ..RangeRequest::default()
    }
}

fn txn() -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let compare = Compare {
        target: CompareTarget::Create.into(),
        key: bytes("a"),
        target_union: Some(TargetUnion::CreateRevision(3)),
        ..Compare::default()
    };
    let inner = TxnRequest {
        failure: vec![op(Request::RequestPut(put("n", 0)))],
        success: vec![op(Request::RequestDeleteRange(delete("b", "c")))],
        ..TxnRequest::default()
    };
    TxnRequest {
        compare: vec![compare],
        success: vec![
            op(Request::RequestRange(range("a", "z", 3))),
            op(Request::RequestPut(put("t", 7))),
            op(Request::RequestTxn(inner)),
        ],
        failure: vec![op(Request::RequestRange(range("a", "\0", 0)))],
    }
}

fn commands() -> Vec<Op> {
    vec![
        Op::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 60 }),
        Op::Put(put("a", 7)),
        Op::Put(put("a", 0)),
        Op::Put(put("b", 7)),
        Op::Txn(txn()),
        Op::DeleteRange(delete("a", "b")),
        Op::LeaseRevoke(LeaseRevokeRequest { id: 7 }),
        Op::Put(put("", 0)),
        Op::Compact(CompactionRequest { revision: 4, physical: false }),
        Op::MemberSet(member(3)),
        Op::MemberRemove(MemberRemove { member_id: 3 }),
    ]
}

fn with_users() -> Vec<Op> {
    let user = |name: &str| AuthUserAddRequest {
        name: name.to_owned(),
        hashed_password: "JDJhJDA0JA==".to_owned(),
        ..AuthUserAddRequest::default()
    };
    let perm = Permission { perm_type: 2, key: bytes("a"), range_end: bytes("b") };
    let changes = [
        Change::UserAdd(user("root")),
        Change::UserAdd(user("u")),
        Change::RoleAdd(AuthRoleAddRequest { name: "r".to_owned() }),
        Change::RoleGrantPermission(AuthRoleGrantPermissionRequest {
            name: "r".to_owned(),
            perm: Some(perm),
        }),
        Change::UserGrantRole(AuthUserGrantRoleRequest {
            user: "root".to_owned(),
            role: "root".to_owned(),
        }),
        Change::UserGrantRole(AuthUserGrantRoleRequest {
            user: "u".to_owned(),
            role: "r".to_owned(),
        }),
        Change::Enable(AuthEnableRequest {}),
    ];
    let change = |change| Op::Auth(AuthChange { change: Some(change) });
    changes.into_iter().map(change).chain([Op::Put(put("a", 0)), Op::Txn(txn())]).collect()
}

fn batch(ops: Vec<Op>) -> Vec<u8> {
    let caller = Caller { user: "u".to_owned(), auth_revision: 8, member: false };
    let commands =
        ops.into_iter().map(|op| Command { id: 1, caller: Some(caller.clone()), op: Some(op) });
    Batch { commands: commands.collect() }.encode_to_vec()
}

fn apply(ops: Vec<Op>) -> Vec<u8> {
    let mut out = vec![0xff];
    push_piece(&mut out, &batch(ops));
    out
}

fn watch() -> Vec<u8> {
    let mut out = vec![4];
    let ask = |union| WatchRequest { request_union: Some(union) }.encode_to_vec();
    let create = |key, end, start_revision, watch_id| {
        RequestUnion::CreateRequest(WatchCreateRequest {
            key: bytes(key),
            range_end: bytes(end),
            start_revision,
            watch_id,
            prev_kv: true,
            fragment: true,
            ..WatchCreateRequest::default()
        })
    };
    for (kind, message) in [
        (1, batch(vec![Op::Put(put("a", 0)), Op::Put(put("b", 0))])),
        (0, ask(create("a", "z", 0, 0))),
        (0, ask(create("a", "", 1, 5))),
        (0, ask(create("b", "\0", 9, 0))),
        (1, batch(vec![Op::Txn(txn()), Op::DeleteRange(delete("a", "z"))])),
        (0, ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))),
        (0, ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 5 }))),
        (1, batch(vec![Op::Compact(CompactionRequest { revision: 3, physical: false })])),
        (0, ask(create("a", "", 1, 0))),
    ] {
        push_piece(&mut out, &[&[kind], message.as_slice()].concat());
    }
    out
}

fn member(id: u64) -> Member {
    Member {
        id,
        name: "m".to_owned(),
        peer_urls: vec!["http://b:1".to_owned()],
        client_urls: vec!["http://b:2".to_owned()],
        is_learner: false,
    }
}

fn chosen(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}

fn documents() -> Vec<Vec<u8>> {
    let files = vec![store_backup::FileEntry {
        name: "000004.sst".to_owned(),
        bytes: 7,
        sha256: "0".repeat(64),
    }];
    let manifest = Manifest::new(Kind::Checkpoint, Source::default(), Vec::new(), (9, 3), files);
    let step = Step {
        revision: 2,
        at_ms: 1,
        events: vec![Event { kv: Some(kv(2)), ..Event::default() }],
        leases: vec![LeaseRecord { id: 7, ttl: 60, remaining_ttl: 0 }],
    };
    let step = step.encode_to_vec();
    let segment = [&u32::try_from(step.len()).expect("short").to_le_bytes()[..], &step].concat();
    let mut steps = vec![3];
    push_piece(&mut steps, &step);
    push_piece(&mut steps, &Step { revision: 3, ..Step::default() }.encode_to_vec());
    let mut names = vec![4, 3, 0, 0, 0, 0, 0, 0, 0];
    for name in
        ["archive/c/00000000000000000003-00000000000000000007", "c/5-9", "2026-11-21T10:00:00Z"]
    {
        push_piece(&mut names, name.as_bytes());
    }
    let membership =
        r#"{"configs":[[1,2],[1]],"nodes":{"1":{"urls":["http://a:1"]},"2":{"urls":[]}}}"#;
    let stored = format!(
        r#"{{"log_id":{{"leader_id":{{"term":1,"node_id":2}},"index":3}},"membership":{membership}}}"#
    );
    let entry = |kind: u8, body: &[u8]| {
        [&[5; 9][..], &[1, kind], &7_u64.to_be_bytes(), &1_u64.to_be_bytes(), body].concat()
    };
    let record = Record { kv: Some(kv(2)), sub: 1, previous_main: 1, ..Record::default() };
    vec![
        chosen(0, b"orlop seal 1\nCURRENT 16 00c0ffee\n000004.sst 7 00000000"),
        chosen(1, &manifest.to_json()),
        chosen(2, &segment),
        steps,
        names,
        entry(0, b""),
        entry(1, &batch(vec![Op::Put(put("a", 0))])),
        entry(2, membership.as_bytes()),
        chosen(6, &[1; 17]),
        chosen(7, &[1; 24]),
        chosen(8, membership.as_bytes()),
        chosen(9, stored.as_bytes()),
        chosen(10, &record.encode_to_vec()),
        chosen(11, b"\0{\"format\":1,\"cluster_id\":7,\"member_id\":8}"),
        chosen(11, b"\x01\x01\x06\x08\x02"),
    ]
}

fn kv(revision: i64) -> KeyValue {
    KeyValue {
        key: bytes("a"),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: bytes("value"),
        lease: 7,
    }
}

fn flags() -> Vec<Vec<u8>> {
    let line = [
        "--name=a",
        "--data-dir=d",
        "--initial-cluster=a=http://127.0.0.1:2380,b=http://[::1]:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--listen-client-urls=http://127.0.0.1:2379,http://localhost:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h30m",
        "--auth-token=jwt,sign-method=HS256,priv-key=k,ttl=5m",
        "--feature-gates=InitialCorruptCheck=true",
        "--enable-log-rotation",
        "--log-outputs=f",
        "--log-rotation-config-json={\"maxsize\": 5}",
        "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--quota-backend-bytes=-1",
    ];
    let file = "name: 'm1'\nheartbeat-interval: 50\nwatch-progress-notify-interval: 5000000000\n\
                cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n\
                client-transport-security:\n  cert-file: /c\n  key-file: /k\n  allowed-cn: [a, b]\n\
                peer-transport-security:\n  allowed-cn: c\n";
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
    vec![
        chosen(0, line.join("\n").as_bytes()),
        chosen(1, file.as_bytes()),
        chosen(1, b"{\"name\": \"a\", \"strict-reconfig-check\": false}"),
        chosen(2, b"a=http://a:1,b=https://b:2/,a=http://c:3"),
        chosen(3, b"http://a:1, https://[::1]:2/"),
        chosen(5, "1h2.5m3s4ms5us6\u{b5}s7ns".as_bytes()),
        chosen(4, &[&[4], pem.as_bytes()].concat()),
    ]
}

fn peers() -> Vec<Vec<u8>> {
    use peer::{append_entries_response as appended, install_snapshot_request::Part};
    let id = peer::LogId { term: 2, node_id: 1, index: 9 };
    let vote = peer::VoteState { term: 2, node_id: 1, committed: true };
    let membership = peer::Membership {
        configs: vec![peer::VoterSet { node_ids: vec![1, 2] }],
        nodes: [1, 2].map(|id| peer::Node { id, peer_urls: vec!["http://a:1".to_owned()] }).into(),
        log_id: Some(id),
    };
    let entry = |payload| peer::LogEntry { log_id: Some(id), payload };
    let batch = Bytes::from(batch(vec![Op::Put(put("a", 0))]));
    let append = peer::AppendEntriesRequest {
        vote: Some(vote),
        prev_log_id: Some(id),
        entries: vec![
            entry(None),
            entry(Some(peer::log_entry::Payload::Batch(batch.clone()))),
            entry(Some(peer::log_entry::Payload::Membership(membership.clone()))),
        ],
        leader_commit: Some(id),
        cluster_id: 7,
    };
    let result = appended::Result::Conflict(peer::Conflict { log_id: Some(id) });
    let appended = peer::AppendEntriesResponse { result: Some(result) };
    let asked = peer::VoteRequest {
        vote: Some(vote),
        last_log_id: Some(id),
        leadership_transfer: true,
        cluster_id: 7,
    };
    let voted = peer::VoteResponse { vote: Some(vote), granted: true, last_log_id: Some(id) };
    let forward = peer::ForwardRequest {
        batch,
        deadline_ms: 7000,
        cluster_id: 7,
        leader: Some(peer::Leader { term: 2, node_id: 1 }),
    };
    let file = |name: &str, data: &[u8]| peer::SnapshotFile {
        name: name.to_owned(),
        size: data.len() as u64,
        crc32c: crc32c::crc32c(data),
    };
    let manifest = Part::Manifest(peer::SnapshotManifest {
        files: vec![file("CURRENT", b"ab"), file("empty", b"")],
        format: 1,
        ..peer::SnapshotManifest::default()
    });
    let chunk = |offset, data: &'static [u8]| {
        Part::Chunk(peer::SnapshotChunk { file: 0, offset, data: Bytes::from_static(data) })
    };
    let mut snapshot = vec![6];
    for part in [manifest, chunk(0, b"a"), chunk(1, b"b")] {
        let message = peer::InstallSnapshotRequest { part: Some(part) };
        push_piece(&mut snapshot, &message.encode_to_vec());
    }
    let mut hashes = vec![7; 17];
    for hash in [1, 1, 2] {
        let hashed =
            peer::Hashed { hash, applied_index: 3, current_revision: 3, compact_revision: 0 };
        let result = Some(peer::hash_kv_response::Result::Hashed(hashed));
        let answer = peer::HashKvResponse { result, rebuilt: false };
        push_piece(&mut hashes, &answer.encode_to_vec());
    }
    for (digest, entries) in [(1, 3), (1, 3), (2, 3), (1, 2)] {
        let said = peer::Digested { digest, entries, scheme: 1 };
        let result = Some(peer::digest_response::Result::Digested(said));
        push_piece(&mut hashes, &peer::DigestResponse { result }.encode_to_vec());
    }
    let other = Member { peer_urls: vec!["http://a:1".to_owned()], ..member(1) };
    let own = Member { name: String::new(), ..member(2) };
    let known = peer::IdentifyResponse {
        cluster_id: 7,
        members: vec![other, own],
        ..peer::IdentifyResponse::default()
    };
    vec![
        chosen(0, &append.encode_to_vec()),
        chosen(1, &appended.encode_to_vec()),
        chosen(2, &asked.encode_to_vec()),
        chosen(3, &voted.encode_to_vec()),
        chosen(4, &membership.encode_to_vec()),
        chosen(5, &forward.encode_to_vec()),
        snapshot,
        hashes,
        chosen(8, &known.encode_to_vec()),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let txn_json = r#"{"compare":[{"key":"YQ==","target":"VALUE","value":"YQ==","result":"EQUAL"}],"success":[{"requestTxn":{"failure":[{"request_put":{"key":"YQ==","lease":"7"}}]}}]}"#;
    let watch_json = r#"{"create_request":{"key":"YQ","rangeEnd":"_w==","filters":["NODELETE",0]}} {"progress_request":{}}"#;
    vec![
        chosen(
            0,
            &chosen(0, br#"{"key":"YQ==","sort_order":"DESCEND","limit":5.0,"revision":null}"#),
        ),
        chosen(0, &chosen(3, txn_json.as_bytes())),
        chosen(0, &chosen(5, watch_json.as_bytes())),
        chosen(2, &chosen(0, &range("a", "z", 3).encode_to_vec())),
        chosen(2, &chosen(3, &txn().encode_to_vec())),
        chosen(4, b"\x07\0\0\0\0\0\0\0lock"),
        chosen(5, b"Bearer abcdefghijklmnop.17"),
        chosen(6, b"\x07\0\0\0\0\0\0\0\x10\0alice"),
        chosen(7, &[0x30, 0x03, 0x02, 0x01, 0x05]),
    ]
}

struct One;

impl Records<Error> for One {
    fn visit(&self, each: &mut dyn FnMut(Written<'_>) -> Result<(), Error>) -> Result<(), Error> {
        for main in 2..5 {
            let place = Place { main, sub: 0 };
            let kv = KeyValue { create_revision: 2, version: main - 1, ..kv(main) };
            each(Written { place, deleted: false, kv: &kv.encode_to_vec() })?;
        }
        let gone = KeyValue { key: bytes("a"), ..KeyValue::default() };
        each(Written { place: Place { main: 5, sub: 0 }, deleted: true, kv: &gone.encode_to_vec() })
    }
}

/// The database of a small store.
fn database() -> Vec<u8> {
    let state = State {
        index: 9,
        term: 2,
        voters: vec![1],
        compacted: 3,
        removed_below: 3,
        cluster_version: "3.6.0".to_owned(),
        storage_version: "3.6.0".to_owned(),
        leases: vec![LeaseRecord { id: 7, ttl: 60, remaining_ttl: 0 }],
        members: vec![member(1)],
        removed_members: vec![5],
        auth: Auth {
            enabled: true,
            revision: 5,
            users: vec![User {
                name: bytes("root"),
                roles: vec!["root".to_owned()],
                ..User::default()
            }],
            roles: vec![Role { name: bytes("root"), ..Role::default() }],
        },
        ..State::default()
    };
    let mut file = Vec::new();
    let mut chunks = Vec::new();
    let planned = plan::<_, Error>(&state, &One).expect("it is small");
    let written = write::<_, Error>(&planned, &mut |chunk, _| {
        chunks.push(chunk);
        Ok(())
    });
    written.expect("it is small");
    // The last one is the checksum.
    chunks.pop();
    chunks.iter().for_each(|chunk| file.extend_from_slice(chunk));
    file
}

/// A file as `snapshot` reads it: what is not zero, with its place.
fn snapshot() -> Vec<u8> {
    let file = database();
    let mut out = vec![0xff, u8::try_from(file.len() >> 10).expect("it is small")];
    for (number, piece) in file.chunks(64).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            out.extend(u16::try_from(number * 16).expect("it is small").to_le_bytes());
            push_piece(&mut out, piece);
        }
    }
    out
}

fn state() -> Vec<u8> {
    let mut out = vec![9];
    for (key, rest) in [
        ("a", &[3, 2, 0, 0x70, 2, 1, 0][..]),
        ("a", &[3, 4, 0, 0x70, 2, 2, 2]),
        ("b", &[3, 5, 0, 0x01, 0, 0, 0]),
    ] {
        push_piece(&mut out, key.as_bytes());
        out.extend_from_slice(rest);
    }
    let lease = LeaseRecord { id: 7, ttl: 60, remaining_ttl: 0 }.encode_to_vec();
    push_piece(&mut out, &[&b"lease/"[..], &7_u64.to_be_bytes()].concat());
    out.push(2);
    push_piece(&mut out, &lease);
    let user = User { name: bytes("u"), ..User::default() }.encode_to_vec();
    push_piece(&mut out, b"user/u");
    out.push(2);
    push_piece(&mut out, &user);
    out
}

fn wal() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (kind, numbered, how) in [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 5)] {
        let mut out = vec![kind, numbered, how, 40, 0, 0, 0, 0, 0, 0, 0];
        for filler in [0_u16, 40_000, 3] {
            push_piece(&mut out, b"payload");
            out.extend(filler.to_le_bytes());
        }
        all.push(out);
    }
    let mut parts = vec![2];
    for kind in [2, 3, 4, 0x81] {
        push_piece(&mut parts, &[1; 12]);
        parts.extend([kind, 0, 0]);
    }
    all.push(parts);
    let mut folder = vec![3, b'2', b'\n', b' '];
    for number in [1, 2] {
        push_piece(&mut folder, &[1; 20]);
        folder.extend([number, 1, 0, 0, 0]);
    }
    all.push(folder);
    all
}

/// Fails unless the seeds are understood by what their targets are about.
///
/// # Panics
/// When one is not.
pub fn check() {
    use store_server::decoders::{clients, disk, flags as operators, peers as members};
    let database = store_backup::bbolt::Database::open(database()).expect("it is a database");
    let state = store_backup::etcd::read_state(&database).expect("it holds a state");
    assert_eq!((state.leases.len(), state.auth.users.len()), (1, 1));
    let all = documents();
    let rest = |number: usize| &all[number][1..];
    assert!(Manifest::from_json("seed", rest(1)).is_ok());
    for number in [5, 6, 7] {
        let stored = Bytes::copy_from_slice(&all[number][9..]);
        disk::entry(1, &stored).expect("it is an entry");
    }
    disk::membership(rest(10)).expect("it is a membership");
    disk::stored_membership(rest(11)).expect("it is a membership");
    let all = flags();
    let text = |number: usize| str::from_utf8(&all[number][1..]).expect("it is text");
    let line: Vec<&str> = text(0).split('\n').collect();
    operators::command_line(&line).expect("these are good flags");
    operators::file(text(1)).expect("it is a good file");
    operators::file(text(2)).expect("it is a good file");
    operators::initial_cluster(text(3)).expect("these are members");
    assert!(operators::duration(text(5)).is_some());
    assert!(clients::token_keys("EdDSA", &all[6][2..]).0, "it is a key");
    let append = peer::AppendEntriesRequest::decode(&peers()[0][1..]).expect("it is a message");
    members::append(append).expect("it is understood");
    let forward = peer::ForwardRequest::decode(&peers()[5][1..]).expect("it is a message");
    members::forwarded(&forward).expect("it would be proposed");
    for (number, path) in [(0, "kv/range"), (1, "kv/txn"), (2, "watch")] {
        let document = &requests()[number];
        let paths = clients::gateway_paths();
        assert_eq!(paths[usize::from(document[1])].0, path);
        clients::gateway_request(path, &document[2..], 1 << 15).expect("it is read");
    }
}
