//! A history that the checkers must accept, and what they must reject of it.

use std::collections::{BTreeMap, BTreeSet};

use super::check_all;
use crate::informer::object::Kind;
use crate::informer::record::{
    ApiFault, Ask, Call, Change, Exchange, Fault, Finals, History, InformerLog, Name, Object,
    Outcome, Scope, StoreEvent, Told, Verb, What,
};

fn name(name: &str) -> Name {
    Name { kind: Kind::ConfigMap, namespace: "c-0".to_owned(), name: name.to_owned() }
}

/// An object `uid` of the name x at a revision: tokens of its list, then its marks.
fn object(uid: &str, revision: i64, group: &str, list: &[&str], marks: &[&str]) -> Object {
    let owned = |tokens: &[&str]| tokens.iter().map(|&token| token.to_owned()).collect::<Vec<_>>();
    Object {
        name: name("x"),
        uid: uid.to_owned(),
        revision,
        group: group.to_owned(),
        list: owned(list),
        marks: owned(marks).into_iter().collect::<BTreeSet<_>>(),
    }
}

/// The versions of x: made, appended to, marked, moved to another group, deleted, and made again.
fn versions() -> [Option<Object>; 6] {
    [
        Some(object("u1", 11, "a", &["t1"], &[])),
        Some(object("u1", 12, "a", &["t1", "t2"], &[])),
        Some(object("u1", 13, "a", &["t1", "t2"], &["t3"])),
        Some(object("u1", 14, "b", &["t1", "t2", "t4"], &["t3"])),
        None,
        Some(object("u2", 16, "a", &["t5"], &[])),
    ]
}

fn version(revision: i64) -> Object {
    let index = usize::try_from(revision - 11).unwrap();
    versions()[index].clone().unwrap()
}

/// Call number `index`, sent at 10 * index ms and answered 5 ms later.
fn call(index: usize, verb: Verb, token: Option<&str>, outcome: Outcome) -> Call {
    let at = 10_000_000 * index as u64;
    let uid = (verb == Verb::Delete).then(|| "u1".to_owned());
    Call {
        index,
        writer: 0,
        server: 0,
        invoked_ns: at,
        completed_ns: at + 5_000_000,
        verb,
        name: name("x"),
        token: token.map(str::to_owned),
        uid,
        outcome,
    }
}

fn calls() -> Vec<Call> {
    let ok = |revision| Outcome::Ok(Some(version(revision)));
    vec![
        call(0, Verb::Get, None, Outcome::Refused(404, "not there".to_owned())),
        call(1, Verb::Create, Some("t1"), ok(11)),
        call(2, Verb::Replace, Some("t2"), ok(12)),
        call(3, Verb::Replace, Some("t9"), Outcome::Refused(409, "conflict".to_owned())),
        call(4, Verb::Patch, Some("t3"), ok(13)),
        call(5, Verb::Replace, Some("t4"), Outcome::Unknown("cut off".to_owned())),
        call(6, Verb::Get, None, ok(14)),
        call(7, Verb::Delete, None, Outcome::Ok(None)),
        call(8, Verb::Get, None, Outcome::Refused(404, "not there".to_owned())),
        call(9, Verb::Create, Some("t5"), ok(16)),
        call(10, Verb::DeleteCollection, None, Outcome::Refused(0, "nobody".to_owned())),
    ]
}

fn event(change: Change, object: Object) -> What {
    What::Event { change, object }
}

fn bookmark(revision: i64) -> What {
    What::Bookmark { revision, ends_list: false }
}

fn page(revision: i64, has_more: bool, items: &[Object]) -> What {
    What::Page { revision, has_more, items: items.to_vec() }
}

fn exchange(at_ms: u64, ask: Ask, told: Vec<What>) -> Exchange {
    let asked_ns = at_ms * 1_000_000;
    let told = told.into_iter().map(|what| Told { time_ns: asked_ns + 1, what }).collect();
    Exchange { asked_ns, ask, told, ended: None, ended_ns: u64::MAX }
}

fn informer(name: &str, group: Option<&str>, exchanges: Vec<Exchange>) -> InformerLog {
    let scope = Scope { kind: Kind::ConfigMap, namespace: None, group: group.map(str::to_owned) };
    let cache = BTreeMap::from([(version(16).name, 16)]);
    InformerLog { name: name.to_owned(), server: Some(0), scope, exchanges, lives: 1, cache }
}

const CONSISTENT: Ask = Ask::List { is_consistent: true };

/// One that sees all, one that sees group a, and one that begins with a watch.
fn informers() -> Vec<InformerLog> {
    let gone = Object { revision: 15, ..version(14) };
    let left = Object { revision: 14, ..version(13) };
    let all = vec![
        exchange(27, CONSISTENT, vec![page(12, true, &[version(12)])]),
        exchange(28, Ask::Continue, vec![page(12, false, &[])]),
        exchange(
            29,
            Ask::Watch { after: 12 },
            vec![
                event(Change::Modified, version(13)),
                bookmark(13),
                event(Change::Modified, version(14)),
                event(Change::Deleted, gone),
                bookmark(15),
            ],
        ),
        exchange(80, Ask::Watch { after: 15 }, vec![event(Change::Added, version(16))]),
    ];
    let selected = vec![
        exchange(1, CONSISTENT, vec![page(10, false, &[])]),
        exchange(
            2,
            Ask::Watch { after: 10 },
            vec![
                event(Change::Added, version(11)),
                event(Change::Modified, version(12)),
                event(Change::Modified, version(13)),
                event(Change::Deleted, left),
                event(Change::Added, version(16)),
            ],
        ),
    ];
    let streamed = vec![exchange(
        2,
        Ask::WatchList,
        vec![
            event(Change::Added, version(11)),
            What::Bookmark { revision: 11, ends_list: true },
            event(Change::Modified, version(12)),
        ],
    )];
    vec![
        informer("all", None, all),
        informer("selected", Some("a"), selected),
        informer("streamed", None, streamed),
    ]
}

fn good() -> History {
    let log = versions().into_iter().zip(11..).map(|(object, revision)| StoreEvent {
        revision,
        name: name("x"),
        object,
    });
    let end = BTreeMap::from([(name("x"), 16)]);
    History {
        base_revision: 10,
        base: Vec::new(),
        log: log.collect(),
        calls: calls(),
        informers: informers(),
        faults: Vec::new(),
        finals: Finals { store: end.clone(), servers: vec![end] },
    }
}

/// The rules that a history breaks.
fn broken(history: &History) -> BTreeSet<&'static str> {
    let verdicts = check_all(history);
    let violations = verdicts.iter().flat_map(|verdict| &verdict.violations);
    violations.map(|violation| violation.rule).collect()
}

#[track_caller]
fn must_break(rule: &str, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let rules = broken(&history);
    assert!(rules.contains(rule), "{rule} is not among {rules:?}");
}

/// What an informer was told in one exchange.
fn told(history: &mut History, informer: usize, exchange: usize) -> &mut Vec<Told> {
    &mut history.informers[informer].exchanges[exchange].told
}

fn told_object(told: &mut Told) -> &mut Object {
    match &mut told.what {
        What::Event { object, .. } => object,
        What::Page { items, .. } => &mut items[0],
        What::Bookmark { .. } | What::Failed { .. } => panic!("no object is told here"),
    }
}

#[test]
fn a_good_history_is_accepted() {
    let verdicts = check_all(&good());
    assert!(verdicts.iter().all(crate::checker::Verdict::passed), "{verdicts:#?}");
}

#[test]
fn a_run_that_shows_nothing_is_no_pass() {
    must_break("I0", |history| history.calls.retain(|call| call.verb != Verb::Patch));
    must_break("I0", |history| history.finals.servers.push(history.finals.store.clone()));
    must_break("I0", |history| told(history, 2, 0).clear());
}

/// Something that was done to API server 0 between two calls, and whether it was felt.
fn fault(how: ApiFault) -> Fault {
    Fault {
        name: "a fault".to_owned(),
        api: Some((0, how)),
        is_felt: true,
        injected_ns: 61_000_000,
        healed_ns: 79_000_000,
        recovered_ns: Some(79_500_000),
    }
}

#[test]
fn a_fault_that_nobody_felt_is_none() {
    must_break("I0", |history| {
        history.faults.push(Fault { is_felt: false, api: None, ..fault(ApiFault::Kill) });
    });
    must_break("I0", |history| {
        history.faults.push(Fault { recovered_ns: None, api: None, ..fault(ApiFault::Kill) });
    });
    for how in [ApiFault::Kill, ApiFault::Pause, ApiFault::Strand, ApiFault::Cut] {
        must_break("I0", |history| history.faults.push(fault(how)));
        let mut history = good();
        history.faults.push(fault(how));
        match how {
            ApiFault::Kill => history.informers[1].exchanges[1].ended_ns = 62_000_000,
            ApiFault::Pause | ApiFault::Cut => history.calls[6].completed_ns = 70_000_000,
            ApiFault::Strand => {
                let what = What::Failed { code: 410, text: "too old".to_owned() };
                told(&mut history, 1, 1).push(Told { time_ns: 70_000_000, what });
            }
        }
        assert_eq!(broken(&history), BTreeSet::new(), "{how:?}");
    }
}

#[test]
fn caches_lists_and_store_that_differ_are_told() {
    must_break("I1", |history| history.informers[0].cache.clear());
    must_break("I1", |history| {
        history.informers[1].cache.insert(name("x"), 12);
    });
    must_break("I1", |history| {
        history.informers[1].cache.insert(name("resurrected"), 12);
    });
    must_break("I1", |history| history.finals.servers[0].clear());
    must_break("I1", |history| {
        history.finals.store.insert(name("x"), 17);
    });
}

#[test]
fn an_informer_does_not_travel_back_in_time() {
    must_break("I2", |history| {
        let old = exchange(90, CONSISTENT, vec![page(14, false, &[version(14)])]);
        history.informers[0].exchanges.push(old);
    });
    must_break("I2", |history| {
        let old = event(Change::Modified, version(13));
        told(history, 0, 2).push(Told { time_ns: 0, what: old });
    });
    // Of any version, on one server.
    must_break("I2", |history| {
        let any = Ask::List { is_consistent: false };
        let old = exchange(90, any, vec![page(12, false, &[version(12)])]);
        history.informers[0].exchanges.push(old);
    });
}

#[test]
fn an_old_list_of_another_server_is_allowed_to_who_wants_any() {
    let mut history = good();
    let any = Ask::List { is_consistent: false };
    let old = exchange(90, any, vec![page(12, false, &[version(12)])]);
    history.informers[0].server = None;
    history.informers[0].exchanges.push(old);
    assert_eq!(broken(&history), BTreeSet::new());
}

#[test]
fn lost_doubled_and_unwritten_tokens_are_told() {
    // The replacement at 14 was made from 11: what 12 and 13 wrote is gone.
    must_break("I3", |history| {
        history.log[3].object = Some(object("u1", 14, "b", &["t1", "t4"], &[]));
    });
    must_break("I3", |history| {
        history.log[3].object = Some(object("u1", 14, "b", &["t1", "t2", "t2"], &["t3"]));
    });
    // The refused one took place.
    must_break("I3", |history| {
        history.log[3].object = Some(object("u1", 14, "b", &["t1", "t2", "t9"], &["t3"]));
    });
    must_break("I3", |history| {
        history.log[3].object = Some(object("u1", 14, "b", &["t1", "t2", "t77"], &["t3"]));
    });
    // A change that writes nothing.
    must_break("I3", |history| {
        history.log[3].object = Some(object("u1", 14, "b", &["t1", "t2"], &["t3"]));
    });
    // The unknown one took place twice, in two lives.
    must_break("I3", |history| {
        history.log[5].object = Some(object("u2", 16, "a", &["t4"], &[]));
    });
    // Acknowledged, and nowhere.
    must_break("I3", |history| {
        history.calls.push(call(11, Verb::Patch, Some("t8"), Outcome::Ok(Some(version(16)))));
    });
    // Acknowledged as another version than that which was written.
    must_break("I3", |history| {
        history.calls[2].outcome = Outcome::Ok(Some(version(13)));
    });
    must_break("I3", |history| {
        let wrong = object("u1", 12, "b", &["t1", "t2"], &[]);
        history.calls[2].outcome = Outcome::Ok(Some(wrong));
    });
}

#[test]
fn revisions_against_the_order_of_calls_are_told() {
    must_break("I3", |history| {
        // Sent after the second was acknowledged, and before it in the store.
        history.calls[1].verb = Verb::Create;
        history.calls[1].invoked_ns = 26_000_000;
        history.calls[1].completed_ns = 27_000_000;
        history.calls.sort_by_key(|call| call.invoked_ns);
    });
}

#[test]
fn what_was_deleted_stays_so() {
    must_break("I4", |history| {
        history.log[5].object = Some(object("u1", 16, "a", &["t5"], &[]));
    });
    must_break("I4", |history| history.calls.retain(|call| call.verb != Verb::Delete));
    // Acknowledged, and it never happened.
    must_break("I4", |history| {
        history.log.remove(4);
        history.log[4].object = Some(object("u1", 16, "b", &["t1", "t2", "t4", "t5"], &["t3"]));
    });
    must_break("I4", |history| {
        history.calls.push(call(11, Verb::Delete, None, Outcome::Ok(None)));
    });
    must_break("I4", |history| {
        let back = exchange(90, CONSISTENT, vec![page(16, false, &[version(14)])]);
        history.informers[0].exchanges.push(back);
    });
}

#[test]
fn a_delete_of_a_collection_explains_what_is_gone() {
    let mut history = good();
    history.calls[7].verb = Verb::DeleteCollection;
    history.calls[7].uid = None;
    let rules = broken(&history);
    assert_eq!(rules, BTreeSet::from(["I0"]), "only that no delete was acknowledged");
}

#[test]
fn bookmarks_before_and_ahead_of_events_are_told() {
    must_break("I5", |history| told(history, 0, 2)[1].what = bookmark(12));
    must_break("I5", |history| told(history, 0, 2)[1].what = bookmark(14));
    must_break("I5", |history| {
        told(history, 0, 2).swap(1, 2);
    });
}

#[test]
fn skipped_doubled_and_changed_events_are_told() {
    must_break("I6", |history| {
        told(history, 1, 1).remove(1);
    });
    must_break("I6", |history| {
        let again = told(history, 1, 1)[1].clone();
        told(history, 1, 1).insert(1, again);
    });
    must_break("I6", |history| told(history, 1, 1).swap(1, 2));
    must_break("I6", |history| {
        told_object(&mut told(history, 1, 1)[1]).list.pop();
    });
    // Added although it was there; left in sight although it moved to another group.
    must_break("I6", |history| {
        told(history, 1, 1)[1].what = event(Change::Added, version(12));
    });
    must_break("I6", |history| {
        told(history, 1, 1)[3].what = event(Change::Modified, version(14));
    });
    // After the marked bookmark it is a watch like others.
    must_break("I6", |history| {
        told(history, 2, 0)[2].what = event(Change::Modified, version(13));
    });
}

#[test]
fn pages_of_several_revisions_and_lists_of_none_are_told() {
    must_break("I7", |history| told(history, 0, 1)[0].what = page(13, false, &[]));
    must_break("I7", |history| {
        told(history, 0, 1)[0].what = page(12, false, &[version(12)]);
    });
    must_break("I7", |history| told(history, 1, 0)[0].what = page(11, false, &[]));
    must_break("I7", |history| {
        told_object(&mut told(history, 0, 0)[0]).group = "b".to_owned();
    });
    must_break("I7", |history| {
        told(history, 2, 0).remove(0);
    });
}

#[test]
fn a_list_that_was_left_halfway_is_no_list() {
    let mut history = good();
    let begun = exchange(85, CONSISTENT, vec![page(16, true, &[])]);
    history.informers[0].exchanges.push(begun);
    assert_eq!(broken(&history), BTreeSet::new());
}

#[test]
fn reads_from_the_past_are_told() {
    // A list asked for after 12 was acknowledged, answered as of 11.
    must_break("I8", |history| {
        history.informers[0].exchanges.truncate(1);
        told(history, 0, 0)[0].what = page(11, false, &[version(11)]);
    });
    must_break("I8", |history| history.calls[6].outcome = Outcome::Ok(Some(version(12))));
    must_break("I8", |history| {
        history.calls[6].outcome = Outcome::Refused(404, "not there".to_owned());
        history.log.truncate(4);
    });
    must_break("I8", |history| history.calls[8].outcome = Outcome::Ok(Some(version(14))));
}
