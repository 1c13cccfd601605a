//! The labels and annotations by which a restarted agent recognises its containers.

use std::collections::HashMap;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub(crate) const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub(crate) const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
pub(crate) const PORTS: &str = "io.kubernetes.container.ports";
pub(crate) const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

pub(crate) const CONFIG_HASH: &str = "kubernetes.io/config.hash";
pub(crate) const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
pub(crate) const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
pub(crate) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// The selector of everything that belongs to one pod.
pub(crate) fn of_uid(uid: &str) -> HashMap<String, String> {
    HashMap::from([(POD_UID.to_owned(), uid.to_owned())])
}
