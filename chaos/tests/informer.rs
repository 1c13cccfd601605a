//! What an API server owes its watchers, on real processes and with an unmodified client: while a
//! leader and an API server die and revisions are compacted, every informer is told what the store
//! did, and ends with what the store has.

use chaos::Tested;
use chaos::informer::record::{Ask, History, What};
use chaos::informer::{Flags, Trouble, execute};

/// Sources that the binary under test must not be older than.
const SOURCES: [&str; 4] = ["proto", "store", "api/machinery", "api/server"];

fn count(history: &History, matches: impl Fn(&Ask, &What) -> bool) -> usize {
    let mut count = 0;
    for informer in &history.informers {
        for exchange in &informer.exchanges {
            let told = exchange.told.iter();
            count += told.filter(|told| matches(&exchange.ask, &told.what)).count();
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn informers_end_with_what_the_store_has_while_servers_are_killed() {
    let binary = testbed::orlop(&SOURCES);
    let flags = Flags {
        tested: Tested::orlop(binary.clone()),
        apiserver_binary: Some(binary),
        kinds: vec![Trouble::KillLeader, Trouble::KillApi, Trouble::Compact, Trouble::StrandApi],
        faults: 4,
        seed: Some(1),
        ..Flags::default()
    };
    let run = execute(&flags).await.expect("the run comes to its end");
    let report = run.summary();
    assert!(run.passed(), "{report}");
    println!("{report}");

    // What the run was for did happen.
    let history = &run.history;
    let is_gone = |what: &What| matches!(what, What::Failed { code: 410, .. });
    let gone = count(history, |ask, what| matches!(ask, Ask::Watch { .. }) && is_gone(what));
    assert!(gone > 0, "nobody had to list again: {report}");
    let pages = count(history, |ask, what| *ask == Ask::Continue && !is_gone(what));
    // Few of them lose their revision: what was compacted is often still in the server's memory.
    assert!(pages > 0, "no list had a second page: {report}");
    let is_bookmark = |what: &What| matches!(what, What::Bookmark { ends_list: false, .. });
    let bookmarks = count(history, |_, what| is_bookmark(what));
    assert!(bookmarks > 0, "nobody was told a bookmark: {report}");
    let conflicts = history.calls.iter().filter(|call| call.is_refused() && call.token.is_some());
    assert!(conflicts.count() > 0, "writers that never collide prove nothing: {report}");
}
