//! What the fuzzer kept is given to its targets again, and what it starts from is written down.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is kept for a target below the folder `corpus` of a crate: names and bytes, sorted by name.
///
/// # Panics
/// When a file that is there cannot be read.
#[must_use]
pub fn kept(package: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(package).join("corpus").join(target);
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<_> = listing
        .map(|entry| {
            let entry = entry.expect("a folder of the source is read");
            let bytes = fs::read(entry.path()).expect("a file of the source is read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    all.sort();
    all
}

/// The program that writes the seeds of a target into a folder: `… TARGET FOLDER`.
///
/// # Errors
/// When an argument is missing, and when the folder cannot be written.
pub fn write_seeds(seeds_of: fn(&str) -> Vec<Vec<u8>>) -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(target), Some(folder)) = (arguments.next(), arguments.next().map(PathBuf::from))
    else {
        return Err(io::Error::other("which target, and which folder?"));
    };
    fs::create_dir_all(&folder)?;
    for (number, bytes) in seeds_of(&target.to_string_lossy()).iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}

/// The test of a crate of fuzz targets: all that is kept and all seeds go to their targets, one test
/// for each target so that they run beside one another; each target has a corpus, and a quick one.
///
/// The crate has a function for each target, `TARGETS`, and `seeds::of`.
#[macro_export]
macro_rules! replay {
    ($package:ident: $($target:ident)*) => {
        $(#[test]
        fn $target() {
            for (name, bytes) in $crate::fuzz::kept(env!("CARGO_MANIFEST_DIR"), stringify!($target)) {
                // Said only when the test fails.
                println!("{name}");
                $package::$target(&bytes);
            }
            let seeds = $package::seeds::of(stringify!($target));
            assert!(!seeds.is_empty(), "the fuzzer starts from something");
            for bytes in seeds {
                $package::$target(&bytes);
            }
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_corpus() {
            let replayed = std::collections::BTreeSet::from([$(stringify!($target)),*]);
            let targets: std::collections::BTreeSet<_> =
                $package::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(replayed, targets);
            for target in targets {
                let kept = $crate::fuzz::kept(env!("CARGO_MANIFEST_DIR"), target);
                let bytes: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
                assert!(!kept.is_empty(), "{target}");
                assert!(kept.len() <= 130 && bytes <= 260_000, "{target}: it is to stay quick");
            }
        }
    };
}
