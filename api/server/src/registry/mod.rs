//! What a write makes of an object: the one door between handlers and storage.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | An object in the store has passed defaults, admission and validation. |
//! | R2 | uid, creationTimestamp and namespace never change; the generation counts spec changes. |
//! | R3 | A write is based on the version it names, or on the newest one, never on one in between. |
//! | R4 | An update that changes nothing writes nothing. |

mod create;
mod delete;
mod update;

pub(crate) use create::create;
pub(crate) use delete::{DeleteOptions, Deleted, PropagationPolicy, delete};
pub(crate) use update::{Retry, Update, update, write_as_is};
