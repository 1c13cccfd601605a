//! What a server is to be like.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Parser as _;

/// What a server is to be like. The default is a server on a free port of 127.0.0.1 with RBAC and all
/// controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The API server's own flags. Those about a store and about certificates are not looked at; the
    /// port may be 0.
    pub flags: api_server::Flags,
    /// Controllers to run, as `--controllers` of a controller manager names them: `*` for all. None of
    /// them makes the workers of nodes: there are no nodes.
    pub controllers: Vec<String>,
    /// Files, or folders of files, with definitions of custom kinds to be served from the start.
    pub definitions: Vec<PathBuf>,
    /// Files, or folders of files, with objects to be there from the start.
    pub manifests: Vec<PathBuf>,
}

/// The flags as a command line of nothing would give them.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct NoFlags {
    #[command(flatten)]
    flags: api_server::Flags,
}

impl Options {
    /// What is made of flags that were given: their address, port and authorization stay as they are.
    #[must_use]
    pub fn with_flags(flags: api_server::Flags) -> Self {
        Self {
            flags,
            controllers: vec!["*".to_owned()],
            definitions: Vec::new(),
            manifests: Vec::new(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let nothing: [&str; 0] = [];
        let read = NoFlags::try_parse_from(nothing);
        let mut flags = read.map(|read| read.flags).expect("every flag has a default");
        flags.bind_address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        flags.secure_port = 0;
        flags.authorization_mode = vec!["RBAC".to_owned()];
        Self::with_flags(flags)
    }
}
