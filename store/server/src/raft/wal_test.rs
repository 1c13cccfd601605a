//! Damage to the raft log's files: what was acknowledged comes back, or the log is not opened.

use std::{
    fs,
    path::{Path, PathBuf},
};

use openraft::{
    RaftLogReader as _,
    storage::{IOFlushed, RaftLogStorage as _},
};
use proptest::prelude::{Strategy as _, any, prop};
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use super::{
    super::{
        log::Log,
        types::{Entry, LeaderId, LogId, Payload, Vote},
    },
    BLOCK, FIRST, FULL, LAST, NUMBERED, NUMBERED_HEADER, Scan, Tail, scan,
};

fn entry(index: u64, bytes: usize) -> Entry {
    let log_id = LogId::new(LeaderId { term: 3, node_id: 1 }, index);
    let body: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + index * 7) as u8).collect();
    openraft::entry::RaftEntry::new(log_id, openraft::EntryPayload::Normal(Payload(body.into())))
}

/// Entries of many sizes: some share a block, some need several.
const SIZES: [usize; 12] = [10, 400, 33, 90_000, 1, 5_000, 32_700, 64, 64, 2_000, 700, 12];

/// A log with these entries and a vote, each synced by itself, and then copied as a crash leaves it.
async fn crashed() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(&path, |_, _| {}).unwrap();
    for (index, bytes) in (0..).zip(SIZES) {
        log.append([entry(index, bytes)], IOFlushed::noop()).await.unwrap();
        // Answered when it is durable, and everything before it.
        log.save_vote(&Vote::new(3 + index, 1)).await.unwrap();
    }
    log.save_vote(&Vote::new(20, 1)).await.unwrap();
    let copy = dir.path().join("crashed");
    copy_folder(&path, &copy);
    log.close();
    (dir, copy)
}

fn copy_folder(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Copies the files of an open database while it has nothing to do in the background.
fn copy_at_rest(from: &Path, to: &Path) {
    let listing = || {
        let files = fs::read_dir(from).unwrap().map(|file| file.unwrap());
        let sizes = files.map(|file| (file.file_name(), file.metadata().map_or(0, |it| it.len())));
        sizes.collect::<std::collections::BTreeMap<_, _>>()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let before = listing();
        drop(fs::remove_dir_all(to));
        fs::create_dir_all(to).unwrap();
        let copied = before.keys().all(|name| fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && listing() == before {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the database is never at rest");
    }
}

/// The one file of the folder whose name ends like this.
fn file(folder: &Path, end: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> = names.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no file {end} in {}", folder.display()))
}

async fn entries(path: &Path) -> Result<Vec<Entry>, std::io::Error> {
    let mut log = Log::open(path, |_, _| {})?;
    let found = log.try_get_log_entries(0..u64::MAX).await;
    log.close();
    found
}

fn whole(bytes: &[u8]) -> usize {
    let Scan { end, tail, .. } = scan(bytes, 4);
    assert_eq!(tail, Tail::Clean);
    end
}

#[tokio::test]
async fn every_flipped_bit_of_the_write_ahead_file_is_seen() {
    let (_dir, crashed) = crashed().await;
    let path = file(&crashed, ".log");
    assert!(path.ends_with("000004.log"), "{}", path.display());
    let good = fs::read(&path).unwrap();
    let end = whole(&good);
    assert!(end > 100_000);
    // A prime, so that every bit of a byte and every part of a header has its turn.
    for bit in (0..end * 8).step_by(1009) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let Scan { tail, end: seen, .. } = scan(&bad, 4);
        // Filling at the end of a block means nothing, and may change.
        assert!(tail == Tail::Damaged || seen == end, "bit {bit}: {tail:?} at {seen} of {end}");
    }
    // The last record, bit by bit: nothing follows it that would prove that it was durable.
    for bit in (end - 60) * 8..end * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(scan(&bad, 4).tail, Tail::Damaged, "bit {bit}");
    }
    // And what the operator reads.
    let mut bad = good.clone();
    bad[end / 2] ^= 4;
    fs::write(&path, bad).unwrap();
    let error = entries(&crashed).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("000004.log is damaged at byte"), "{error}");
}

#[tokio::test]
async fn a_torn_write_is_cut_off_and_nothing_else() {
    let (dir, crashed) = crashed().await;
    let path = file(&crashed, ".log");
    let good = fs::read(&path).unwrap();
    let end = whole(&good);
    // Wherever the file ends, the records before that are kept.
    let mut ends = vec![0];
    for cut in (0..end).step_by(101).chain(end - 40..=end) {
        let Scan { end: kept, tail, .. } = scan(&good[..cut], 4);
        assert_ne!(tail, Tail::Damaged, "cut at {cut}");
        assert!(kept <= cut && kept >= *ends.last().unwrap());
        ends.push(kept);
    }
    ends.dedup();
    assert!(ends.len() > 8, "{ends:?}");

    // A page of the last write that never came: zeros, or what the file held before. The last write
    // was the vote.
    for filler in [0, 0xa5] {
        let mut torn = good.clone();
        torn[end - 40..].fill(filler);
        assert_eq!(scan(&torn, 4).tail, Tail::Leftover);
        let folder = dir.path().join("torn");
        copy_folder(&crashed, &folder);
        fs::write(file(&folder, ".log"), &torn).unwrap();
        let mut log = Log::open(&folder, |_, _| {}).unwrap();
        let found = log.try_get_log_entries(0..u64::MAX).await.unwrap();
        let expected: Vec<Entry> = (0..).zip(SIZES).map(|(at, bytes)| entry(at, bytes)).collect();
        assert!(found == expected, "{} entries", found.len());
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(14, 1)));
        log.close();
    }
}

/// Files are used again, with what they held before behind their new end: that is no damage.
#[tokio::test]
async fn a_log_of_many_files_comes_back_after_every_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut next = 0;
    let mut first = 0;
    let mut used_again = 0;
    for round in 0..5 {
        let mut log = Log::open_sized(&path, 128 << 10, |_, _| {}).unwrap();
        let found = log.try_get_log_entries(0..u64::MAX).await.unwrap();
        let expected: Vec<Entry> = (first..next).map(|at| entry(at, 9_000 + at as usize)).collect();
        assert!(found == expected, "round {round}: {} entries", found.len());
        for _ in 0..70 {
            log.append([entry(next, 9_000 + next as usize)], IOFlushed::noop()).await.unwrap();
            next += 1;
            // Answered when it is durable: each is a write of its own.
            log.save_vote(&Vote::new(next, 1)).await.unwrap();
        }
        if round % 2 == 1 {
            first = next - 30;
            let upto = LogId::new(LeaderId { term: 3, node_id: 1 }, first - 1);
            log.purge(upto).await.unwrap();
        }
        log.save_vote(&Vote::new(next, 1)).await.unwrap();
        let crashed = dir.path().join(format!("crashed-{round}"));
        copy_at_rest(&path, &crashed);
        log.close();
        drop(log);
        fs::remove_dir_all(&path).unwrap();
        fs::rename(&crashed, &path).unwrap();
        let newest = file(&path, ".log");
        let number = newest.file_stem().unwrap().to_string_lossy().parse().unwrap();
        let bytes = fs::read(newest).unwrap();
        let Scan { end, tail, .. } = scan(&bytes, number);
        assert!(tail == Tail::Clean || tail == Tail::Leftover, "{tail:?}");
        used_again += usize::from(bytes[end..].iter().any(|byte| *byte != 0));
    }
    assert!(used_again > 1, "{used_again} files were used again");
}

/// A part of a record, as RocksDB writes it to file number 4.
fn part(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind + NUMBERED];
    body.extend(4_u32.to_le_bytes());
    body.extend(payload);
    let masked = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
    let mut bytes = masked.to_le_bytes().to_vec();
    bytes.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A start was refused once, because the first part of the last record had a few bytes only.
#[test]
fn the_header_of_a_batch_may_lie_in_two_blocks() {
    let batch = |sequence: u64, bytes: usize| {
        let mut batch = sequence.to_le_bytes().to_vec();
        batch.extend(1_u32.to_le_bytes());
        batch.resize(bytes, 7);
        batch
    };
    for few in 0..20 {
        let mut file = part(FULL, &batch(41, BLOCK - 2 * NUMBERED_HEADER - few));
        let last = batch(42, 100);
        file.extend(part(FIRST, &last[..few]));
        assert_eq!(file.len(), BLOCK);
        file.extend(part(LAST, &last[few..]));
        let expected = Scan { next_sequence: 43, end: file.len(), tail: Tail::Clean };
        assert_eq!(scan(&file, 4), expected, "{few} bytes");
        // Without its second part it was never synced.
        let torn = Scan { next_sequence: 42, end: BLOCK - NUMBERED_HEADER - few, tail: Tail::Torn };
        assert_eq!(scan(&file[..BLOCK], 4), torn, "{few} bytes");
    }
}

#[test]
fn no_bytes_make_the_scanner_fail() {
    let part = prop::collection::vec(any::<u8>(), 0..200);
    let many = (part, 0..40_000_usize, any::<u8>()).prop_map(|(mut bytes, more, filler)| {
        bytes.resize(bytes.len() + more, filler);
        bytes
    });
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let scanned = runner.run(&many, |bytes| {
        assert!(scan(&bytes, 4).end <= bytes.len());
        Ok(())
    });
    scanned.unwrap();
}

#[tokio::test]
async fn a_closed_log_is_whole_or_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(&path, |_, _| {}).unwrap();
    for (index, bytes) in (0..).zip(SIZES) {
        log.append([entry(index, bytes)], IOFlushed::noop()).await.unwrap();
    }
    log.close();
    drop(log);
    // Opened once more, so that there is a table too.
    assert_eq!(entries(&path).await.unwrap().len(), SIZES.len());
    let mut log = Log::open(&path, |_, _| {}).unwrap();
    log.append([entry(12, 100)], IOFlushed::noop()).await.unwrap();
    log.close();
    drop(log);

    let good = dir.path().join("good");
    copy_folder(&path, &good);
    assert_eq!(entries(&path).await.unwrap().len(), SIZES.len() + 1);
    type Spoil = fn(&Path);
    let flip: Spoil = |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let shorten: Spoil = |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let delete: Spoil = |path| fs::remove_file(path).unwrap();
    let manifest = file(&good, "").parent().map(|folder| {
        let mut names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        names.find(|name| name.to_string_lossy().starts_with("MANIFEST")).unwrap()
    });
    let manifest = manifest.unwrap().to_string_lossy().into_owned();
    for name in [".log", ".sst", "CURRENT", &manifest] {
        for (how, spoil) in [("flipped", flip), ("shortened", shorten), ("deleted", delete)] {
            for sealed in [true, false] {
                // A file system that loses the end of a synced file is beyond what can be seen in a
                // folder that nobody closed.
                if !sealed && how == "shortened" && (name == ".log" || name == manifest) {
                    continue;
                }
                copy_folder(&good, &path);
                if !sealed {
                    fs::remove_file(path.join("SEAL")).unwrap();
                }
                let spoiled = file(&path, name);
                spoil(&spoiled);
                let what = format!("{} {how}, sealed: {sealed}", spoiled.display());
                match entries(&path).await {
                    Ok(found) => {
                        assert_eq!(found.len(), SIZES.len() + 1, "{what}");
                        assert!(name == ".sst" && how == "flipped", "{what} was not noticed");
                    }
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(&path.display().to_string()), "{what}: {text}");
                    }
                }
            }
        }
    }
    copy_folder(&good, &path);
    let found = entries(&path).await.unwrap();
    let expected: Vec<Entry> = (0..)
        .zip(SIZES.into_iter().chain([100]))
        .map(|(index, bytes)| entry(index, bytes))
        .collect();
    assert!(found == expected, "{} entries", found.len());
}
