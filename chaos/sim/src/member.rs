//! A member on its host: the real store, from its command line on.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser as _;
use store_server::{Flags, Member};

use crate::limits;
use crate::plan::Plan;
use crate::world;

/// What is needed to start a member.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) number: usize,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) folder: PathBuf,
    pub(crate) plan: Plan,
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

/// The name of a member's host.
pub(crate) fn host(number: usize) -> String {
    format!("m{number}")
}

impl Spec {
    fn line(&self) -> Vec<String> {
        let own = self.addresses[self.number];
        let cluster = self.addresses.iter().enumerate();
        let cluster: Vec<String> =
            cluster.map(|(number, ip)| format!("m{number}=http://{ip}:2380")).collect();
        let heartbeat = self.plan.heartbeat.as_millis();
        let joins = world::with(|world| world.members[self.number].joins);
        vec![
            "store".to_owned(),
            format!("--initial-cluster-state={}", if joins { "existing" } else { "new" }),
            format!("--name=m{}", self.number),
            format!("--data-dir={}", self.folder.join(host(self.number)).display()),
            "--listen-client-urls=http://0.0.0.0:2379".to_owned(),
            format!("--advertise-client-urls=http://{own}:2379"),
            "--listen-peer-urls=http://0.0.0.0:2380".to_owned(),
            format!("--initial-advertise-peer-urls=http://{own}:2380"),
            format!("--initial-cluster={}", cluster.join(",")),
            format!("--snapshot-count={}", self.plan.snapshot_count),
            format!("--heartbeat-interval={heartbeat}"),
            format!("--election-timeout={}", heartbeat * 10),
            // Passwords are to be as cheap as can be: the machine's time is not what is simulated.
            "--bcrypt-cost=4".to_owned(),
            // What the machine has is not to matter.
            "--quota-backend-bytes=1000000000".to_owned(),
        ]
    }
}

/// One life: from a start to a stop, or to a crash, which drops it.
pub(crate) async fn live(spec: Spec) {
    let number = spec.number;
    world::with(|world| world.born(number));
    if let Err(error) = serve(spec).await {
        world::with(|world| world.cannot_go_on(number, format!("{error:#}")));
    }
    world::with(|world| world.members[number].is_up = false);
}

async fn serve(spec: Spec) -> anyhow::Result<()> {
    let config = Line::try_parse_from(spec.line())?.flags.into_config()?;
    let member = Member::start(config).await?;
    let number = spec.number;
    world::with(|world| {
        let one = &mut world.members[number];
        (one.id, one.joins) = (Some(member.id()), false);
    });
    loop {
        let stops = world::with(|world| {
            world.look(number, member.glance());
            world.members[number].stops
        });
        if stops {
            member.stop().await;
            return Ok(());
        }
        tokio::time::sleep(limits::GLANCE_EVERY).await;
    }
}
