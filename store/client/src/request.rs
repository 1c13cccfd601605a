//! Small builders for the requests that are written often.

use bytes::Bytes;
use proto::etcdserverpb::RangeRequest;

/// The end of the range of all keys that start with `prefix`; `"\0"` (no end) when there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}

/// A linearizable read of all keys that start with `prefix`; the empty prefix means all keys.
pub fn range_prefix(prefix: impl Into<Bytes>) -> RangeRequest {
    let prefix = prefix.into();
    let range_end = prefix_end(&prefix);
    let key = if prefix.is_empty() { Bytes::from_static(b"\0") } else { prefix };
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

/// Compares for transactions.
pub mod compare {
    use bytes::Bytes;
    use proto::etcdserverpb::Compare;
    use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

    /// The key was last written at `revision`; 0 means that it does not exist.
    pub fn mod_revision_is(key: impl Into<Bytes>, revision: i64) -> Compare {
        Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.into(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Compare::default()
        }
    }
}

/// Operations for transactions.
pub mod op {
    use bytes::Bytes;
    use proto::etcdserverpb::request_op::Request;
    use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp};

    /// Writes a key, attached to `lease` unless that is 0.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) -> RequestOp {
        let put =
            PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    /// Reads a key.
    pub fn get(key: impl Into<Bytes>) -> RequestOp {
        let range = RangeRequest { key: key.into(), ..RangeRequest::default() };
        RequestOp { request: Some(Request::RequestRange(range)) }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Bytes>) -> RequestOp {
        let delete = DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_carries_over_ff() {
        assert_eq!(prefix_end(b"/a/"), Bytes::from_static(b"/a0"));
        assert_eq!(prefix_end(b"a\xff"), Bytes::from_static(b"b"));
        assert_eq!(prefix_end(b"\xff\xff"), Bytes::from_static(b"\0"));
        assert_eq!(prefix_end(b""), Bytes::from_static(b"\0"));
    }
}
