//! One run: a cluster and its clients in one process, driven tick by tick.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use chaos::history::{History, Recorder};
use chaos::workload::Fleet;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use turmoil::Sim;

use crate::links::Links;
use crate::member::{self, Spec, host};
use crate::nemesis::{self, Stage};
use crate::plan::Plan;
use crate::world::{self, Command, Ended};
use crate::{connect, limits, membership, serving, watchdog};

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) history: History,
    /// Of simulated time.
    pub(crate) took: Duration,
}

const CLIENTS: &str = "clients";

/// Runs a plan on members whose data lie in `folder`.
pub(crate) fn run(plan: &Plan, folder: &Path) -> anyhow::Result<Ran> {
    world::begin(plan, folder);
    let mut sim = turmoil::Builder::new()
        .epoch(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .simulation_duration(plan.work + limits::BRING_UP + limits::ENDING)
        .tick_duration(limits::TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(plan.latency_max)
        .tcp_capacity(limits::TCP_SEGMENTS)
        .enable_random_order()
        .rng_seed(plan.seed)
        .build();
    let names = (0..plan.members).map(host).chain([CLIENTS.to_owned()]);
    let hosts: Vec<IpAddr> = names.map(|name| sim.lookup(name.as_str())).collect();
    let addresses = hosts[..plan.members].to_vec();
    for number in 0..plan.members {
        let spec = Spec {
            number,
            addresses: addresses.clone(),
            folder: folder.to_path_buf(),
            plan: plan.clone(),
        };
        sim.host(host(number), move || {
            let life = member::live(spec.clone());
            async move {
                life.await;
                Ok(())
            }
        });
    }
    let ran = Rc::new(RefCell::new(None));
    let (slot, clients_plan) = (Rc::clone(&ran), plan.clone());
    sim.client(CLIENTS, async move {
        let done = clients(&clients_plan, &addresses).await;
        *slot.borrow_mut() = Some(done);
        Ok(())
    });
    drive(&mut sim, plan, Links::new(hosts, plan.latency_max))?;
    let took = sim.elapsed();
    let done = ran.borrow_mut().take().context("the clients have not ended")?;
    Ok(Ran { history: done?, took })
}

/// Ticks until the clients have ended, and does what nobody inside can do.
fn drive(sim: &mut Sim<'_>, plan: &Plan, mut links: Links) -> anyhow::Result<()> {
    let mut start_at = vec![Duration::ZERO; plan.members];
    loop {
        watchdog::ticked();
        let done = sim.step().map_err(|error| anyhow!("{error}"))?;
        for command in world::with(|world| std::mem::take(&mut world.commands)) {
            match command {
                Command::Crash(member, power_goes) => crash(sim, member, power_goes),
                Command::Links => world::with(|world| links.follow(sim, world)),
            }
        }
        for ended in world::with(|world| std::mem::take(&mut world.ended)) {
            let Ended { member, why, power_went } = ended;
            crash(sim, member, world::with(|world| world.members[member].disk.is_down()));
            start_at[member] = sim.elapsed() + limits::RESTART_AFTER;
            tracing::warn!(member, why, "a member ended by itself");
            world::with(|world| {
                let one = &mut world.members[member];
                one.has_refused |= one.is_damaged;
                if one.excused || power_went {
                    world.led_to("ended-by-itself");
                } else {
                    world.broken.push(format!("member {member} ended: {why}"));
                }
            });
        }
        for (member, start_at) in start_at.iter_mut().enumerate() {
            if world::with(|world| world.members[member].disk.is_down()) {
                crash(sim, member, true);
                *start_at = sim.elapsed() + limits::RESTART_AFTER;
            }
        }
        for (member, at) in start_at.iter().enumerate() {
            let waits = world::with(|world| {
                let member = &world.members[member];
                !member.is_up && member.held_down == 0 && member.lives > 0
            });
            if waits && *at <= sim.elapsed() {
                sim.bounce(host(member));
            }
        }
        if done || world::with(|world| !world.broken.is_empty()) {
            return Ok(());
        }
    }
}

fn crash(sim: &mut Sim<'_>, member: usize, power_goes: bool) {
    world::with(|world| world.end(member, power_goes));
    sim.crash(host(member));
}

/// Everything that clients do, and what is done to the cluster meanwhile.
async fn clients(plan: &Plan, addresses: &[IpAddr]) -> anyhow::Result<History> {
    let connect = connect::to(addresses);
    serving::wait(&connect, limits::BRING_UP).await.context("the cluster does not start")?;
    let recorder = Recorder::default();
    let fleet = Fleet::start(&connect, &plan.mix(), &recorder).await?;
    let start = Instant::now();
    let mut strikes = JoinSet::new();
    let stage = Stage {
        addresses: addresses.to_vec(),
        connect: connect.clone(),
        recorder: recorder.clone(),
        start,
    };
    for (number, planned) in plan.faults.iter().enumerate() {
        strikes.spawn(nemesis::strike(number, planned.clone(), stage.clone()));
    }
    let keeper = tokio::spawn(membership::keep(stage));
    sleep_until(start + plan.work).await;
    let mut faults = Vec::new();
    while let Some(struck) = strikes.join_next().await {
        faults.extend(struck?);
    }
    faults.sort_by_key(|fault| fault.injected_ns);
    serving::wait(&connect, limits::LIVENESS).await.context("healed, but")?;
    let recorded = fleet.stop().await?;
    keeper.abort();
    Ok(recorded.history(&recorder, faults))
}
