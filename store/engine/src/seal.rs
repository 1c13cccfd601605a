//! What a database's folder held when it was closed in order, written down and held against it when
//! it is opened again.
//!
//! RocksDB notices most damage by itself, but not a file that lost its end: a shorter manifest is an
//! older state, and a shorter log has fewer entries. A crash leaves no seal, because it leaves files
//! that nobody closed; then only what each file says of itself can be checked.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::Error;

const NAME: &str = "SEAL";
const HEAD: &str = "orlop seal 1";

/// Seals the folder when it is dropped, if that was asked for: to be kept beside the database, behind
/// it, so that the database is closed by then.
#[derive(Debug)]
pub struct Closing {
    dir: PathBuf,
    wanted: std::sync::atomic::AtomicBool,
}

impl Closing {
    /// Watches over the database in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, wanted: std::sync::atomic::AtomicBool::new(false) }
    }

    /// Whether everything in memory is on disk, so that the folder may be sealed when it is closed.
    pub fn set(&self, wanted: bool) {
        self.wanted.store(wanted, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if self.wanted.load(std::sync::atomic::Ordering::Relaxed) {
            // Without a seal the next start checks less, and is right all the same.
            let _ = write(&self.dir);
        }
    }
}

/// Files whose loss or change is felt, and whether their contents have no checksum of their own that
/// covers all of them.
fn counts(name: &str) -> Option<bool> {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    match extension {
        Some("sst") => Some(false),
        Some("log") => Some(true),
        _ if name == "CURRENT" || name.starts_with("MANIFEST-") => Some(true),
        _ => None,
    }
}

fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            count => sum = crc32c::crc32c_append(sum, &buffer[..count]),
        }
    }
}

/// Writes down what the closed database in `dir` consists of, durably.
///
/// # Errors
/// If the file system refuses.
pub fn write(dir: &Path) -> io::Result<()> {
    let mut lines = vec![HEAD.to_owned()];
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(whole) = counts(&name) {
            let sum = if whole { checksum(&entry.path())? } else { 0 };
            lines.push(format!("{name} {} {sum:08x}", entry.metadata()?.len()));
        }
    }
    let mut text = lines.join("\n");
    text.push_str(&format!("\nend {:08x}\n", crc32c::crc32c(text.as_bytes())));
    let temporary = dir.join("SEAL.tmp");
    fs::write(&temporary, text)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

/// Holds the folder against its seal, if it has one, and takes the seal away: to be called before the
/// database is opened.
///
/// # Errors
/// [`Error::Damaged`] with the name of the first file that is not as it was.
pub fn break_open(dir: &Path) -> Result<(), Error> {
    let path = dir.join(NAME);
    let context = || path.display().to_string();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file(context())(error)),
    };
    let listed =
        listed(&bytes).ok_or_else(|| Error::damaged(format!("{}: unreadable", context())))?;
    for (name, size, sum) in listed {
        let file = dir.join(&name);
        let shown = file.display();
        let found = match fs::metadata(&file) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::damaged(format!("{shown} is missing")));
            }
            Err(error) => return Err(Error::file(shown.to_string())(error)),
        };
        if found != size {
            let what = format!("{shown} has {found} bytes, and had {size} when it was closed");
            return Err(Error::damaged(what));
        }
        let whole = counts(&name) == Some(true);
        if whole && checksum(&file).map_err(Error::file(shown.to_string()))? != sum {
            let what = format!("{shown} is not what it was when it was closed (checksum)");
            return Err(Error::damaged(what));
        }
    }
    // From here on the files change: a seal that stayed would accuse them.
    fs::remove_file(&path).map_err(Error::file(context()))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(Error::file(format!("sync {}", dir.display())))
}

/// The names, sizes and checksums of an intact seal.
#[must_use]
pub fn listed(bytes: &[u8]) -> Option<Vec<(String, u64, u32)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, end) = text.strip_suffix('\n')?.rsplit_once("\nend ")?;
    if u32::from_str_radix(end, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != HEAD {
        return None;
    }
    lines
        .map(|line| {
            let mut fields = line.split(' ');
            let (name, size, sum) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name.to_owned(), size.parse().ok()?, u32::from_str_radix(sum, 16).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_folder_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let fill = || {
            fs::write(path("CURRENT"), "MANIFEST-000001\n").unwrap();
            fs::write(path("MANIFEST-000001"), vec![7; 100]).unwrap();
            fs::write(path("000004.log"), vec![8; 100]).unwrap();
            fs::write(path("LOG"), "anything").unwrap();
            write(dir.path()).unwrap();
        };
        fill();
        fs::write(path("LOG"), "more").unwrap();
        break_open(dir.path()).unwrap();
        // It is gone now: what changes from here on is the database at work.
        fs::write(path("000004.log"), vec![9; 10]).unwrap();
        break_open(dir.path()).unwrap();

        let spoil: [(&str, &dyn Fn()); 4] = [
            ("000004.log", &|| fs::write(path("000004.log"), vec![8; 99]).unwrap()),
            ("MANIFEST-000001", &|| fs::write(path("MANIFEST-000001"), vec![6; 100]).unwrap()),
            ("CURRENT", &|| fs::remove_file(path("CURRENT")).unwrap()),
            ("SEAL", &|| {
                let mut bytes = fs::read(path("SEAL")).unwrap();
                bytes[20] ^= 1;
                fs::write(path("SEAL"), bytes).unwrap();
            }),
        ];
        for (name, spoil) in spoil {
            fill();
            spoil();
            let error = break_open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
            // Nothing was touched: whoever tries again is told again.
            assert_eq!(break_open(dir.path()).unwrap_err().to_string(), error);
        }
    }
}
