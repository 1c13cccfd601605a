//! Carries out the schedule: each fault begins at its time, holds, and is healed.

use std::net::IpAddr;
use std::time::Duration;

use chaos::history::{Fault, Recorder};
use chaos::workload::Connect;
use proto::etcdserverpb::MoveLeaderRequest;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use store_engine::sim::{self, Failure, Times};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::plan::{Operation, Planned, What, Whom};
use crate::world::{self, Command, World};
use crate::{connect, limits, membership, serving};

/// What a fault is carried out with.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) connect: Connect,
    pub(crate) recorder: Recorder,
    /// When the work began.
    pub(crate) start: Instant,
}

/// Carries out one fault, if there is somebody to do it to, and waits until every member serves again:
/// what a fault holds up is held up until then.
pub(crate) async fn strike(number: usize, planned: Planned, stage: Stage) -> Option<Fault> {
    sleep_until(stage.start + planned.at).await;
    let members = world::with(|world| inject(world, number, &planned.what))?;
    world::with(|world| world.fault(planned.what.name()));
    let injected_ns = stage.recorder.now_ns();
    if planned.what == What::MoveLeader {
        move_leader(&stage, members[0]).await;
    }
    sleep(planned.hold).await;
    if let What::Replace { member, is_learner } = planned.what {
        membership::renew(member, &stage, is_learner).await;
    }
    world::with(|world| heal(world, number, &planned.what, &members));
    if matches!(planned.what, What::Restart(_)) {
        stopped(&members).await;
    }
    if let What::Replace { member, is_learner: true } = planned.what {
        membership::promote(member, &stage).await;
    }
    let healed_ns = stage.recorder.now_ns();
    let back = serving::wait(&stage.connect, limits::HEALED).await;
    let recovered_ns = back.is_ok().then(|| stage.recorder.now_ns());
    let name = planned.what.name().to_owned();
    Some(Fault { name, members, injected_ns, healed_ns, recovered_ns, ..Fault::default() })
}

/// Asks the leader to let another member lead; whether it does is its affair.
async fn move_leader(stage: &Stage, leader: usize) {
    let heir = world::with(|world| {
        let others = world.members.iter().enumerate().filter(|(number, _)| *number != leader);
        others.filter(|(_, member)| member.is_up).find_map(|(_, member)| member.id)
    });
    let channel = connect::channel(stage.addresses[leader]);
    let (Some(target_id), Ok(channel), Ok(mut root)) =
        (heir, channel, stage.connect.client(leader))
    else {
        return;
    };
    let mut client = MaintenanceClient::new(channel);
    let asked = async {
        let request = root.signed(MoveLeaderRequest { target_id }).await?;
        let answer = client.move_leader(request).await;
        answer.inspect_err(|refusal| _ = root.learn(refusal)).map_err(anyhow::Error::from)
    };
    if matches!(timeout(limits::LIVENESS, asked).await, Ok(Ok(_))) {
        world::with(|world| world.led_to("moved-leader"));
    }
}

fn target(world: &World, whom: Whom) -> Option<usize> {
    let leader = world.leader();
    match whom {
        Whom::Leader => leader,
        Whom::Follower(place) => {
            let mut others = (0..world.members.len()).filter(|member| Some(*member) != leader);
            others.nth(place).filter(|_| leader.is_some())
        }
        Whom::Member(member) => Some(member),
    }
}

/// Begins a fault, and says whom it is done to.
fn inject(world: &mut World, number: usize, what: &What) -> Option<Vec<usize>> {
    let members = match what {
        What::Kill(whom)
        | What::PowerLoss(whom)
        | What::TornPower(whom, _)
        | What::DiskError(whom, _)
        | What::Restart(whom)
        | What::SlowDisk(whom, _) => {
            vec![target(world, *whom)?]
        }
        What::PowerLossAll | What::SlowLinks(_) => (0..world.members.len()).collect(),
        What::Cut { links, .. } => links.iter().map(|(from, _)| *from).collect(),
        What::Hold(members) => members.clone(),
        What::NoClients(member) | What::SlowApply(member, _) => vec![*member],
        What::MoveLeader => vec![world.leader()?],
        What::BitFlip { member, .. } | What::Replace { member, .. } => vec![*member],
    };
    let all = world.members.len();
    match what {
        What::Kill(_)
        | What::PowerLoss(_)
        | What::PowerLossAll
        | What::BitFlip { .. }
        | What::Replace { .. } => {
            for member in &members {
                world.members[*member].held_down += 1;
                let power_goes = matches!(what, What::PowerLoss(_) | What::PowerLossAll);
                world.commands.push(Command::Crash(*member, power_goes));
            }
        }
        What::TornPower(_, operations) => {
            world.members[members[0]].excused = true;
            world.members[members[0]].disk.crash_after(*operations);
        }
        What::DiskError(_, failing) => {
            let member = &mut world.members[members[0]];
            member.excused = true;
            member.disk_faults += 1;
            let operation = match failing.operation {
                Operation::Write => sim::Operation::Write,
                Operation::Sync => sim::Operation::Sync,
                Operation::Read => sim::Operation::Read,
            };
            let failure = if failing.is_full { Failure::Enospc } else { Failure::Eio };
            let times = failing.times.map_or(Times::All, Times::Next);
            member.disk.fail(operation, failure, times);
        }
        What::Restart(_) => {
            for member in &members {
                world.members[*member].held_down += 1;
                world.members[*member].stops = true;
            }
        }
        What::Cut { links, .. } => drop(world.cuts.insert(number, links.clone())),
        What::Hold(members) => {
            let others = (0..all).filter(|other| !members.contains(other));
            let pairs = others.flat_map(|other| members.iter().map(move |own| (*own, other)));
            world.holds.insert(number, pairs.collect());
        }
        What::NoClients(member) => {
            drop(world.cuts.insert(number, vec![(*member, all), (all, *member)]));
        }
        What::SlowLinks(time) => drop(world.slow_links.insert(number, *time)),
        What::SlowDisk(_, time) => world.members[members[0]].slow_disk.push(*time),
        What::SlowApply(_, time) => world.members[members[0]].slow_apply.push(*time),
        What::MoveLeader => {}
    }
    world.commands.push(Command::Links);
    Some(members)
}

fn heal(world: &mut World, number: usize, what: &What, members: &[usize]) {
    if let What::BitFlip { member, place, bits } = what {
        world.flip(*member, *place, *bits);
    }
    match what {
        What::Kill(_)
        | What::PowerLoss(_)
        | What::PowerLossAll
        | What::Restart(_)
        | What::BitFlip { .. }
        | What::Replace { .. } => {
            for member in members {
                world.members[*member].held_down -= 1;
            }
        }
        What::Cut { .. } | What::NoClients(_) => drop(world.cuts.remove(&number)),
        What::Hold(_) => drop(world.holds.remove(&number)),
        What::SlowLinks(_) => drop(world.slow_links.remove(&number)),
        What::SlowDisk(_, time) => remove(&mut world.members[members[0]].slow_disk, *time),
        What::SlowApply(_, time) => remove(&mut world.members[members[0]].slow_apply, *time),
        What::DiskError(..) => {
            let member = &mut world.members[members[0]];
            member.disk_faults -= 1;
            if member.disk_faults == 0 {
                member.disk.heal();
            }
        }
        What::TornPower(..) | What::MoveLeader => {}
    }
    world.commands.push(Command::Links);
}

fn remove(times: &mut Vec<Duration>, time: Duration) {
    if let Some(place) = times.iter().position(|one| *one == time) {
        times.swap_remove(place);
    }
}

/// Waits until members that were asked to stop have; who does not in time is crashed.
async fn stopped(members: &[usize]) {
    let deadline = Instant::now() + limits::CLEAN_STOP;
    for member in members {
        while world::with(|world| world.members[*member].stops && world.members[*member].is_up) {
            if Instant::now() >= deadline {
                world::with(|world| {
                    world.broken.push(format!("member {member} does not stop"));
                    world.commands.push(Command::Crash(*member, false));
                });
                return;
            }
            sleep(limits::POLL).await;
        }
    }
}
