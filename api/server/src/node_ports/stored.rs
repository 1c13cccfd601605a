//! The set of taken ports as upstream stores it: one RangeAllocation with a bitmap, changed by
//! compare-and-swap, so that servers of both kinds can share it.

use api_machinery::{Object, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::Range;
use crate::storage::{self, Outcome, Storage, Write};

/// What the store had when it was asked.
#[derive(Debug)]
pub(super) struct Stored {
    /// Of the key; 0 when nothing was ever taken.
    revision: u64,
    /// The range that the ports were taken of, which may be that of an earlier flag; `None` when
    /// nothing was ever taken.
    range: Option<Range>,
    pub(super) taken: Vec<u16>,
}

fn key(storage: &Storage) -> String {
    storage.raw_key("ranges/servicenodeports")
}

impl Stored {
    /// What is taken. A kube-apiserver writes protobuf. What cannot be read is an error and not taken
    /// for empty: ports would be given twice.
    pub(super) async fn read(storage: &Storage) -> Result<Self, Status> {
        let Some(found) = storage.get_raw(&key(storage)).await? else {
            return Ok(Self { revision: 0, range: None, taken: Vec::new() });
        };
        let document = storage::decode(found.value()?)?;
        let (range, taken) = read_document(&document)?;
        Ok(Self { revision: found.revision, range, taken })
    }

    /// The ports taken of this range. Those of another range are an error, as upstream
    /// (`ErrMismatchedNetwork`): the first round of a repair writes them anew.
    pub(super) fn of(&self, range: Range) -> Result<Vec<u16>, Status> {
        if self.is_of(range) {
            return Ok(self.taken.clone());
        }
        let why = "the provided port range does not match the current port range";
        Err(Status::internal(&format!("failed to allocate a nodePort: {why}")))
    }

    /// Whether this is the range that ports are taken of.
    pub(super) fn is_of(&self, range: Range) -> bool {
        self.range.is_none_or(|stored| stored == range)
    }

    /// Writes what is taken now; false when somebody else did so since it was read.
    pub(super) async fn replace(
        &self,
        storage: &Storage,
        range: Range,
        taken: &[u16],
    ) -> Result<bool, Status> {
        let next = json!({
            "kind": "RangeAllocation",
            "apiVersion": "v1",
            "metadata": {},
            "range": format!("{}-{}", range.0, range.1),
            "data": write_bitmap(range.0, taken),
        });
        let write = Write::Put { value: Bytes::from(next.to_string()), lease: 0 };
        let outcome = storage.commit(&key(storage), self.revision, write).await?;
        Ok(matches!(outcome, Outcome::Done(_)))
    }
}

fn read_document(document: &Object) -> Result<(Option<Range>, Vec<u16>), Status> {
    let (range, data) = (document.text(&["range"]), document.text(&["data"]));
    let ends = range.split_once('-').and_then(|(first, last)| {
        let range: Range = (first.parse().ok()?, last.parse().ok()?);
        Some(range)
    });
    match (ends, range, data) {
        // A kube-apiserver's first look makes one that says nothing yet.
        (None, "", "") => Ok((None, Vec::new())),
        (Some(range), ..) => Ok((Some(range), read_bitmap(range.0, data)?)),
        _ => Err(Status::internal(&format!("the taken node ports are of no range: {range:?}"))),
    }
}

/// Upstream's bitmap: a big-endian number whose bit N is port FIRST + N.
fn read_bitmap(first: u16, data: &str) -> Result<Vec<u16>, Status> {
    let no_bitmap = |why| Status::internal(&format!("the taken node ports are no bitmap: {why}"));
    let bytes = STANDARD.decode(data).map_err(|error| no_bitmap(error.to_string()))?;
    let mut ports = Vec::new();
    for (index, byte) in bytes.iter().rev().enumerate() {
        for bit in 0..8 {
            if byte & (1 << bit) != 0 {
                let offset = u16::try_from(index * 8 + bit).ok();
                let port = offset.and_then(|offset| first.checked_add(offset));
                ports.push(port.ok_or_else(|| no_bitmap("it is too long".to_owned()))?);
            }
        }
    }
    Ok(ports)
}

fn write_bitmap(first: u16, ports: &[u16]) -> String {
    let size = ports.iter().map(|port| usize::from(port - first) / 8 + 1).max().unwrap_or(0);
    let mut bytes = vec![0_u8; size];
    for port in ports {
        let offset = usize::from(port - first);
        bytes[size - 1 - offset / 8] |= 1 << (offset % 8);
    }
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn bitmap_round_trips() {
        let ports = vec![30000, 30007, 30008, 32767];
        assert_eq!(read_bitmap(30000, &write_bitmap(30000, &ports)).unwrap(), ports);
        assert_eq!(write_bitmap(30000, &[]), "");
        assert_eq!(STANDARD.decode(write_bitmap(30000, &[30009])).unwrap(), [2, 0]);
    }

    /// A port whose bit is read wrong is given to two Services.
    #[test]
    fn what_is_taken_counts_from_its_own_range_and_nonsense_is_not_taken_for_empty() {
        let read = |range: &str, data: Value| {
            let document = json!({"metadata": {}, "range": range, "data": data});
            read_document(&Object::from_value(document).unwrap()).map_err(|status| status.message)
        };
        assert_eq!(read("", Value::Null), Ok((None, Vec::new())));
        let stored = read("20000-20099", "Ag==".into()).unwrap();
        assert_eq!(stored, (Some((20000, 20099)), vec![20001]));
        let stored = Stored { revision: 7, range: stored.0, taken: stored.1 };
        assert_eq!(stored.of((20000, 20099)).unwrap(), [20001]);
        assert_eq!(
            stored.of((30000, 30099)).unwrap_err().message,
            "Internal error occurred: failed to allocate a nodePort: the provided port range does not match the current port range"
        );
        for (range, data, why) in [
            ("", "Ag==", "of no range: \"\""),
            ("many", "Ag==", "of no range: \"many\""),
            ("20000-20099", "?", "no bitmap: Invalid"),
            ("65535-65535", "Ag==", "no bitmap: it is too long"),
        ] {
            let told = read(range, data.into()).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
