//! The ledger's rules, and what a person reads of it.

use super::{Kind, Ledger, Lines, Round, Totals};
use crate::report::summary::{Failure, FaultCount, Summary};

fn round(number: u64, kind: Kind) -> Round {
    let kill = FaultCount { took_effect: 3, without_effect: 1, left_out: 0 };
    let jump = FaultCount { left_out: 2, ..FaultCount::default() };
    let faults = [("kill".to_owned(), kill), ("clock-jump".to_owned(), jump)];
    let summary = Summary {
        passed: true,
        seeds: 1,
        operations: 1000,
        acknowledged: 900,
        faults: faults.into(),
        left_out: [("clock-jump".to_owned(), "no false clock".to_owned())].into(),
        ..Summary::default()
    };
    let command = format!("orlop chaos run --seed={number}");
    let (summary, end) = (Some(summary), String::new());
    Round { number, kind, seed: number, command, seconds: 900.0, summary, end }
}

/// L1 and L3: a soak that is started again goes on with the next round and the same seeds.
#[test]
fn a_ledger_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::open(&path, Some(42)).unwrap();
    ledger.add(round(0, Kind::Run)).unwrap();
    ledger.add(round(1, Kind::Sim)).unwrap();
    let (head, seed) = (ledger.head.clone(), ledger.seed(2));
    assert_eq!((head.first_seed, seed), (42, 20_042));
    drop(ledger);

    let again = Ledger::open(&path, None).unwrap();
    assert_eq!((&again.head, again.next(), again.seed(2)), (&head, 2, seed));
    assert!((again.seconds() - 1800.0).abs() < 1e-9);
    drop(again);
    let error = format!("{:#}", Ledger::open(&path, Some(7)).unwrap_err());
    assert!(error.contains("its seeds begin at 42, not 7"), "{error}");
}

/// L2: the power failed while a line was written, wherever in it, the first line too.
#[test]
fn a_line_that_was_cut_short_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::open(&path, Some(42)).unwrap();
    ledger.add(round(0, Kind::Run)).unwrap();
    let first = std::fs::read(&path).unwrap();
    ledger.add(round(1, Kind::Run)).unwrap();
    drop(ledger);
    let both = std::fs::read(&path).unwrap();

    for cut in first.len()..both.len() {
        std::fs::write(&path, &both[..cut]).unwrap();
        assert_eq!(Lines::read(&path).unwrap().rounds.len(), 1, "cut at {cut}");
        let mut again = Ledger::open(&path, Some(42)).unwrap();
        assert_eq!(again.next(), 1, "cut at {cut}");
        again.add(round(1, Kind::Run)).unwrap();
        drop(again);
        assert_eq!(std::fs::read(&path).unwrap(), both, "cut at {cut}");
    }
    std::fs::write(&path, &both[..5]).unwrap();
    assert_eq!(Ledger::open(&path, Some(7)).unwrap().seed(0), 7);
}

/// Damage in the middle is not taken for an end.
#[test]
fn a_ledger_with_a_line_that_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::open(&path, Some(42)).unwrap();
    ledger.add(round(0, Kind::Run)).unwrap();
    drop(ledger);
    let text = std::fs::read_to_string(&path).unwrap();
    for (what, instead) in [("\"number\":0", "\"numbr\":0"), ("\"number\":0", "\"number\":1")] {
        std::fs::write(&path, text.replacen(what, instead, 1)).unwrap();
        let error = format!("{:#}", Ledger::open(&path, Some(42)).unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}

#[test]
fn only_one_soak_writes_a_ledger_and_anybody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut first = Ledger::open(&path, Some(42)).unwrap();
    first.add(round(0, Kind::Run)).unwrap();
    let error = format!("{:#}", Ledger::open(&path, Some(42)).unwrap_err());
    assert!(error.contains("in use by another soak"), "{error}");
    let lines = Lines::read(&path).unwrap();
    assert_eq!((lines.head.as_ref(), &lines.rounds), (Some(&first.head), &first.rounds));
}

/// What was left out is told with its reason, and is no fault that took effect.
#[test]
fn rounds_are_added_up() {
    let mut totals = Totals::of(&[round(0, Kind::Run), round(1, Kind::Run), round(2, Kind::Sim)]);
    totals.leave_out_simulation("is not told, for there was one");
    assert_eq!((totals.rounds(), totals.failed()), (3, 0));
    let line = totals.line();
    assert_eq!(
        line,
        "3 rounds in 0.75 hours, 0 failed; 3000 operations, 9 faults, 1 simulated seeds"
    );
    let text = totals.to_string();
    let columns = |row: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap();
        line.split_whitespace().rev().take(3).map(str::to_owned).collect()
    };
    assert_eq!(columns("kill"), ["0", "3", "9"]);
    assert_eq!(columns("clock-jump"), ["6", "0", "0"]);
    assert_eq!(columns("all kinds"), ["6", "3", "9"]);
    assert!(text.contains("LEFT OUT clock-jump: no false clock"), "{text}");
    assert!(!text.contains("simulated rounds"), "{text}");
    assert!(text.ends_with("3 rounds passed, 0 failed\n"), "{text}");

    let mut totals = Totals::of(&[round(0, Kind::Run)]);
    totals.leave_out_simulation("there is no simulator");
    let text = totals.to_string();
    assert!(text.contains("LEFT OUT simulated rounds: there is no simulator"), "{text}");
}

/// O2 and O3: a round that failed is told with the command that runs it again, whether it said so
/// or died, and whatever it says.
#[test]
fn failures_are_listed() {
    let mut told = round(0, Kind::Run);
    if let Some(summary) = &mut told.summary {
        summary.passed = false;
        let what = "durable, D1: a write is gone".to_owned();
        summary.failures =
            vec![Failure { what, again: "orlop chaos run --seed=0 --keys=7".into() }];
    }
    let mut died = round(1, Kind::Run);
    (died.summary, died.end) = (None, "it ended with signal: 9".to_owned());
    let mut odd = round(2, Kind::Run);
    if let Some(summary) = &mut odd.summary {
        summary.passed = false;
    }
    assert!(died.is_mute() && !odd.is_mute());
    let totals = Totals::of(&[told, died, odd, round(3, Kind::Run)]);
    assert_eq!(totals.failed(), 3);
    let text = totals.to_string();
    for part in [
        "round 0: durable, D1: a write is gone\n         again: orlop chaos run --seed=0 --keys=7",
        "round 1: it ended with signal: 9\n         again: orlop chaos run --seed=1",
        "round 2: it did not say why\n         again: orlop chaos run --seed=2",
        "1 rounds passed, 3 failed\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
