//! How answers are written: what the client accepts, objects, lists, tables, watch frames.

mod beta;
mod expiring;
mod frame;
mod list;
mod negotiate;
mod reply;

pub(crate) use expiring::{Expiring, Held};
pub(crate) use frame::Framer;
pub(crate) use list::{ListMeta, list};
pub(crate) use negotiate::{
    Accepted, Offer, Transform, accepted, accepts_aggregated, negotiate, negotiate_kind,
};
pub(crate) use reply::{
    accepts_gzip, as_cached, as_stored, compress, error, forbid_sniffing, object, plain, value,
};
