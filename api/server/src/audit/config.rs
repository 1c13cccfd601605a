//! Flags of the audit log, with the names and meaning of kube-apiserver.

use std::path::PathBuf;

use super::policy::Policy;
use crate::config::ConfigError;

/// Flags of the audit log.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditFlags {
    /// The audit policy; without it nothing is written.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// File that audit events are written to; `-` is the standard output.
    #[arg(long)]
    pub audit_log_path: Option<String>,
    /// Days that old audit files are kept; 0 keeps them, whatever their age.
    #[arg(long, default_value_t = 366)]
    pub audit_log_maxage: u32,
    /// Old audit files that are kept; 0 keeps all.
    #[arg(long, default_value_t = 100)]
    pub audit_log_maxbackup: u32,
    /// Megabytes after which a new audit file is begun; 0 is never.
    #[arg(long, default_value_t = 100)]
    pub audit_log_maxsize: u32,
    /// batch, blocking or blocking-strict.
    #[arg(long, default_value = "blocking")]
    pub audit_log_mode: String,
    /// Events that may wait to be written in mode batch.
    #[arg(long, default_value_t = 10_000)]
    pub audit_log_batch_buffer_size: usize,
    /// Format of the events: json.
    #[arg(long, default_value = "json")]
    pub audit_log_format: String,
}

/// Whether requests wait for their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// They do not; events that find no place in the queue are lost, and counted.
    Batch,
    /// They do.
    Blocking,
    /// They do, and a request whose first event cannot be written is refused.
    BlockingStrict,
}

/// Where audit events go.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Which events are made.
    pub policy: Policy,
    /// The file, or `-`.
    pub path: String,
    /// Days that old files are kept; 0 is for ever.
    pub max_age_days: u32,
    /// Old files that are kept; 0 is all.
    pub max_backups: u32,
    /// Bytes after which a new file is begun; 0 is never.
    pub max_bytes: u64,
    /// Whether requests wait.
    pub mode: AuditMode,
    /// Events that may wait.
    pub buffer_events: usize,
}

fn invalid(flag: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { flag, why: why.into() }
}

impl AuditFlags {
    /// Checks the flags and reads the policy; `None` when nothing is to be written.
    pub(crate) fn into_config(self) -> Result<Option<AuditConfig>, ConfigError> {
        let mode = match self.audit_log_mode.as_str() {
            "batch" => AuditMode::Batch,
            "blocking" => AuditMode::Blocking,
            "blocking-strict" => AuditMode::BlockingStrict,
            other => {
                let why = format!("{other:?} is no mode: use batch, blocking or blocking-strict");
                return Err(invalid("audit-log-mode", why));
            }
        };
        if self.audit_log_format != "json" {
            return Err(invalid("audit-log-format", "only json is implemented"));
        }
        if self.audit_log_batch_buffer_size == 0 {
            return Err(invalid("audit-log-batch-buffer-size", "must be a positive number"));
        }
        let flag = "audit-policy-file";
        let policy = match self.audit_policy_file {
            None => None,
            Some(path) => {
                let read = std::fs::read(&path);
                let bytes = read.map_err(|source| ConfigError::File { flag, path, source })?;
                Some(Policy::parse(&bytes).map_err(|why| invalid(flag, why))?)
            }
        };
        let path = self.audit_log_path.filter(|path| !path.is_empty());
        let (Some(path), Some(policy)) = (&path, policy) else {
            if path.is_some() {
                tracing::warn!("no audit policy file: no audit events will be written");
            }
            return Ok(None);
        };
        Ok(Some(AuditConfig {
            policy,
            path: path.clone(),
            max_age_days: self.audit_log_maxage,
            max_backups: self.audit_log_maxbackup,
            max_bytes: u64::from(self.audit_log_maxsize) * 1024 * 1024,
            mode,
            buffer_events: self.audit_log_batch_buffer_size,
        }))
    }
}
