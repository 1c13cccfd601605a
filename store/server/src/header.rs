//! The header of every answer: which cluster, which member, which revision and term.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use proto::etcdserverpb::ResponseHeader;

/// Makes headers.
#[derive(Clone)]
pub(crate) struct Headers {
    cluster_id: u64,
    member_id: u64,
    term: Arc<AtomicU64>,
}

impl Headers {
    pub(crate) fn new(cluster_id: u64, member_id: u64) -> Self {
        Self { cluster_id, member_id, term: Arc::default() }
    }

    pub(crate) fn set_term(&self, term: u64) {
        self.term.store(term, Ordering::Relaxed);
    }

    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    pub(crate) fn member_id(&self) -> u64 {
        self.member_id
    }

    pub(crate) fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    pub(crate) fn at(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.term(),
        }
    }

    /// Completes the header of a reply, which carries only the revision.
    pub(crate) fn complete(&self, header: &mut Option<ResponseHeader>) {
        *header = Some(self.at(header.as_ref().map_or(0, |header| header.revision)));
    }
}
