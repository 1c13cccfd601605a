//! Orlop's API server: what kube-apiserver is to Kubernetes, on an etcd v3 store.
//!
//! Read `pipeline` first: a request goes down its filters once and comes back up once.
//! Below it, `routes` finds the handler, `registry` decides what a write makes of an object,
//! `storage` moves bytes by compare-and-swap, and `watch_cache` answers lists and watches.

mod admission;
mod audit;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod cluster_ip;
mod config;
mod connection;
mod custom;
mod discovery;
mod encoding;
mod encryption;
mod flow_control;
mod gate;
mod handlers;
mod in_process;
mod kubelet;
mod kubernetes_service;
mod limits;
mod metrics;
mod node_ports;
mod pipeline;
mod registry;
mod request;
mod routes;
mod server;
mod service_addresses;
mod service_cidrs;
mod state;
mod storage;
mod stream;
mod tls;
mod watch_cache;
mod websocket;
mod working;

pub use admission::Plugins;
pub use audit::{AuditConfig, AuditFlags, AuditMode, AuditPolicy};
pub use authn::{FrontProxyConfig, FrontProxyFlags};
pub use authz::Mode;
pub use cluster_ip::ServiceRange;
pub use config::{
    Config, ConfigError, Flags, Identity, KubeletConfig, ServiceAccountConfig, StoreConfig,
    TokenUser,
};
pub use connection::Patience;
pub use encryption::EncryptionConfig;
pub use in_process::start_on;
pub use kubernetes_service::EndpointTimes;
pub use server::{Running, run, start};
