//! The load generator on a real member: every workload does what it counts, and an answer that is
//! not what it must be is an error and not a figure.

use chaos::bench::{Target, dispatch};
use chaos::cluster::{Cluster, Launcher};
use clap::Parser as _;
use serde_json::Value;

#[derive(clap::Parser)]
struct Command {
    #[command(subcommand)]
    target: Target,
}

/// Runs `orlop bench WORDS` on a member; returns what it reports as JSON.
async fn bench(cluster: &Cluster, words: &str) -> Result<Value, String> {
    let (url, pid) = (cluster.url(0), cluster.pids()[0].to_string());
    let line = ["bench", "store"].into_iter().chain(words.split_whitespace());
    let line = line.chain(["--endpoints", &url, "--pids", &pid, "--conns", "2", "--json"]);
    let target = Command::try_parse_from(line).expect("the words are flags").target;
    let text = dispatch(target).await.map_err(|error| format!("{error:#}"))?;
    Ok(serde_json::from_str(&text).expect("the report is JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_workload_does_and_judges_a_few_operations_on_a_member() {
    let binary = testbed::orlop(&["proto", "store"]);
    let cluster = Cluster::start(Launcher::orlop(&binary), 1).await.expect("one member");
    let few = "--clients 4 --warm-up 4 --total 40";
    let keys = "--key-space 200 --val-size 32";
    for words in [
        format!("put {few} {keys} --prefix put/"),
        format!("put {few} {keys} --prefix put/ --rate 1000"),
        format!("txn {few} {keys} --prefix txn/ --puts 8"),
        format!("range {few} {keys}"),
        format!("range {few} {keys} --no-fill --serializable"),
        format!("range {few} {keys} --no-fill --whole-prefix"),
        format!("range {few} {keys} --no-fill --limit 50"),
        format!("range {few} {keys} --no-fill --keys-only"),
        format!("range {few} {keys} --no-fill --count-only --serializable"),
        format!("lease {few} --leases 10"),
        format!("mixed {few} --leases 3 --pods 500 --others 10 --watchers 8"),
    ] {
        let report = bench(&cluster, &words).await.unwrap_or_else(|why| panic!("{words}: {why}"));
        assert_eq!(report["failed"], 0, "{words}: {report}");
        // Two clients may swap one lease at the same time: one of them loses.
        let done = report["operations"].as_u64().unwrap() + report["lost"].as_u64().unwrap();
        assert_eq!(done, 40, "{words}: {report}");
        assert!(report["latency_us"]["max"].as_u64() >= report["latency_us"]["p50"].as_u64());
        assert_eq!(report["memory"].as_array().unwrap().len(), 1, "{words}: {report}");
    }
    for pace in ["--rate 500", "--window 4"] {
        let words = format!("watch --watchers 30 --streams 4 --puts 20 {pace}");
        let report = bench(&cluster, &words).await.unwrap_or_else(|why| panic!("{words}: {why}"));
        assert_eq!((&report["failed"], &report["missing"]), (&0.into(), &0.into()), "{report}");
        assert_eq!((&report["puts"], &report["events"]), (&20.into(), &600.into()), "{report}");
    }

    let words = format!("range {few} --key-space 199 --no-fill --keys-only");
    let why = bench(&cluster, &words).await.expect_err("199 keys are expected where 200 are");
    assert!(why.contains("200 keys") && why.contains("199"), "{why}");
    let few = "--clients 1 --warm-up 0 --total 3";
    let words = format!("range {few} --key-space 200 --val-size 31 --no-fill --limit 5");
    let report = bench(&cluster, &words).await.expect("it runs to its end");
    assert_eq!((&report["operations"], &report["failed"]), (&0.into(), &3.into()), "{report}");
    assert!(report["errors"].to_string().contains("32 bytes, not 31"), "{report}");
}

/// Every row of the API table on a server of ours, started by the run itself, and beside itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_rows_are_measured_without_an_error_and_leave_nothing_behind() {
    let binary = testbed::orlop(&["proto", "store", "api/machinery", "api/server"]);
    let server = testbed::api::ApiServer::start().await;
    let (binary, kubeconfig) = (binary.display(), server.kubeconfig().display());
    let line =
        format!("bench api --quick --json --rows b10,b11,b12 --orlop {binary} --peer {kubeconfig}");
    let target = Command::try_parse_from(line.split(' ')).expect("the words are flags").target;
    let text = dispatch(target).await.expect("it runs");
    let report: Value = serde_json::from_str(&text).expect("the report is JSON");
    assert_eq!(report["failures"], serde_json::json!([]), "{text}");
    let rows = report["comparisons"].as_array().expect("rows");
    assert!(rows.len() >= 5 + 3 + 6 + 2, "{text}");
    for row in rows {
        for side in ["peer", "orlop"] {
            let rounds = row[side].as_array().expect("rounds");
            assert_eq!(rounds.len(), 1, "{side}: {row}");
            assert_eq!(rounds[0]["failed"], 0, "{side}: {row}");
        }
    }
}
