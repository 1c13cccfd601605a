//! The page of small hand-made runs, of one with hostile texts, and of a large one.

use clap::Parser as _;

use super::page;
use crate::checker::{self, Verdict};
use crate::history::{
    Action, Fault, FinalState, History, KeyValue, Kind, Op, Outcome, Reply, Step, StepReply,
    WatchLog,
};
use crate::report::replay;
use crate::scenario::{Flags, Run, Scenario};
use crate::tested::{Asking, Tested};

const PAGE_BYTES_MAX: usize = 3 << 20;
const MS: u64 = 1_000_000;

fn put(index: usize, key: &str, value: &str, outcome: Outcome) -> Op {
    let step = Step::Put { key: key.to_owned(), value: value.to_owned() };
    let sent = index as u64 * 10 * MS;
    Op {
        index,
        process: index % 4,
        member: index % 3,
        invoked_ns: sent,
        completed_ns: sent + 3 * MS,
        action: Action::Single { step, serializable: false },
        outcome,
    }
}

fn acknowledged(revision: i64) -> Outcome {
    let steps = vec![StepReply::Put { previous: None }];
    Outcome::Ok(Reply { revision, succeeded: true, steps })
}

fn fault(injected_ns: u64) -> Fault {
    Fault {
        name: "kill leader".to_owned(),
        members: vec![1],
        injected_ns,
        healed_ns: injected_ns + 20 * MS,
        recovered_ns: Some(injected_ns + 30 * MS),
        leader_before: Some(1),
        leader_after: Some(2),
        term_before: 2,
        term_after: 3,
        ..Fault::default()
    }
}

fn finals() -> Vec<FinalState> {
    (0..3).map(|member| FinalState { member, hash: Some(0xabc), ..FinalState::default() }).collect()
}

fn small() -> Run {
    let ops = vec![
        put(0, "r/1", "c0-1", acknowledged(2)),
        put(1, "r/1", "c0-2", Outcome::Refused("not the leader".to_owned())),
        put(2, "r/2", "c0-3", Outcome::Unknown("the connection was lost".to_owned())),
        put(3, "r/1", "c0-4", acknowledged(3)),
        put(4, "r/1", "c0-5", acknowledged(4)),
    ];
    let watches =
        vec![WatchLog { watcher: 0, name: "on member 1".to_owned(), ..WatchLog::default() }];
    let faults = vec![fault(15 * MS)];
    let kinds = vec![Kind::RwTxn];
    let finals = finals();
    let restored = Vec::new();
    let history = History { kinds, base_revision: 1, ops, watches, faults, finals, restored };
    Run { seed: 7, history, verdicts: vec![passed("durable")] }
}

fn passed(name: &'static str) -> Verdict {
    let mut verdict = Verdict::new(name);
    verdict.checked = 5;
    verdict
}

fn flags() -> Flags {
    Flags::for_scenario(Scenario::LeaderKill)
}

/// Text between two words of the page.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = page.split_once(from).unwrap_or_else(|| panic!("no {from} in {page}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} after {from}")).0
}

#[test]
fn a_run_that_passed_shows_all_its_parts_and_needs_nothing_from_outside() {
    let page = page(&flags(), &small());
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    assert!(between(&page, "<header>", "</header>").contains("every promise was kept"));
    assert!(page.contains("<span>leader-kill</span> <span>--seed=7</span>"), "{page}");
    assert!(!page.contains("counter-example"), "{page}");
    assert_eq!(page.matches("<svg class=\"time\"").count(), 3);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());

    let timeline = between(&page, "<h2>Operations</h2>", "</section>");
    assert_eq!(timeline.matches(r#"<rect class="ok""#).count(), 3);
    assert_eq!(timeline.matches(r#"<rect class="refused""#).count(), 1);
    assert_eq!(timeline.matches(r#"<rect class="unknown""#).count(), 1);
    assert_eq!(timeline.matches(r#"<rect class="held""#).count(), 1, "the fault's member only");
    assert!(timeline.contains("op 3 of client 3 at 0.030 s: put r/1 = c0-4; ok in 3.0 ms"));

    let faults = between(&page, "<h2>Faults</h2>", "</section>");
    for cell in ["kill leader", "0.015 s", "20 ms", "18 ms", "10 ms", "2 → 3", "1 → 2"] {
        assert!(faults.contains(&format!("<td>{cell}</td>")), "{cell} is not in {faults}");
    }
    assert!(between(&page, "<h2>Members at the end</h2>", "</section>").contains("00000abc"));
    assert!(between(&page, "<h2>Watchers</h2>", "</section>").contains("on member 1"));
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(outside), "the page asks for {outside}");
    }
}

#[test]
fn a_broken_promise_is_shown_with_its_operations_and_their_neighbours() {
    let mut run = small();
    let mut broken = passed("revisions");
    broken.fail("R2", vec![0, 3, 4], "three are too many".to_owned());
    broken.fail("R1", vec![0, 3], "operation 3 went back".to_owned());
    run.verdicts.push(broken);
    let page = page(&flags(), &run);
    assert!(between(&page, "<header>", "</header>").contains("1 checker objects"));

    let shortest = between(&page, "<h2>Shortest counter-example", "</section>");
    assert!(shortest.contains("<b>R1</b> operation 3 went back"), "{shortest}");
    assert!(shortest.contains("put r/1 = c0-4") && shortest.contains("ok at revision 3"));
    assert_eq!(shortest.matches(r#" involved" x="#).count(), 6, "two bars and their names");
    assert!(shortest.contains("op 4 → 1"), "on the same key");
    assert!(!shortest.contains("op 2 → 2"), "on another key");
    let checkers = between(&page, "<h2>Checkers</h2>", "</section>");
    assert!(checkers.contains("the first 2 of 2") && checkers.contains("three are too many"));
}

#[test]
fn a_finding_that_names_no_operation_is_about_the_writers_of_the_values_it_quotes() {
    let mut run = small();
    let mut broken = passed("watch");
    broken.fail("W4", Vec::new(), "was never told KeyValue { value: \"c0-4\" }".to_owned());
    run.verdicts.push(broken);
    let page = page(&flags(), &run);
    let shortest = between(&page, "<h2>Shortest counter-example", "</section>");
    assert!(shortest.contains("op 3 → 0") && shortest.contains("involved"), "{shortest}");
}

#[test]
fn the_neighbours_of_a_list_are_all_operations_under_its_prefix() {
    let mut run = small();
    let list = Step::List { prefix: "r/".to_owned() };
    run.history.ops[3].action = Action::Single { step: list, serializable: false };
    let mut broken = passed("revisions");
    broken.fail("R3", vec![3], "went back".to_owned());
    run.verdicts.push(broken);
    let page = page(&flags(), &run);
    let shortest = between(&page, "<h2>Shortest counter-example", "</section>");
    assert!(shortest.contains("<h3>Operations on r/* around it"), "{shortest}");
    for row in ["op 0 → 0", "op 1 → 1", "op 2 → 2", "op 3 → 0", "op 4 → 1"] {
        assert!(shortest.contains(row), "{row} is not in {shortest}");
    }
}

#[test]
fn no_text_from_a_store_is_markup() {
    let evil = "</title></svg><script>alert('1')</script>\"&\u{1}";
    let mut run = small();
    let kv = KeyValue { key: evil.to_owned(), value: evil.to_owned(), ..KeyValue::default() };
    let ops = &mut run.history.ops;
    ops[0] = put(0, evil, evil, acknowledged(2));
    ops[1] = put(1, evil, evil, Outcome::Refused(evil.to_owned()));
    ops[2] = put(2, evil, evil, Outcome::Unknown(evil.to_owned()));
    ops[3].outcome = Outcome::Ok(Reply {
        revision: 3,
        succeeded: true,
        steps: vec![StepReply::Read { found: vec![kv] }],
    });
    run.history.faults[0].name = evil.to_owned();
    run.history.watches[0].name = evil.to_owned();
    let mut broken = passed("durable");
    broken.fail("D1", vec![0, 1, 2, 3], evil.to_owned());
    run.verdicts.push(broken);
    let binary = Some(evil.into());
    let tested = Tested { binary, store_flags: vec![evil.to_owned()], ..Tested::default() };
    let page = page(&Flags { tested, ..flags() }, &run);
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}"));
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("alert('1')"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn an_empty_history_has_a_page_too() {
    let run = Run { seed: 1, history: History::default(), verdicts: vec![Verdict::new("none")] };
    assert!(page(&flags(), &run).contains("nothing checked"));
    let run = Run { seed: 1, verdicts: checker::check_all(&run.history), history: run.history };
    assert!(page(&flags(), &run).contains("</html>"));
}

/// P2: a hundred thousand operations of all kinds and outcomes, some of them long, 200 faults, and
/// thousands of counter-examples.
#[test]
fn a_page_does_not_grow_with_its_history() {
    let mut run = small();
    let mut broken = passed("answers");
    let long = "x".repeat(2_000);
    run.history.ops = (0..100_000_usize)
        .map(|index| {
            let key = format!("r/{:03}", index % 12);
            let outcome = match index % 50 {
                7 => Outcome::Refused("no leader".to_owned()),
                13 => Outcome::Unknown(long.clone()),
                _ => acknowledged(i64::try_from(index).expect("small") + 2),
            };
            let mut op = put(index, &key, &format!("c{index}"), outcome);
            op.member = index * 7 / 3 % 3;
            op.completed_ns +=
                (index as u64 * 7919 % 1000) * MS / if index % 9 == 0 { 1 } else { 50 };
            op.action = match index % 5 {
                0 => Action::Single { step: Step::Get { key }, serializable: true },
                1 => Action::Single { step: Step::Delete { key }, serializable: false },
                2 => Action::Single { step: Step::List { prefix: key }, serializable: false },
                3 => {
                    let then = vec![Step::Get { key }];
                    Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() }
                }
                _ => op.action,
            };
            op
        })
        .collect();
    run.history.faults = (0..200).map(|n| fault(n * 5_000 * MS)).collect();
    for index in 0..5_000 {
        broken.fail("A1", vec![index, index + 1, index + 2], long.clone());
    }
    run.verdicts.push(broken);
    let page = page(&flags(), &run);
    println!("100000 operations: {} bytes", page.len());
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    assert!(page.matches("<rect").count() > 3_000, "and still shows something");
    let timeline = between(&page, "<h2>Operations</h2>", "</section>");
    assert!(timeline.contains("a cell is filled"), "it says what is drawn");
    let cell = between(timeline, r#"class="refused many""#, "</rect>");
    assert!(cell.contains(" ok, ") && cell.contains("; slowest op "), "{cell}");
}

#[derive(clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
}

#[test]
fn the_command_line_of_a_run_means_the_same_run() {
    let flags = Flags {
        kills: 2,
        keys: 99,
        duration: 3,
        tested: Tested {
            store_flags: vec!["--snapshot-count=9".to_owned(), "--heartbeat-interval=9".to_owned()],
            ..Tested::etcd("/opt/etcd".into())
        },
        asking: Asking { watch_progress: Some(false), plant_stale_reads: true },
        ..flags()
    };
    let line = replay::command_line(&flags, 41);
    let words = line.split(' ').skip(1).map(|word| word.trim_end_matches("''"));
    let again = CommandLine::try_parse_from(words).expect("the flags are known").flags;
    assert_eq!(format!("{again:?}"), format!("{:?}", Flags { seed: Some(41), ..flags }));

    let tested = Tested::orlop("it's here/etcd".into());
    let flags = Flags { tested, ..Flags::for_scenario(Scenario::Pause) };
    assert!(replay::command_line(&flags, 1).contains(r"--binary='it'\''s here/etcd'"));
}
