//! The Kubernetes API without I/O: schema, decoding, defaults, validation, patches, tables.
//!
//! Everything here takes values and returns values; clocks, sockets and random numbers are the
//! caller's. The path of a write: [`decode::body`] → [`defaults::apply`] →
//! [`strategy::prepare_for_create`] (or `_update`) → [`validate::create`] (or `update`) →
//! [`Object::to_json`] into the store; the path of a read: stored bytes →
//! [`header::with_resource_version`] → JSON as it is, [`protobuf::encode`], or [`table`] by way of a
//! [`View`] of the bytes.

pub mod admission;
pub mod apply;
pub mod continue_token;
pub mod convert;
pub mod custom;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod field;
pub mod header;
pub mod kinds;
pub mod limits;
mod object;
pub mod openapi;
mod parts;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod rbac;
mod resource_names;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod time;
pub mod validate;
pub mod view;
pub mod warnings;

pub use kinds::ResourceInfo;
pub use object::{Object, OwnerReference};
pub use parts::Parts;
pub use schema::Schema;
pub use status::Status;
pub use view::View;
