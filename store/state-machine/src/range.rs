//! Which records a read sees, and what becomes of them before they are answered.

use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::Record;
use store_planted::{self as planted, Bug};

use crate::error::{Fault, Refusal};
use crate::keys::Revision;

/// The revision that a request is about.
pub(crate) fn revision_of(asked: i64, current: i64, compacted: i64) -> Result<i64, Refusal> {
    if asked <= 0 {
        return Ok(current);
    }
    if asked > current {
        return Err(Refusal::FutureRevision);
    }
    if asked < compacted && !planted::is(Bug::CompactedAnswered) {
        return Err(Refusal::Compacted);
    }
    Ok(asked)
}

/// The same for a range within a transaction, where etcd takes a negative revision at its word.
pub(crate) fn check_txn_revision(asked: i64, current: i64, compacted: i64) -> Result<(), Refusal> {
    if asked < 0 {
        return Err(Refusal::Compacted);
    }
    revision_of(asked, current, compacted).map(drop)
}

/// K4: the key as of `at`, found by going back from a newer record; none when it did not exist.
pub(crate) fn as_of(
    newest: Record,
    at: i64,
    mut lookup: impl FnMut(Revision) -> Result<Option<Record>, Fault>,
) -> Result<Option<KeyValue>, Fault> {
    let mut record = newest;
    loop {
        let kv = record.kv.ok_or_else(|| Fault::damaged("record without a key"))?;
        if kv.mod_revision <= at {
            return Ok((!record.deleted).then_some(kv));
        }
        if record.previous_main == 0 {
            return Ok(None);
        }
        let previous = Revision { main: record.previous_main, sub: record.previous_sub };
        // Else a damaged one could lead round for ever.
        if previous >= (Revision { main: kv.mod_revision, sub: record.sub }) {
            return Err(Fault::damaged("a record replaces one that came after it"));
        }
        // A record that is gone was a deletion below the compacted revision (K5).
        match lookup(previous)? {
            Some(older) => record = older,
            None => return Ok(None),
        }
    }
}

/// How much of a range must be looked at.
pub(crate) struct Plan {
    /// Key-values to collect in key order; one more than asked for, to know whether there is more.
    pub(crate) take: usize,
    limit: usize,
}

impl Plan {
    pub(crate) fn new(request: &RangeRequest) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or(0);
        // As etcd: a target without an order sorts only what the limit let through.
        let whole = limit == 0 || is_filtered(request) || request.sort_order != 0;
        let take = match () {
            () if request.count_only => 0,
            () if whole => usize::MAX,
            () => limit + 1,
        };
        Self { take, limit }
    }

    /// Filters, sorts and cuts, in this order, as etcd does.
    pub(crate) fn finish(
        &self,
        request: &RangeRequest,
        mut kvs: Vec<KeyValue>,
        count: usize,
        revision: i64,
    ) -> RangeResponse {
        if is_filtered(request) {
            kvs.retain(|kv| passes(request, kv));
        }
        sort(request, &mut kvs);
        let more = self.limit != 0 && kvs.len() > self.limit;
        if more {
            kvs.truncate(self.limit);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value.clear();
            }
        }
        RangeResponse {
            header: header(revision),
            kvs,
            more,
            count: i64::try_from(count).unwrap_or(i64::MAX),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the field of every response is optional")]
pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

pub(crate) fn is_filtered(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// They come in key order, and equal ones stay so in both directions.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let descend = request.sort_order() == SortOrder::Descend;
    let target = request.sort_target();
    if target == SortTarget::Key {
        if descend {
            kvs.reverse();
        }
        return;
    }
    kvs.sort_by(|a, b| {
        let (a, b) = if descend { (b, a) } else { (a, b) };
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    });
}
