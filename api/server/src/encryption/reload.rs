//! Looks at the file of encryption again and again, and puts a changed one in force (E8).

use std::sync::Arc;

use super::{EncryptionConfig, config};
use crate::limits::ENCRYPTION_RETRY;
use crate::state::Server;

/// Runs until the server stops.
pub(crate) async fn run(server: Arc<Server>, config: EncryptionConfig) {
    let mut hash = config.first.hash.clone();
    let encryption = server.storage.encryption();
    encryption.metrics.applied(&server.address, &hash);
    let Some(interval) = config.reload else { return };
    let mut failures: u32 = 0;
    loop {
        let wait = match failures {
            0 => interval,
            more => ENCRYPTION_RETRY.saturating_mul(1 << more.min(16)).min(interval),
        };
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        match changed(&config, &hash).await {
            Ok(None) => failures = 0,
            Ok(Some(rules)) => {
                failures = 0;
                hash.clone_from(&rules.hash);
                encryption.apply(Arc::new(rules));
                encryption.metrics.applied(&server.address, &hash);
                encryption.metrics.reloaded(&server.address, true);
                // What could not be opened before may be now.
                server.caches.look_again_at_broken();
                tracing::info!(path = %config.path.display(), hash, "encryption was loaded anew");
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                encryption.metrics.reloaded(&server.address, false);
                tracing::error!(path = %config.path.display(), error, "encryption stays as it is");
            }
        }
    }
}

/// The rules of the file, when it is not the one of this hash.
async fn changed(config: &EncryptionConfig, hash: &str) -> Result<Option<super::Rules>, String> {
    let (path, hash) = (config.path.clone(), hash.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let bytes = config::read(&path)?;
        if super::metrics::hash_of(&bytes) == hash {
            return Ok(None);
        }
        config::rules(&path, &bytes).map(Some)
    });
    read.await.map_err(|error| error.to_string())?
}
