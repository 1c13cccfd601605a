//! What clients do while things break.

mod append;
mod auth;
mod caller;
mod compactor;
mod connect;
mod ending;
mod fleet;
mod generator;
mod kube;
mod lease;
mod lock;
mod observers;
mod register;
mod rw_txn;
mod set;
mod watch;
mod watcher;

pub use append::{LISTS, Plan, Planner};
pub use auth::SECRETS;
pub use compactor::BULK;
pub use connect::Connect;
pub use fleet::{Fleet, Mix, Part, Recorded};
pub use generator::Generator;
pub use kube::OBJECTS;
pub use lease::LEASED;
pub use lock::{GUARDED, LOCKS};
pub use observers::Told;
pub use register::REGISTERS;
pub use set::SETS;
