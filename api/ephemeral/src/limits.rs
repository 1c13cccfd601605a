//! Every limit of the ephemeral server in one table.

use std::time::Duration;

/// How long a server may take to start, what it begins with included.
pub(crate) const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to stop.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);
/// How often something that comes by itself is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// How long the controllers may take to make what every namespace has.
pub(crate) const CONTROLLERS_MAX: Duration = Duration::from_secs(20);
/// How long a definition may take to be served.
pub(crate) const ESTABLISHED_MAX: Duration = Duration::from_secs(20);
/// Bytes of a file of manifests.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Files of all folders of manifests together.
pub(crate) const MANIFEST_FILES_MAX: usize = 10_000;
/// Certificates are good for so long: longer than time can be moved ahead.
pub(crate) const CERTIFICATE_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Threads of a server's runtime.
pub(crate) const THREADS: usize = 2;
