//! Whether the members serve.

use std::time::Duration;

use anyhow::bail;
use chaos::history::{Action, Outcome, Step};
use chaos::workload::Connect;
use tokio::time::{Instant, sleep, timeout_at};

use crate::limits;

/// Waits until every member serves a linearizable read.
pub(crate) async fn wait(connect: &Connect, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    for member in 0..connect.members() {
        let mut client = connect.client(member)?;
        let step = Step::Get { key: "served".to_owned() };
        let read = Action::Single { step, serializable: false };
        loop {
            let outcome = timeout_at(deadline, client.execute(&read)).await;
            match outcome {
                Ok(Outcome::Ok(_)) => break,
                Ok(Outcome::Refused(_) | Outcome::Unknown(_)) => sleep(limits::POLL).await,
                Err(_) => bail!("member {member} serves nothing after {within:?}"),
            }
        }
    }
    Ok(())
}
