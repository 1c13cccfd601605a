//! An API server for tests: the whole API in memory on a free port, with the controllers, ready in
//! milliseconds and gone with its process.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! let server = api_ephemeral::Server::start(api_ephemeral::Options::default()).await?;
//! let kubeconfig = kube::config::Kubeconfig::from_yaml(server.kubeconfig())?;
//! let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
//! let client = kube::Client::try_from(config)?;
//! // What a test does; then an hour goes by.
//! server.advance(std::time::Duration::from_secs(3600))?;
//! # Ok(())
//! # }
//! ```
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H1 | Servers share nothing: port, store, certificates, keys, time and threads are each one's own. |
//! | H2 | Nothing is on a disk: what a process that is killed leaves behind is nothing. |
//! | H3 | A server that has started is ready, and has what it was to begin with. |

mod certificates;
mod controllers;
mod identity;
mod limits;
mod manifests;
mod options;
mod server;

pub use options::Options;
pub use server::Server;
