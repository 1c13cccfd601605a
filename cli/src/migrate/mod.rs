//! `orlop store migrate`: copies a live etcd into a store of ours, follows it, and hands over.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | After the copy the target is at one revision of the source after the other; what it skips, it skips whole. Only a revision that is larger than a transaction may be goes in parts. |
//! | G2 | The target's keys are never written over: it must be empty, or bear the mark of this migration. |
//! | G3 | It exits with success only when both held equal keys, values and leases at a revision of the source that did not change until all was compared. |
//! | G4 | Killed at any point, it is resumed by comparing all keys: nothing that it remembers has to be right. |

mod copy;
mod follow;
mod leases;
mod report;
mod side;
mod target;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::copy::{copy, verify};
use self::follow::{Follow, Stop};
use self::leases::Leases;
use self::report::Report;
use self::side::{From, Keys, Side, To};
use self::target::{Mark, Target, read_mark};
use crate::limits;

/// What `orlop store` does beside running a member.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreCommand {
    /// Move from a live etcd: copy it into an empty store, follow it, and hand over
    ///
    /// Reads all keys of the source at one revision, then follows it by a watch and applies revision
    /// after revision, while clients go on with the source. Leases keep their ids and TTLs, and are
    /// renewed on the target whenever they are on the source; each begins there with its whole TTL, so
    /// one that nobody renews ends up to that much later than it would have.
    ///
    /// To hand over, stop all writers to the source, then press Ctrl-C (SIGINT), once: it waits until
    /// nothing is written any more and the target is level, compares all keys, values and leases of
    /// both, and exits with 0 only if they are equal. A second Ctrl-C, or SIGTERM, leaves without
    /// handing over. --hand-over asks for it from the start, for scripts.
    ///
    /// Not carried over: revisions and versions, and so the history of keys (they begin anew: stop
    /// clients that remember revisions, such as Kubernetes API servers, and start them on the target);
    /// users, roles and whether authentication is on; members, alarms. To keep all of these, take
    /// `orlop backup create` of the source and `orlop backup restore` it, with a stop in between.
    ///
    /// Example: `orlop store migrate --from http://10.0.0.1:2379 --to http://10.0.1.1:2379`
    Migrate(Box<Flags>),
}

/// Flags of `orlop store migrate`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    to: To,
    /// Copy only keys that start with this, and the leases that they have
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Go on with a migration that was stopped: all keys are compared, and what differs is written
    #[arg(long)]
    resume: bool,
    /// Hand over as soon as all is copied; writers to the source must have been stopped
    #[arg(long)]
    hand_over: bool,
    /// How long nothing may have been written to the source before it is handed over
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    quiet: u64,
    /// How long to wait for that
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    hand_over_timeout: u64,
    /// Operations that a transaction on the target may have: its --max-txn-ops
    #[arg(long, value_name = "NUMBER", default_value_t = 128,
          value_parser = clap::value_parser!(u16).range(2..))]
    txn_ops: u16,
    /// Say what would be copied, check both sides, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Follow,
    HandOver,
    Leave,
}

/// When the source counts as no longer written to.
struct HandOver {
    quiet: Duration,
    timeout: Duration,
}

/// Carries out the command.
pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    let StoreCommand::Migrate(flags) = command;
    let start = if flags.hand_over { Asked::HandOver } else { Asked::Follow };
    let (ask, asked) = watch::channel(start);
    let report = Arc::new(Report::new(flags.json));
    listen(ask.clone(), Arc::clone(&report))?;
    let mut leaving = asked.clone();
    let done = tokio::select! {
        done = migrate(&flags, &report, &ask) => done,
        _ = leaving.wait_for(|asked| *asked == Asked::Leave) => Err(anyhow::anyhow!(
            "stopped before the hand-over: the source is as it was, the target is not complete; \
             --resume goes on"
        )),
    };
    report.finish();
    done
}

/// SIGINT asks for the hand-over, and again to leave; SIGTERM to leave.
fn listen(ask: watch::Sender<Asked>, report: Arc<Report>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch signals")?;
    tokio::spawn(async move {
        loop {
            let leave = tokio::select! {
                _ = interrupt.recv() => *ask.borrow() != Asked::Follow,
                _ = terminate.recv() => true,
            };
            if leave {
                ask.send_replace(Asked::Leave);
                return;
            }
            ask.send_replace(Asked::HandOver);
            let text = "hand-over asked for: stop all writers to the source now; Ctrl-C again leaves \
                        without handing over";
            report.say("hand-over", text, json!({}));
        }
    });
    Ok(())
}

/// What was found on the target before anything is written there.
async fn check_target(
    target: &Side,
    resume: bool,
    source_id: &str,
) -> anyhow::Result<Option<(Mark, i64)>> {
    let found = read_mark(target).await?;
    let keys = target.now().await?.count - i64::from(found.is_some() && target.keys.hold_mark());
    match &found {
        None if keys > 0 && resume => bail!(
            "the target holds {keys} keys and no mark of a migration: nothing is resumed there. It \
             was handed over already, or is in use"
        ),
        None if keys > 0 => bail!("the target holds {keys} keys: nothing is written over them"),
        Some((mark, _)) if mark.source != source_id => bail!(
            "the target has the mark of a migration from another source, cluster {}, not {source_id}",
            mark.source
        ),
        Some(_) if !resume => bail!(
            "the target has the mark of this migration, which was stopped at {keys} keys: --resume \
             goes on with it"
        ),
        None | Some(_) => Ok(found),
    }
}

async fn migrate(flags: &Flags, report: &Report, ask: &watch::Sender<Asked>) -> anyhow::Result<()> {
    let keys = Keys::with_prefix(&flags.prefix);
    let source = Side::source(&flags.from, keys.clone())?;
    let target = Side::target(&flags.to, keys)?;
    for side in [&source, &target] {
        // What cannot be reached at the start is misspelt, rather than away for a while.
        let reached = side.revision().await;
        reached.with_context(|| format!("the {} cannot be used", side.name))?;
    }
    let theirs = source.now().await?;
    let source_id = format!("{:x}", theirs.cluster_id);
    if read_mark(&source).await?.is_some() {
        bail!("the source is itself the target of a migration that was not handed over");
    }
    let found = check_target(&target, flags.resume, &source_id).await?;
    let text = format!(
        "source: cluster {source_id} at revision {}, {} keys",
        theirs.revision, theirs.count
    );
    let fields = json!({
        "cluster": source_id, "revision": theirs.revision, "keys": theirs.count,
        "resumed": found.is_some(),
    });
    report.say("start", &text, fields);
    if flags.dry_run {
        report.say("dry-run", "dry run: both stores answer; nothing was written", json!({}));
        return Ok(());
    }

    let all = source.keys.all;
    let leases = Arc::new(Leases::new(source.client.clone(), target.client.clone(), all));
    let changes_max = usize::from(flags.txn_ops) - 1;
    let target = Target::hold(target, Arc::clone(&leases), source_id, found, changes_max).await?;
    if let Some((mark, _)) = read_mark(&source).await?
        && target.is_own(&mark)
    {
        target.release().await?;
        bail!("the source and the target are one store");
    }
    let hand_over = HandOver {
        quiet: Duration::from_secs(flags.quiet),
        timeout: Duration::from_secs(flags.hand_over_timeout),
    };
    let run = Run { source, target: Arc::new(target), leases, report, hand_over };
    tokio::select! {
        done = run.to_the_end(ask, flags.hand_over) => done,
        broken = run.leases.keep() => broken,
    }
}

struct Run<'a> {
    source: Side,
    target: Arc<Target>,
    leases: Arc<Leases>,
    report: &'a Report,
    hand_over: HandOver,
}

impl Run<'_> {
    /// Copies, follows, and copies again where it has to, until the hand-over.
    async fn to_the_end(&self, ask: &watch::Sender<Asked>, scripted: bool) -> anyhow::Result<()> {
        let report = self.report;
        for _ in 0..limits::MIGRATE_PASSES_MAX {
            self.leases.list().await?;
            let copied = copy(&self.source, &self.target, report).await?;
            let text = format!(
                "copied: {} keys at revision {}, of which {} were written, and {} deleted; {} leases",
                copied.keys,
                copied.revision,
                copied.written,
                copied.deleted,
                self.leases.count()
            );
            let fields = json!({
                "revision": copied.revision, "keys": copied.keys, "written": copied.written,
                "deleted": copied.deleted, "leases": self.leases.count(),
            });
            report.say("copied", &text, fields);
            if !scripted {
                let text = "following; to hand over, stop all writers to the source, then press \
                            Ctrl-C once";
                report.say("following", text, json!({}));
            }
            match self.follow(copied.revision, ask, scripted).await? {
                None => return Ok(()),
                Some(why) => report.say("anew", &format!("comparing anew: {why}"), json!({})),
            }
        }
        bail!("the source had to be read anew {} times", limits::MIGRATE_PASSES_MAX)
    }

    /// Follows from a revision on. Answers why the stores must be compared anew, or nothing when all
    /// was handed over.
    async fn follow(
        &self,
        revision: i64,
        ask: &watch::Sender<Asked>,
        scripted: bool,
    ) -> anyhow::Result<Option<&'static str>> {
        let asked = ask.subscribe();
        let mut follow =
            Follow::new(&self.source, &self.target, &self.leases, self.report, revision);
        loop {
            match follow.run(&asked, &self.hand_over).await? {
                Stop::Anew(why) => return Ok(Some(why)),
                Stop::Level(revision) => {
                    if self.hand_over_at(revision, follow.torn).await? {
                        return Ok(None);
                    }
                }
                Stop::Busy => {
                    let waited = self.hand_over.timeout.as_secs();
                    let why = format!(
                        "the source was written to again and again for {waited} s, or is out of \
                         reach: stop its writers first"
                    );
                    if scripted {
                        bail!("{why}. Nothing was handed over; --resume goes on");
                    }
                    let text = format!("{why}; following again, Ctrl-C asks for the hand-over");
                    self.report.say("busy", &text, json!({}));
                    // Unless leaving was asked for meanwhile.
                    ask.send_if_modified(|asked| {
                        let waits = *asked == Asked::HandOver;
                        if waits {
                            *asked = Asked::Follow;
                        }
                        waits
                    });
                }
            }
        }
    }

    /// G3. False when the source was written to while all was compared.
    async fn hand_over_at(&self, revision: i64, torn: u64) -> anyhow::Result<bool> {
        self.leases.settle().await?;
        let report = self.report;
        let equal = verify(&self.source, &self.target.side, revision, report).await?;
        let now = self.source.now().await?.revision;
        if now != revision {
            let text = format!("the source went on from revision {revision} to {now}: once more");
            report.say("again", &text, json!({"revision": revision, "source_revision": now}));
            return Ok(false);
        }
        self.target.release().await?;
        let own = self.target.side.now().await?.revision;
        report.finish();
        let leases = self.leases.count();
        let text = format!(
            "handed over: source and target hold the same {} keys (sha-256 of keys, values and leases \
             {}) and {leases} leases, at revision {revision} of the source and {own} of the target.\n\
             Point all clients at the target now, and start those anew that remember revisions; then \
             stop the source for good.",
            equal.keys, equal.sha256
        );
        let fields = json!({
            "keys": equal.keys, "sha256": equal.sha256, "leases": leases,
            "source_revision": revision, "target_revision": own,
            "revisions_in_parts": torn,
        });
        report.say("done", &text, fields);
        Ok(true)
    }
}
