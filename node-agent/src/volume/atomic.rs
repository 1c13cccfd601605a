//! Files of a volume replaced all at once: readers see the old set or the new one, never a mix.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use jiff::Timestamp;

use super::Files;

/// Makes the folder show exactly these files: a new folder, then one rename of a link to it.
/// With a group they belong to it, and it may read them.
pub(super) fn write(folder: &Path, files: &Files, group: Option<u32>) -> std::io::Result<()> {
    let current = folder.join("..data");
    if current.exists() && is_same(&current, files)? {
        return Ok(());
    }
    let old = std::fs::read_link(&current).ok();
    let name = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let fresh = folder.join(&name);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, (bytes, mode)) in files {
        let legal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !legal || path.starts_with("..") {
            return Err(std::io::Error::other(format!("illegal path {path:?}")));
        }
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&target, bytes)?;
        let for_group = if group.is_some() { 0o040 } else { 0 };
        chown(&target, None, group)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode | for_group))?;
    }
    let next = folder.join("..data_tmp");
    let _ = std::fs::remove_file(&next);
    symlink(&name, &next)?;
    std::fs::rename(&next, &current)?;

    // Only names change from here on; the contents already have.
    for path in files.keys() {
        let Some(first) = path.split('/').next() else { continue };
        let link = folder.join(first);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(first), link)?;
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = files.keys().any(|path| path.split('/').next() == Some(&name));
        if !name.starts_with("..") && !wanted {
            std::fs::remove_file(entry.path())?;
        }
    }
    match old {
        Some(old) => std::fs::remove_dir_all(folder.join(old)),
        None => Ok(()),
    }
}

fn is_same(current: &Path, files: &Files) -> std::io::Result<bool> {
    fn count(folder: &Path) -> std::io::Result<usize> {
        let mut total = 0;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            total += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
        }
        Ok(total)
    }
    let equal = |(path, (bytes, _)): (&String, &(Vec<u8>, u32))| {
        std::fs::read(current.join(path)).is_ok_and(|have| have == *bytes)
    };
    Ok(files.iter().all(equal) && count(current)? == files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_write_replaces_removes_and_leaves_no_old_folder() {
        let folder = tempfile::tempdir().unwrap();
        let one = Files::from([
            ("a".to_owned(), (b"1".to_vec(), 0o600)),
            ("d/b".to_owned(), (b"2".to_vec(), 0o644)),
        ]);
        write(folder.path(), &one, None).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"1");
        assert_eq!(std::fs::read(folder.path().join("d/b")).unwrap(), b"2");

        let two = Files::from([("a".to_owned(), (b"3".to_vec(), 0o600))]);
        write(folder.path(), &two, None).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"3");
        assert!(folder.path().join("d").symlink_metadata().is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);

        let bad = Files::from([("../x".to_owned(), (Vec::new(), 0o644))]);
        assert!(write(folder.path(), &bad, None).is_err());
    }
}
