//! A soak as a user runs it, with rounds that are scripts: what is left of it when it is killed, and
//! what it makes of rounds that fail, hang and die.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chaos::disk::Disk;
use chaos::limits;
use chaos::report::summary::{FaultCount, Summary};
use chaos::soak::{Ledger, Lines};
use chaos::topo::Topo;

/// Sources that the binary under test must not be older than.
const SOURCES: [&str; 1] = ["chaos/src/soak"];

/// How long a soak of scripts may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a round of real members may take until a fault of it has taken effect.
const FAULT_DEADLINE: Duration = Duration::from_secs(240);

/// A soak's folder, beside the script of its rounds.
struct Stage {
    dir: tempfile::TempDir,
    binary: PathBuf,
}

impl Stage {
    /// Rounds run this script, in which SEED, OUT, DIR and ORLOP are the round's seed and folder, a
    /// folder of the test and the binary; `passes` and `fails` write figures and end it.
    fn new(script: &str) -> Self {
        let (dir, binary) = (tempfile::tempdir().expect("a folder"), testbed::orlop(&SOURCES));
        let kill = FaultCount { took_effect: 2, ..FaultCount::default() };
        let figures = |passed| {
            let faults = [("kill".to_owned(), kill)].into();
            let summary = Summary { passed, operations: 100, faults, ..Summary::default() };
            serde_json::to_string(&summary).expect("figures are JSON")
        };
        let text = format!(
            "#!/bin/sh\n\
             for word in \"$@\"; do case $word in\n\
             --seed=*) SEED=${{word#--seed=}};;\n\
             --output=*) OUT=${{word#--output=}};;\n\
             esac; done\n\
             DIR={} ORLOP={}\n\
             passes() {{ echo '{}' > $OUT/summary.json; exit 0; }}\n\
             fails() {{ echo '{}' > $OUT/summary.json; exit 1; }}\n\
             echo $SEED >> $DIR/begun\n\
             {script}\n",
            dir.path().display(),
            binary.display(),
            figures(true),
            figures(false),
        );
        let program = dir.path().join("program");
        std::fs::write(&program, text).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("it can be run");
        Self { dir, binary }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["chaos", "soak", "--seed=7", "--state"]).arg(self.file("state"));
        command.arg("--program").arg(self.file("program")).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, words: &[&str]) -> Soak {
        Soak(Some(self.command(words).spawn().expect("it starts")))
    }

    /// Runs a soak to its end: whether it succeeded, and all that it said.
    fn run(&self, words: &[&str]) -> (bool, String) {
        self.start(words).end()
    }

    fn begun(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("begun")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The seeds and numbers of the rounds in the ledger.
    fn counted(&self) -> Vec<(u64, u64)> {
        let lines = Lines::read(&self.file("state/ledger.jsonl")).expect("a ledger");
        lines.rounds.iter().map(|round| (round.number, round.seed)).collect()
    }
}

/// A soak clears what the one before it left, before it looks whether it has anything to do.
impl Drop for Stage {
    fn drop(&mut self) {
        // A test that passes has seen to it that nothing is left.
        if std::thread::panicking() {
            drop(self.command(&["--rounds=0", "--sim-seeds=0"]).output());
        }
    }
}

/// A soak's process. Dropping it kills it; what its round started is its stage's to end.
struct Soak(Option<Child>);

impl Soak {
    fn end(mut self) -> (bool, String) {
        let child = self.0.take().expect("it was not ended before");
        let output = child.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn kill(mut self) {
        let mut child = self.0.take().expect("it was not ended before");
        child.kill().expect("SIGKILL");
        child.wait().expect("it ends");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn there(file: &Path) {
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < DEADLINE, "{} never came", file.display());
        std::thread::sleep(limits::POLL_INTERVAL);
    }
}

fn is_running(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// O1 and O4: SIGKILL in the middle of a round, whose processes live on. The next start ends those,
/// runs that seed once more, and counts each seed once.
#[test]
fn a_killed_soak_goes_on_without_counting_a_seed_twice_or_leaving_one_out() {
    let stage = Stage::new(
        "if [ $SEED = 20007 ] && [ ! -e $DIR/second ]; then\n\
           echo $$ > $DIR/pid; touch $OUT/half; mv $DIR/pid $DIR/first; exec sleep 600\n\
         fi\n\
         passes",
    );
    let words = ["--rounds=4", "--sim-seeds=0"];
    let soak = stage.start(&words);
    there(&stage.file("first"));
    soak.kill();
    let orphan = std::fs::read_to_string(stage.file("first")).expect("its process");
    assert!(is_running(&orphan), "there is nothing to clean up");
    assert_eq!(stage.counted(), [(0, 7), (1, 10_007)]);

    std::fs::write(stage.file("second"), "").expect("a mark");
    let (passed, said) = stage.run(&words);
    assert!(passed, "{said}");
    assert!(said.contains("ended what was left running of a round: 1 processes"), "{said}");
    assert!(!is_running(&orphan));
    assert_eq!(stage.counted(), [(0, 7), (1, 10_007), (2, 20_007), (3, 30_007)]);
    assert_eq!(stage.begun(), ["7", "10007", "20007", "20007", "30007"]);
    assert!(said.contains("400 recorded") && said.contains("4 rounds passed, 0 failed"), "{said}");
    assert!(!stage.file("state/round-00002").exists(), "a round that passed leaves nothing");
    // Nothing is left to do, and nothing is done.
    let (passed, said) = stage.run(&words);
    assert!(passed && said.contains("4 rounds passed"), "{said}");
    assert_eq!(stage.begun().len(), 5);
}

/// O4, with a round of real members on real disks: no process, mount or folder in memory outlasts the
/// next start, however soon that is. A disk answers for a while after its process was killed.
#[test]
fn nothing_is_left_of_a_round_whose_soak_was_killed() {
    if let Err(reason) = Topo::check().and_then(|()| Disk::check()) {
        testbed::skip(&format!("this machine has no hosts or disks that misbehave: {reason:#}"));
        return;
    }
    let stage = Stage::new("exec $ORLOP \"$@\"");
    let words = ["--sim-seeds=0", "--run-flag=--clients=8", "--run-flag=--faults=slow-sync"];
    let soak = stage.start(&words);
    let log = stage.file("state/round-00000/log");
    let start = Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("took effect")) {
        assert!(start.elapsed() < FAULT_DEADLINE, "no fault took effect");
        std::thread::sleep(limits::POLL_INTERVAL);
    }
    soak.kill();
    let lines = Lines::read(&stage.file("state/ledger.jsonl")).expect("a ledger");
    let id = lines.head.expect("a first line").id;
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(mounts().contains(&id), "there is nothing to clean up");

    let (passed, said) = stage.run(&[&words[..], &["--rounds=0"]].concat());
    assert!(passed && said.contains("ended what was left running of a round"), "{said}");
    assert!(!mounts().contains(&id));
    assert!(!Path::new("/dev/shm").join(format!("orlop-soak-{id}")).exists());
    assert!(!stage.file("state/round-00000").exists());
}

/// A round that ended, and of which the soak had no time to say so, is run again.
#[test]
fn a_round_that_is_not_in_the_ledger_was_not_counted() {
    let stage = Stage::new("passes");
    let words = ["--rounds=2", "--sim-seeds=0"];
    assert!(stage.run(&words).0);
    let ledger = stage.file("state/ledger.jsonl");
    let text = std::fs::read_to_string(&ledger).expect("a ledger");
    std::fs::write(&ledger, &text[..text.len() - 9]).expect("a torn line");
    std::fs::create_dir_all(stage.file("state/round-00001/members")).expect("what it left");
    assert!(stage.run(&words).0);
    assert_eq!(stage.counted(), [(0, 7), (1, 10_007)]);
    assert_eq!(stage.begun(), ["7", "10007", "10007"]);
}

/// O2 and O3: rounds that say that they failed, that die and that hang are counted and kept, the soak
/// goes on, and its exit code says so, later too.
#[test]
fn failed_rounds_are_kept_and_counted_and_the_soak_goes_on() {
    let stage = Stage::new(
        "case $SEED in\n\
         10007) echo evidence > $OUT/history.jsonl; fails;;\n\
         20007) kill -9 $$;;\n\
         30007) exec sleep 600;;\n\
         esac\n\
         passes",
    );
    let (passed, said) = stage.run(&["--rounds=3", "--sim-seeds=0"]);
    assert!(!passed, "{said}");
    assert!(said.contains("2 of 3 rounds failed"), "{said}");
    // A deadline that has passed when the round begins.
    let (passed, said) = stage.run(&["--rounds=4", "--sim-seeds=0", "--deadline=0"]);
    assert!(!passed, "{said}");
    for part in [
        "FAILED   round 1: it did not say why",
        "again: orlop chaos run --profile=soak --seed=10007 --members=3\n",
        "FAILED   round 2: it ended with signal: 9",
        "again: orlop chaos run --profile=soak --seed=20007 --members=5\n",
        "FAILED   round 3: it had not ended at its deadline",
        "again: orlop chaos run --profile=soak --seed=30007 --members=3\n",
        "1 rounds passed, 3 failed",
        "LEFT OUT simulated rounds: --sim-seeds is 0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let kept = std::fs::read_to_string(stage.file("state/round-00001/history.jsonl"));
    assert_eq!(kept.expect("what a failed round left"), "evidence\n");
    assert!(!stage.file("state/round-00000").exists(), "a round that passed leaves nothing");
    let report = std::fs::read_to_string(stage.file("state/report.txt")).expect("a report");
    assert!(report.contains("1 rounds passed, 3 failed"), "{report}");
    let shown = stage.run(&["--show"]);
    assert!(!shown.0 && shown.1.contains("1 rounds passed, 3 failed"), "{}", shown.1);
}

/// Where nothing can be run, hours of it show nothing.
#[test]
fn a_soak_of_rounds_that_tell_nothing_gives_up() {
    let stage = Stage::new("exit 1");
    let (passed, said) = stage.run(&["--hours=8", "--sim-seeds=0"]);
    assert!(!passed && said.contains("5 rounds in a row told nothing of a store"), "{said}");
    assert_eq!(stage.counted().len(), 5);
}

/// A Ctrl-C ends the round under way and counts it later.
#[test]
fn an_interrupted_soak_says_so_and_goes_on() {
    let stage = Stage::new(
        "if [ ! -e $DIR/up ]; then\n\
           trap 'exit 1' INT; sleep 600 & touch $DIR/up; wait\n\
         fi\n\
         passes",
    );
    let words = ["--rounds=1", "--sim-seeds=0"];
    let soak = stage.start(&words);
    there(&stage.file("up"));
    let id = soak.0.as_ref().map(Child::id).expect("it runs");
    let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("ids are small"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("SIGINT");
    let (passed, said) = soak.end();
    assert!(!passed && said.contains("interrupted after 0.00 of 8 hours"), "{said}");
    assert!(stage.counted().is_empty());
    let (passed, said) = stage.run(&words);
    assert!(passed && said.contains("1 rounds passed, 0 failed"), "{said}");
    // Nobody holds the ledger any more.
    Ledger::open(&stage.file("state/ledger.jsonl"), Some(7)).expect("it is free");
}
