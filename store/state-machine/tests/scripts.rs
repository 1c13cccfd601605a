//! Situations as scripts: commands above `---`, what they answer below, blank line between steps.
//!
//! To accept intended changes: `ORLOP_ACCEPT=1 cargo test -p store-state-machine --test scripts`,
//! then read the difference.
//!
//! Keys: `a` one key, `a..c` a range, `a..` all from `a` on, `""` the empty key. A transaction is
//! `txn COMPARES | THEN | ELSE` with `;` between items; a nested one uses `/` and `,`.
//!
//! `as alice COMMAND` is a command of alice, known at the auth revision of now; `as alice@3 ...` at
//! revision 3; `as a member ...` is one of a member itself.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a script that cannot be read is a failed test")]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proto::authpb::{Permission, UserAddOptions, permission::Type};
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{self as etcd, TxnResponse};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{AuthChange, Authenticate, Caller, auth_change::Change, command::Op};
use store_state_machine::{Access, ReadError, Reply};
use support::Store;

fn key_and_end(word: &str) -> (Bytes, Bytes) {
    let bytes = |text: &str| match text {
        "\"\"" => Bytes::new(),
        text => Bytes::copy_from_slice(text.replace("\\0", "\0").as_bytes()),
    };
    match word.split_once("..") {
        None => (bytes(word), Bytes::new()),
        Some((key, "")) => (bytes(key), Bytes::from_static(b"\0")),
        Some((key, end)) => (bytes(key), bytes(end)),
    }
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn number(words: &[&str], name: &str) -> i64 {
    option(words, name).map_or(0, |text| text.parse().unwrap())
}

fn parse_put(words: &[&str]) -> etcd::PutRequest {
    let value = words.get(1).filter(|word| !word.contains('=') && !word.contains('_'));
    etcd::PutRequest {
        key: key_and_end(words[0]).0,
        value: value.map_or(Bytes::new(), |value| Bytes::copy_from_slice(value.as_bytes())),
        lease: number(words, "lease"),
        prev_kv: words.contains(&"prev_kv"),
        ignore_value: words.contains(&"ignore_value"),
        ignore_lease: words.contains(&"ignore_lease"),
    }
}

fn parse_get(words: &[&str]) -> etcd::RangeRequest {
    let (key, range_end) = key_and_end(words[0]);
    let target = option(words, "sort")
        .map_or(SortTarget::Key, |name| SortTarget::from_str_name(&name.to_uppercase()).unwrap());
    let order = option(words, "order")
        .map_or(SortOrder::None, |name| SortOrder::from_str_name(&name.to_uppercase()).unwrap());
    etcd::RangeRequest {
        key,
        range_end,
        limit: number(words, "limit"),
        revision: number(words, "revision"),
        sort_order: order.into(),
        sort_target: target.into(),
        serializable: false,
        keys_only: words.contains(&"keys_only"),
        count_only: words.contains(&"count_only"),
        min_mod_revision: number(words, "min_mod"),
        max_mod_revision: number(words, "max_mod"),
        min_create_revision: number(words, "min_create"),
        max_create_revision: number(words, "max_create"),
    }
}

fn parse_compare(text: &str) -> etcd::Compare {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [target, key, sign, operand] = words[..] else { panic!("compare: {text}") };
    let (key, range_end) = key_and_end(key);
    let number = || operand.parse().unwrap();
    let (target, union) = match target {
        "version" => (CompareTarget::Version, TargetUnion::Version(number())),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number())),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number())),
        "value" => {
            let value = Bytes::copy_from_slice(operand.as_bytes());
            (CompareTarget::Value, TargetUnion::Value(value))
        }
        other => panic!("compare target {other}"),
    };
    let result = match sign {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => panic!("compare sign {other}"),
    };
    etcd::Compare {
        result: result.into(),
        target: target.into(),
        key,
        range_end,
        target_union: Some(union),
    }
}

fn parse_txn(text: &str, between: [&str; 2]) -> etcd::TxnRequest {
    let parts: Vec<&str> = text.splitn(3, between[0]).collect();
    let [compares, then, otherwise] = parts[..] else { panic!("txn: {text}") };
    let items = |text: &'_ str| -> Vec<String> {
        let items = text.split(between[1]).map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let ops = |text: &str| items(text).iter().map(|item| parse_op(item)).collect();
    etcd::TxnRequest {
        compare: items(compares).iter().map(|item| parse_compare(item)).collect(),
        success: ops(then),
        failure: ops(otherwise),
    }
}

fn parse_op(text: &str) -> etcd::RequestOp {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let request = match verb {
        "put" => Some(Request::RequestPut(parse_put(&words))),
        "get" => Some(Request::RequestRange(parse_get(&words))),
        "delete" => Some(Request::RequestDeleteRange(parse_delete(&words))),
        "txn" => Some(Request::RequestTxn(parse_txn(rest, ["/", ","]))),
        "nothing" => None,
        other => panic!("operation {other}"),
    };
    etcd::RequestOp { request }
}

fn parse_delete(words: &[&str]) -> etcd::DeleteRangeRequest {
    let (key, range_end) = key_and_end(words[0]);
    etcd::DeleteRangeRequest { key, range_end, prev_kv: words.contains(&"prev_kv") }
}

fn parse_command(line: &str) -> Option<Op> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let first = || words[0].parse::<i64>().unwrap();
    Some(match verb {
        "put" => Op::Put(parse_put(&words)),
        "delete" => Op::DeleteRange(parse_delete(&words)),
        "txn" => Op::Txn(parse_txn(rest, ["|", ";"])),
        "compact" => Op::Compact(etcd::CompactionRequest { revision: first(), physical: false }),
        "grant" => {
            let ttl = words[1].parse().unwrap();
            Op::LeaseGrant(etcd::LeaseGrantRequest { id: first(), ttl })
        }
        "revoke" => Op::LeaseRevoke(etcd::LeaseRevokeRequest { id: first() }),
        "checkpoint" => Op::LeaseCheckpoint(etcd::LeaseCheckpointRequest {
            checkpoints: vec![etcd::LeaseCheckpoint {
                id: first(),
                remaining_ttl: words[1].parse().unwrap(),
            }],
        }),
        "alarm" => {
            let action = if words[0] == "raise" { 1 } else { 2 };
            let alarm = etcd::AlarmType::from_str_name(&words[1].to_uppercase()).unwrap();
            Op::Alarm(etcd::AlarmRequest { action, member_id: 1, alarm: alarm.into() })
        }
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\0")
}

fn show(kv: &KeyValue) -> String {
    let mut line = format!(
        "{}={} create {} mod {} version {}",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    );
    if kv.lease != 0 {
        write!(line, " lease {}", kv.lease).unwrap();
    }
    line
}

fn show_range(answer: &etcd::RangeResponse) -> String {
    let more = if answer.more { " more" } else { "" };
    let mut lines = format!("count {}{more}", answer.count);
    for kv in &answer.kvs {
        write!(lines, "\n  {}", show(kv)).unwrap();
    }
    lines
}

fn show_put(answer: &etcd::PutResponse) -> String {
    let revision = answer.header.unwrap().revision;
    let before = answer.prev_kv.as_ref().map_or(String::new(), |kv| format!(" was {}", show(kv)));
    format!("revision {revision}{before}")
}

fn show_delete(answer: &etcd::DeleteRangeResponse) -> String {
    let mut line =
        format!("revision {} deleted {}", answer.header.unwrap().revision, answer.deleted);
    for kv in &answer.prev_kvs {
        write!(line, "\n  was {}", show(kv)).unwrap();
    }
    line
}

fn show_txn(answer: &TxnResponse) -> String {
    let branch = if answer.succeeded { "then" } else { "else" };
    let mut lines = format!("revision {} {branch}", answer.header.unwrap().revision);
    for response in &answer.responses {
        let shown = match response.response.as_ref().unwrap() {
            Response::ResponseRange(answer) => show_range(answer),
            Response::ResponsePut(answer) => show_put(answer),
            Response::ResponseDeleteRange(answer) => show_delete(answer),
            Response::ResponseTxn(answer) => show_txn(answer),
        };
        write!(lines, "\n  {}", shown.replace('\n', "\n  ")).unwrap();
    }
    lines
}

fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Put(answer) => show_put(answer),
        Reply::DeleteRange(answer) => show_delete(answer),
        Reply::Txn(answer) => show_txn(answer),
        Reply::Compact(answer) => format!("revision {}", answer.header.unwrap().revision),
        Reply::LeaseGrant(answer) => format!("lease {} ttl {}", answer.id, answer.ttl),
        Reply::LeaseRevoke(answer) => format!("revision {}", answer.header.unwrap().revision),
        Reply::Alarm(answer) => format!("alarms {:?}", answer.alarms.len()),
        Reply::LeaseCheckpoint(_) | Reply::Done => "ok".to_owned(),
        Reply::Members(members) => format!("members {}", members.len()),
        Reply::Auth(changed) => format!("auth revision {}", changed.auth_revision),
    }
}

/// Commands that only read, or are about the process and not the state.
fn look(store: &mut Store, line: &str) -> String {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let view = store.get().view();
    match verb {
        "get" => match view.range(&parse_get(&words)) {
            Ok(answer) => show_range(&answer),
            Err(ReadError::Refused(refusal)) => format!("refused: {refusal}"),
            Err(ReadError::Failed(fault)) => panic!("{fault}"),
        },
        "events" => match view.events(words[0].parse().unwrap(), i64::MAX, usize::MAX) {
            Err(error) => format!("refused: {error}"),
            Ok(all) => {
                let mut lines = Vec::new();
                for event in all.iter().flat_map(|revision| &revision.events) {
                    let previous = view.previous_kv(event).unwrap();
                    let previous = previous.map_or("nothing".to_owned(), |kv| show(&kv));
                    let kind = if event.deleted { "deleted" } else { "put" };
                    lines.push(format!("{kind} {} was {previous}", show(&event.kv)));
                }
                if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
            }
        },
        "lease" => view.lease(words[0].parse().unwrap()).map_or("none".to_owned(), |lease| {
            let keys: Vec<String> = lease.keys.iter().map(|key| text(key)).collect();
            let (ttl, remaining) = (lease.record.ttl, lease.record.remaining_ttl);
            format!("ttl {ttl} remaining {remaining} keys {}", keys.join(" "))
        }),
        "step" => {
            let step = store.get().compact_step(words[0].parse().unwrap()).unwrap();
            format!("removed {} done {}", step.removed, step.done)
        }
        "hash" => format!("{:?}", view.hash_kv(0).unwrap()),
        "indexed" => format!("{:?}", view.key_counts()),
        "reopen" => {
            drop(view);
            store.reopen();
            format!("revision {}", store.get().view().revision())
        }
        other => panic!("command {other}"),
    }
}

fn parse_auth(line: &str) -> Option<Change> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let word = |number: usize| words[number].to_owned();
    let (key, range_end) = key_and_end(words.last().copied().unwrap_or_default());
    Some(match (words[0], words.get(1).copied().unwrap_or_default()) {
        ("auth", "enable") => Change::Enable(etcd::AuthEnableRequest {}),
        ("auth", "disable") => Change::Disable(etcd::AuthDisableRequest {}),
        ("login", name) => {
            Change::Authenticate(Authenticate { name: name.to_owned(), ..Authenticate::default() })
        }
        ("user", "add") => Change::UserAdd(etcd::AuthUserAddRequest {
            name: word(2).replace("\"\"", ""),
            hashed_password: option(&words, "hash").unwrap_or_default().to_owned(),
            options: Some(UserAddOptions { no_password: words.contains(&"no_password") }),
            ..Default::default()
        }),
        ("user", "delete") => Change::UserDelete(etcd::AuthUserDeleteRequest { name: word(2) }),
        ("user", "password") => Change::UserChangePassword(etcd::AuthUserChangePasswordRequest {
            name: word(2),
            hashed_password: word(3),
            ..Default::default()
        }),
        ("user", "grant") => {
            Change::UserGrantRole(etcd::AuthUserGrantRoleRequest { user: word(2), role: word(3) })
        }
        ("user", "revoke") => {
            Change::UserRevokeRole(etcd::AuthUserRevokeRoleRequest { name: word(2), role: word(3) })
        }
        ("role", "add") => {
            Change::RoleAdd(etcd::AuthRoleAddRequest { name: word(2).replace("\"\"", "") })
        }
        ("role", "delete") => Change::RoleDelete(etcd::AuthRoleDeleteRequest { role: word(2) }),
        ("role", "grant") => {
            let kind = Type::from_str_name(&words[3].to_uppercase());
            let perm = kind.map(|kind| Permission { perm_type: kind.into(), key, range_end });
            let name = word(2);
            Change::RoleGrantPermission(etcd::AuthRoleGrantPermissionRequest { name, perm })
        }
        ("role", "revoke") => {
            let role = word(2);
            let request = etcd::AuthRoleRevokePermissionRequest { role, key, range_end };
            Change::RoleRevokePermission(request)
        }
        _ => return None,
    })
}

fn show_auth(store: &mut Store) -> String {
    let auth = store.get().view().auth();
    let mut lines = format!("enabled {} revision {}", auth.enabled(), auth.revision());
    for user in auth.users() {
        let password = text(&user.password);
        write!(lines, "\nuser {} password {password:?} roles {:?}", text(&user.name), user.roles)
            .unwrap();
    }
    for role in auth.roles() {
        write!(lines, "\nrole {}", text(&role.name)).unwrap();
        for permission in &role.key_permission {
            let kind = permission.perm_type().as_str_name().to_lowercase();
            let (key, end) = (text(&permission.key), text(&permission.range_end));
            write!(lines, "\n  {kind} {key}..{end}").unwrap();
        }
    }
    lines
}

/// Who asks, and for what.
fn parse_caller<'a>(store: &mut Store, line: &'a str) -> (Option<Caller>, &'a str) {
    if let Some(rest) = line.strip_prefix("as a member ") {
        return (Some(Caller { member: true, ..Caller::default() }), rest);
    }
    let Some((name, rest)) = line.strip_prefix("as ").and_then(|line| line.split_once(' ')) else {
        return (None, line);
    };
    let now = store.get().view().auth().revision();
    let (user, auth_revision) =
        name.split_once('@').map_or((name, now), |(name, at)| (name, at.parse().unwrap()));
    (Some(Caller { user: user.to_owned(), auth_revision, member: false }), rest)
}

fn run_line(store: &mut Store, line: &str) -> String {
    let (caller, line) = parse_caller(store, line);
    let change = parse_auth(line).map(|change| Op::Auth(AuthChange { change: Some(change) }));
    match change.or_else(|| parse_command(line)) {
        Some(op) => match store.run_by(caller, op).0 {
            Ok(reply) => show_reply(&reply),
            Err(refusal) => format!("refused: {refusal}"),
        },
        None if line == "auth" => show_auth(store),
        None => match line.strip_prefix("get ") {
            Some(range) => {
                let get = parse_get(&range.split_whitespace().collect::<Vec<_>>());
                let auth = store.get().view().auth();
                let permitted =
                    auth.permit(caller.as_ref(), Access::Read, &get.key, &get.range_end);
                permitted.map_or_else(|why| format!("refused: {why}"), |()| look(store, line))
            }
            None => look(store, line),
        },
    }
}

fn run_script(path: &Path) -> (String, String) {
    let script = fs::read_to_string(path).unwrap();
    let mut store = Store::new();
    let mut result = String::new();
    for step in script.trim_end().split("\n\n") {
        let commands = step.split("\n---").next().unwrap().trim_end();
        let mut shown = Vec::new();
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            shown.push(run_line(&mut store, line));
        }
        if !result.is_empty() {
            result.push_str("\n\n");
        }
        write!(result, "{commands}\n---\n{}", shown.join("\n")).unwrap();
    }
    (script, result + "\n")
}

fn scripts(topic: &str) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(topic);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no script in {}", dir.display());
    for path in paths {
        let (wanted, got) = run_script(&path);
        if std::env::var_os("ORLOP_ACCEPT").is_some() {
            fs::write(&path, &got).unwrap();
            continue;
        }
        assert_eq!(got, wanted, "{}", path.display());
    }
}

#[test]
fn single_keys_and_ranges() {
    scripts("kv");
}

#[test]
fn transactions() {
    scripts("txn");
}

#[test]
fn compaction() {
    scripts("compact");
}

#[test]
fn leases() {
    scripts("lease");
}

#[test]
fn users_and_roles() {
    scripts("auth");
}
