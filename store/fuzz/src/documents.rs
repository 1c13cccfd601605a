//! The smaller things on disks: seals, manifests, segments of archives, entries of the log, identities.
//!
//! The first byte chooses one of them. Where they carry a checksum it is set right.

use bytes::Bytes;
use prost::Message as _;
use proto::authpb::{Role, User};
use proto::etcdserverpb::{AlarmMember, Member};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{AuthRecord, LeaseRecord, Record, StateRecord};
use sha2::{Digest as _, Sha256};
use store_backup::{
    Manifest, Summary,
    archive::{Segment, SegmentWriter, Step, Until, chain, decode_segment},
};
use store_server::decoders::disk;
use store_state_machine::decoders;
use testbed::fuzz::Input;

use crate::laws;

/// Reads one of them.
pub fn documents(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 12 {
        0 => seal(input.rest()),
        1 => manifest(input.rest()),
        2 => segment(input.rest()),
        3 => steps(input),
        4 => names(input),
        5 => entry(&mut input),
        6 => there_and_back(input.rest(), disk::vote),
        7 => there_and_back(input.rest(), disk::position),
        8 => again(input.rest(), disk::membership),
        9 => again(input.rest(), disk::stored_membership),
        10 => record(input.rest()),
        _ => others(input),
    }
}

fn seal(bytes: &[u8]) {
    drop(decoders::seal(bytes));
    // The same with its checksum set right.
    let body = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let sum = crc32c::crc32c(body);
    let sealed = [body, format!("\nend {sum:08x}\n").as_bytes()].concat();
    if let Some(listed) = decoders::seal(&sealed) {
        let text = str::from_utf8(body).expect("a seal is text");
        assert_eq!(listed.len() + 1, text.lines().count(), "each line is a file");
    }
}

fn manifest(text: &[u8]) {
    drop(Manifest::from_json("fuzz", text));
    let Ok(read) = serde_json::from_slice::<Manifest>(text) else { return };
    // This sets its checksum right.
    let sealed = read.with_summary(Summary::default());
    let Ok(read) = Manifest::from_json("fuzz", &sealed.to_json()) else { return };
    assert_eq!(read, sealed, "Z2: a manifest is what was written");
    let _bytes = read.bytes();
    let plain = |sha256: &str| sha256.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(read.files.iter().all(|file| plain(&file.sha256)), "objects lie in the repository");
    for until in [Until::Revision(7), Until::TimeMs(7)] {
        let _before = read.is_before(until);
    }
}

fn segment(body: &[u8]) {
    drop(decode_segment("fuzz", body));
    let mut whole = b"orlop-archive-1\n".to_vec();
    whole.extend_from_slice(body);
    let digest = Sha256::digest(&whole);
    whole.extend_from_slice(&digest);
    let Ok(steps) = decode_segment("fuzz", &whole) else { return };
    for step in steps {
        laws::message::<Step>(&step.encode_to_vec());
    }
}

/// Steps that an archiver saw: those that follow one another are a segment.
fn steps(mut input: Input<'_>) {
    let mut writer: Option<SegmentWriter> = None;
    let mut pushed = Vec::new();
    while let Some(piece) = input.piece() {
        let Some(step) = laws::message::<Step>(piece) else { continue };
        let writer =
            writer.get_or_insert_with(|| SegmentWriter::new(step.revision.saturating_sub(1)));
        if writer.push(&step).is_ok() {
            pushed.push(step);
        }
    }
    let Some(writer) = writer else { return };
    let (after, last) = writer.range();
    assert_eq!(last.checked_sub(after), i64::try_from(pushed.len()).ok(), "no gap");
}

fn names(mut input: Input<'_>) {
    let mut segments = Vec::new();
    let revision = input.long().cast_signed();
    while let Some(piece) = input.piece() {
        let text = String::from_utf8_lossy(piece).into_owned();
        drop(Until::time(&text));
        segments.extend(Segment::from_name(text));
    }
    let mut at = revision;
    for segment in chain(segments, revision) {
        assert!(segment.after <= at && segment.last > at, "a chain has no gap");
        at = segment.last;
    }
}

fn entry(input: &mut Input<'_>) {
    let index = input.long();
    let stored = Bytes::copy_from_slice(input.take(usize::MAX));
    if let Ok(out) = disk::entry(index, &stored) {
        let again = disk::entry(index, &out.clone().into()).expect("Z2: an entry can be read");
        assert_eq!(again, out, "Z2: and is the same");
    }
}

/// What is longer than it must be, is read all the same.
fn there_and_back(stored: &[u8], decode: fn(&[u8]) -> std::io::Result<Vec<u8>>) {
    if let Ok(out) = decode(stored) {
        let again = decode(&out).expect("Z2: it can be read");
        assert_eq!(again, out, "Z2: and is the same");
        assert!(stored.len() >= out.len(), "nothing was made up");
    }
}

fn again(stored: &[u8], decode: fn(&[u8]) -> std::io::Result<Vec<u8>>) {
    if let Ok(out) = decode(stored) {
        let again = decode(&out).expect("Z2: it can be read");
        assert_eq!(again, out, "Z2: and is the same");
    }
}

/// A backup cuts what reads decode.
fn record(bytes: &[u8]) {
    let stored = [&[1], bytes].concat();
    laws::message::<Record>(bytes);
    let (read, cut) = (decoders::record(&stored), decoders::cut(&stored));
    if let (Ok(Some((deleted, kv))), Ok((cut_deleted, cut))) = (read, cut) {
        // Fields that come twice are not written by anybody: the last one counts, or both.
        let whole = Record::decode(bytes).expect("it was read").encode_to_vec();
        if whole == bytes {
            let cut = KeyValue::decode(cut).expect("what a read decodes, a backup can");
            assert_eq!((deleted, kv), (cut_deleted, cut), "both are the same");
        }
    }
}

fn others(mut input: Input<'_>) {
    let kind = input.byte() % 10;
    let bytes = input.rest();
    match kind {
        0 => drop(disk::identity(bytes)),
        1 => drop(decoders::progress(bytes)),
        2 => drop(laws::message::<StateRecord>(bytes)),
        3 => drop(laws::message::<LeaseRecord>(bytes)),
        4 => drop(laws::message::<Member>(bytes)),
        5 => drop(laws::message::<AlarmMember>(bytes)),
        6 => drop(laws::message::<AuthRecord>(bytes)),
        7 => drop(laws::message::<User>(bytes)),
        8 => drop(laws::message::<Role>(bytes)),
        _ => drop(laws::message::<KeyValue>(bytes)),
    }
}
