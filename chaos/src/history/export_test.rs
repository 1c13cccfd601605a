//! The lines of a small history, exactly.

use super::{
    Action, Asked, Event, EventKind, Fault, FinalState, Guard, History, KeyValue, Kind, Op,
    Outcome, Reply, Restored, Step, StepReply, WatchLog, WatchSeen, write_edn_lines,
    write_json_lines,
};

fn single(step: Step) -> Action {
    Action::Single { step, serializable: false }
}

fn op(index: usize, times: (u64, u64), action: Action, outcome: Outcome) -> Op {
    let (invoked_ns, completed_ns) = times;
    Op { index, process: index + 3, member: 1, invoked_ns, completed_ns, action, outcome }
}

fn acknowledged(revision: i64, succeeded: bool, steps: Vec<StepReply>) -> Outcome {
    Outcome::Ok(Reply { revision, succeeded, steps })
}

/// A put, a transaction that reads it, a refusal, an unknown outcome, one without any answer, a
/// fault in between, a watcher, and a member at the end.
fn small() -> History {
    let kv = KeyValue {
        key: "a".to_owned(),
        value: "say \"hi\"\n".to_owned(),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        lease: 0,
    };
    let put = Step::Put { key: kv.key.clone(), value: kv.value.clone() };
    let txn = Action::Txn {
        guards: vec![Guard { key: "a".to_owned(), mod_revision: 7 }],
        then: vec![Step::Delete { key: "a".to_owned() }],
        otherwise: vec![Step::Get { key: "a".to_owned() }, Step::List { prefix: "z".to_owned() }],
    };
    let found = StepReply::Read { found: vec![kv.clone()] };
    let nothing = StepReply::Read { found: Vec::new() };
    let get = Action::Single { step: Step::Get { key: "b".to_owned() }, serializable: true };
    let delete = single(Step::Delete { key: "b".to_owned() });
    let list = single(Step::List { prefix: String::new() });
    let event = Event { kind: EventKind::Put, kv: kv.clone(), previous: None };
    History {
        kinds: vec![Kind::RwTxn],
        base_revision: 1,
        ops: vec![
            op(
                0,
                (10, 20),
                single(put),
                acknowledged(2, true, vec![StepReply::Put { previous: None }]),
            ),
            op(1, (20, 30), txn, acknowledged(2, false, vec![found, nothing])),
            op(2, (31, 32), get, Outcome::Refused("not sent".to_owned())),
            op(3, (33, 70), delete, Outcome::Unknown("lost".to_owned())),
            op(4, (34, u64::MAX), list, Outcome::Unknown("not answered".to_owned())),
        ],
        faults: vec![Fault {
            name: "kill leader".to_owned(),
            members: vec![0],
            injected_ns: 40,
            healed_ns: 50,
            recovered_ns: Some(60),
            leader_before: Some(0),
            leader_after: None,
            term_before: 2,
            term_after: 3,
            ..Fault::default()
        }],
        watches: vec![WatchLog {
            name: "on member 2".to_owned(),
            asked: Asked::everything(2),
            seen: vec![WatchSeen {
                time_ns: 25,
                member: 2,
                start_revision: 2,
                revision: 2,
                events: vec![event.clone()],
                ..WatchSeen::default()
            }],
            ..WatchLog::default()
        }],
        finals: vec![FinalState {
            member: 0,
            revision: 2,
            live: vec![kv],
            log: vec![event],
            hash: Some(7),
        }],
        restored: vec![Restored { member: 1, revision: 2, live: Vec::new() }],
    }
}

const KV: &str = r#"{:key "a", :value "say \"hi\"\n", :create 2, :mod 2, :version 1}"#;

const EDN: &str = r#"{:index 0, :time 0, :type :info, :process :harness, :f :base, :value {:revision 1, :workloads ["rw-txn"]}}
{:index 1, :time 10, :type :invoke, :process 3, :f :put, :value [[:w "a" "say \"hi\"\n"]], :op 0, :member 1}
{:index 2, :time 20, :type :invoke, :process 4, :f :txn, :value [[:delete "a"]], :op 1, :member 1, :guards [["a" 7]], :else [[:r "a" nil] [:list "z" nil]]}
{:index 3, :time 20, :type :ok, :process 3, :f :put, :value [[:w "a" "say \"hi\"\n"]], :op 0, :member 1, :rev 2, :succeeded true, :answers [{:replaced nil}]}
{:index 4, :time 25, :type :info, :process :watcher, :f :watch, :value {:watcher 0, :name "on member 2", :stream 0, :member 2, :start 2, :rev 2, :created false, :canceled nil, :events [{:kind :put, :kv KV, :previous nil}]}}
{:index 5, :time 30, :type :ok, :process 4, :f :txn, :value [[:r "a" "say \"hi\"\n"] [:list "z" []]], :op 1, :member 1, :rev 2, :succeeded false, :answers [{:found [KV]} {:found []}]}
{:index 6, :time 31, :type :invoke, :process 5, :f :get, :value [[:r "b" nil]], :op 2, :member 1, :serializable true}
{:index 7, :time 32, :type :fail, :process 5, :f :get, :value [[:r "b" nil]], :op 2, :member 1, :error "not sent"}
{:index 8, :time 33, :type :invoke, :process 6, :f :delete, :value [[:delete "b"]], :op 3, :member 1}
{:index 9, :time 34, :type :invoke, :process 7, :f :list, :value [[:list "" nil]], :op 4, :member 1}
{:index 10, :time 40, :type :info, :process :nemesis, :f :inject, :value {:fault "kill leader", :members [0], :leader 0, :term 2}}
{:index 11, :time 50, :type :info, :process :nemesis, :f :heal, :value {:fault "kill leader", :members [0]}}
{:index 12, :time 60, :type :info, :process :nemesis, :f :recover, :value {:fault "kill leader", :members [0], :leader nil, :term 3, :recovered true}}
{:index 13, :time 70, :type :info, :process 6, :f :delete, :value [[:delete "b"]], :op 3, :member 1, :error "lost"}
{:index 14, :time 70, :type :info, :process :harness, :f :final, :value {:member 0, :rev 2, :hash 7, :live [KV], :log [{:kind :put, :kv KV, :previous nil}]}}
{:index 15, :time 70, :type :info, :process :harness, :f :restored, :value {:member 1, :rev 2, :live []}}
"#;

#[test]
fn a_small_history_is_these_lines_of_edn() {
    let mut out = Vec::new();
    write_edn_lines(&small(), &mut out).expect("a vector takes everything");
    let text = String::from_utf8(out).expect("EDN is text");
    for (line, expected) in text.lines().zip(EDN.replace("KV", KV).lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text.lines().count(), EDN.lines().count());
}

#[test]
fn json_lines_have_the_same_names_in_the_same_order() {
    let mut out = Vec::new();
    write_json_lines(&small(), &mut out).expect("a vector takes everything");
    let text = String::from_utf8(out).expect("JSON is text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), EDN.lines().count());
    assert_eq!(
        lines[2],
        r#"{"index":2,"time":20,"type":"invoke","process":4,"f":"txn","value":[["delete","a"]],"op":1,"member":1,"guards":[["a",7]],"else":[["r","a",null],["list","z",null]]}"#
    );
    for (line, edn) in lines.iter().zip(EDN.lines()) {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        for name in value.as_object().expect("each line is an object").keys() {
            assert!(edn.contains(&format!(":{name} ")), "{name} is not in {edn}");
        }
    }
}
