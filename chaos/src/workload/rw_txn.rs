//! Clients that read, write, delete and list a few keys, alone and in transactions.

use super::Generator;
use super::caller::Caller;

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller, seed: u64, keys: usize) -> Option<()> {
    let mut generator = Generator::new(seed, caller.number, keys);
    while caller.turn().await {
        let action = generator.action();
        let outcome = caller.call(&action).await?;
        generator.learn(&action, &outcome);
    }
    Some(())
}
