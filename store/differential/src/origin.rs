//! Where a script begins on a server: its revisions count from there, and the leases that the server
//! named have the script's own names.
//!
//! A script is written as if it ran on a store at revision 1, so that it means the same after any
//! other, and on any server.

use std::collections::BTreeMap;
use std::time::Instant;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

/// The first lease that a server named has this number in scripts; the next ones follow.
pub(crate) const FIRST_ALIAS: i64 = 7_000_000_001;

/// One server's.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The server's revision when the script is at revision 1, less one.
    pub(crate) offset: i64,
    /// Lease ids that the server chose, by the script's.
    aliases: BTreeMap<i64, i64>,
    began: Instant,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new(0)
    }
}

fn is_revision(field: &str) -> bool {
    field == "revision" || field.ends_with("_revision")
}

/// Of the requests and answers of leases the field is `ID`, elsewhere it is `lease`.
fn is_lease(message: &str, field: &str) -> bool {
    field == "lease" || (field == "ID" && message.starts_with("Lease"))
}

impl Origin {
    pub(crate) fn new(offset: i64) -> Self {
        Self { offset, aliases: BTreeMap::new(), began: Instant::now() }
    }

    /// How much of a lease's time may have passed since the script began, in seconds.
    pub(crate) fn seconds_passed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_secs()).expect("scripts end") + 2
    }

    /// Names a lease whose id the server chose.
    pub(crate) fn name_lease(&mut self, id: i64) {
        let alias = FIRST_ALIAS + i64::try_from(self.aliases.len()).expect("few leases");
        self.aliases.insert(alias, id);
    }

    /// Whether hashes of this server can be compared with those of another: they cover revisions and
    /// the ids of leases as they are.
    pub(crate) fn hashes_as(&self, other: &Self) -> bool {
        self.offset == other.offset && self.aliases.is_empty() && other.aliases.is_empty()
    }

    /// A revision of the script as the server counts. What is not positive means no revision.
    fn revision_out(&self, revision: i64) -> i64 {
        if revision > 0 { revision.saturating_add(self.offset) } else { revision }
    }

    /// The reverse. What lies before the script's beginning is not positive.
    pub(crate) fn revision_in(&self, revision: i64) -> i64 {
        if revision > 0 { revision - self.offset } else { revision }
    }

    fn lease_out(&self, lease: i64) -> i64 {
        self.aliases.get(&lease).copied().unwrap_or(lease)
    }

    pub(crate) fn lease_in(&self, lease: i64) -> i64 {
        let named = self.aliases.iter().find(|(_, id)| **id == lease);
        named.map_or(lease, |(alias, _)| *alias)
    }

    /// A request of the script as this server must get it.
    pub(crate) fn outward(&self, request: &DynamicMessage) -> DynamicMessage {
        let mut request = request.clone();
        visit(&mut request, &mut |message, field, number| {
            if is_revision(field) {
                *number = self.revision_out(*number);
            } else if is_lease(message, field) {
                *number = self.lease_out(*number);
            }
        });
        request
    }

    /// An answer of this server as the script means it.
    pub(crate) fn inward(&self, answer: &mut DynamicMessage) {
        visit(answer, &mut |message, field, number| {
            if is_revision(field) {
                *number = self.revision_in(*number);
            } else if is_lease(message, field) {
                *number = self.lease_in(*number);
            }
        });
    }
}

/// Shows every signed number that is set, with the names of its message and field.
fn visit(message: &mut DynamicMessage, change: &mut impl FnMut(&str, &str, &mut i64)) {
    let descriptor = message.descriptor();
    let set: Vec<_> = descriptor.fields().filter(|field| message.has_field(field)).collect();
    for field in set {
        let mut value = message.get_field(&field).into_owned();
        match &mut value {
            Value::I64(number) => change(descriptor.name(), field.name(), number),
            Value::Message(inner) => visit(inner, change),
            Value::List(list) => {
                for value in list {
                    if let Value::Message(inner) = value {
                        visit(inner, change);
                    }
                }
            }
            _ => continue,
        }
        message.set_field(&field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{dynamic, method};
    use proto::etcdserverpb as pb;

    #[test]
    fn a_script_runs_from_any_revision() {
        let mut origin = Origin::new(100);
        origin.name_lease(42);
        let range = &method("KV/Range").unwrap().input;
        let asked = pb::RangeRequest { revision: 3, limit: 9, ..pb::RangeRequest::default() };
        let sent: pb::RangeRequest = crate::wire::typed(&origin.outward(&dynamic(range, &asked)));
        assert_eq!((sent.revision, sent.limit), (103, 9));
        let put = &method("KV/Put").unwrap().input;
        let asked = pb::PutRequest { lease: FIRST_ALIAS, ..pb::PutRequest::default() };
        let sent: pb::PutRequest = crate::wire::typed(&origin.outward(&dynamic(put, &asked)));
        assert_eq!(sent.lease, 42);
        let grant = &method("Lease/LeaseGrant").unwrap().output;
        let header = Some(pb::ResponseHeader { revision: 103, ..pb::ResponseHeader::default() });
        let told = pb::LeaseGrantResponse { header, id: 42, ..pb::LeaseGrantResponse::default() };
        let mut answer = dynamic(grant, &told);
        origin.inward(&mut answer);
        let answer: pb::LeaseGrantResponse = crate::wire::typed(&answer);
        assert_eq!((answer.header.unwrap().revision, answer.id), (3, FIRST_ALIAS));
    }
}
