//! What clients do while things break.

mod clients;
mod generator;
mod observers;

pub use clients::{Clients, Settings};
pub use generator::Generator;
pub use observers::{Observers, read_log};
