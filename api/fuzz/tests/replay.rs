//! Whatever the fuzzer found worth keeping is harmless, and stays so: all of it is given to its target.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use api_fuzz::{TARGETS, seeds};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(listing) = fs::read_dir(corpus().join(target)) else { return Vec::new() };
    let mut all: Vec<_> = listing
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// One test for each target, so that they run beside one another.
macro_rules! replay {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            for (name, bytes) in kept(stringify!($target)) {
                // Said only when the test fails.
                println!("{name}");
                api_fuzz::$target(&bytes);
            }
            for bytes in seeds::of(stringify!($target)) {
                api_fuzz::$target(&bytes);
            }
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_corpus() {
            let replayed = BTreeSet::from([$(stringify!($target)),*]);
            let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(replayed, targets);
            for target in targets {
                let kept = kept(target);
                let bytes: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
                assert!(!kept.is_empty(), "{target}");
                assert!(kept.len() <= 130 && bytes <= 260_000, "{target}: it is to stay quick");
            }
        }
    };
}

replay!(applies custom documents expressions patches protobuf selectors texts tokens yaml);

/// The fuzzer starts from something.
#[test]
fn every_target_has_seeds() {
    for (target, _) in TARGETS {
        assert!(!seeds::of(target).is_empty(), "{target}");
    }
}
