//! The cluster's folder: one `up` at a time, made once, never half made without saying so.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | F1 | At most one supervisor works in a folder: it holds a lock that ends with its process. |
//! | F2 | A folder that holds anything else is not touched. |
//! | F3 | A set-up that was cut short is finished by the next start; its marker tells. |

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, Shape};
use super::pki::write_private;

/// The layout of the folder that this program makes and understands.
const FORMAT: u32 = 1;
const MARKER: &str = "cluster.json";
const LOCK: &str = "lock";

/// What is written down about the cluster in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) format: u32,
    /// False from the first file until every certificate is there.
    pub(crate) complete: bool,
    /// Tells this cluster's members from any other's on the same ports.
    pub(crate) token: String,
    pub(crate) shape: Shape,
}

/// What the command line said; what it left out is the folder's own, or the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) members: Option<u8>,
    pub(crate) nodes: Option<u16>,
    pub(crate) host_prefix: Option<String>,
    pub(crate) api_port: Option<u16>,
    pub(crate) store_client_port: Option<u16>,
}

/// A folder that this process alone works in.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) layout: Layout,
    pub(crate) token: String,
    /// Whether a finished cluster was found here.
    pub(crate) resumed: bool,
    /// Whether a set-up that had been cut short was found here.
    pub(crate) unfinished: bool,
    lock: Flock<File>,
}

impl Folder {
    /// Takes the folder at `dir`, making it if it is not there.
    pub(crate) fn claim(dir: &Path, asked: &Asked) -> anyhow::Result<Self> {
        if let Some(members) = asked.members {
            super::layout::check_members(members)?;
        }
        let dir = make(dir)?;
        let lock = lock(&dir)?;
        let found = read_marker(&dir)?;
        if found.is_none() {
            refuse_foreign(&dir)?;
        }
        let shape = settle(asked, found.as_ref().map(|marker| &marker.shape), &dir)?;
        shape.check()?;
        let resumed = found.as_ref().is_some_and(|marker| marker.complete);
        let folder = Self {
            layout: Layout { dir, shape },
            unfinished: found.is_some() && !resumed,
            resumed,
            token: found.map_or_else(new_token, |marker| marker.token),
            lock,
        };
        folder.make_socket_folder()?;
        Ok(folder)
    }

    /// From now on the folder remembers what was asked for (F3). Not before everything that may
    /// refuse it has been looked at: who is told to choose another port must be able to.
    pub(crate) fn begin(&self) -> anyhow::Result<()> {
        self.write_marker(self.resumed)
    }

    /// From now on the folder is a cluster, and losing a part of it is refused (F3).
    pub(crate) fn set_complete(&self) -> anyhow::Result<()> {
        self.write_marker(true)
    }

    /// Writes the supervisor's process id where a second one finds whom to name.
    pub(crate) fn write_pid(&mut self) -> anyhow::Result<()> {
        let path = self.layout.dir.join(LOCK);
        let say = || format!("cannot write {}", path.display());
        self.lock.set_len(0).with_context(say)?;
        self.lock.rewind().with_context(say)?;
        writeln!(self.lock, "{}", std::process::id()).with_context(say)
    }

    fn write_marker(&self, complete: bool) -> anyhow::Result<()> {
        let marker = Marker {
            format: FORMAT,
            complete,
            token: self.token.clone(),
            shape: self.layout.shape.clone(),
        };
        let text = serde_json::to_string_pretty(&marker).context("cannot write the marker")?;
        write_private(&self.layout.dir.join(MARKER), &format!("{text}\n"))
    }

    fn make_socket_folder(&self) -> anyhow::Result<()> {
        let sockets = self.layout.sockets();
        private_folder(&sockets)?;
        let control = self.layout.control_socket();
        // Whoever listened there is gone: the lock is ours (F1).
        match fs::remove_file(&control) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", control.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The cluster at `dir`, for a command that only talks to it.
pub(crate) fn find(dir: &Path) -> anyhow::Result<Layout> {
    let absolute = match dir.canonicalize() {
        Ok(absolute) => absolute,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "no cluster at {}: name its folder with --dir, or start one with `orlop up`",
                dir.display()
            )
        }
        Err(error) => return Err(error).with_context(|| format!("cannot use {}", dir.display())),
    };
    let Some(marker) = read_marker(&absolute)? else {
        bail!("no cluster at {}: name its folder with --dir, or start one", dir.display());
    };
    Ok(Layout { dir: absolute, shape: marker.shape })
}

/// A folder that only its owner can look into. One that somebody else owns is refused: a socket in
/// a shared place could otherwise be theirs.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if !ours || metadata.mode() & 0o022 != 0 {
        bail!("{} is not a folder of yours alone: remove it and try again", path.display());
    }
    Ok(())
}

fn make(dir: &Path) -> anyhow::Result<PathBuf> {
    if dir.exists() && !dir.is_dir() {
        bail!("{} is not a folder: choose another with --dir", dir.display());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        format!("cannot make {}: choose another folder with --dir", dir.display())
    })?;
    dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))
}

fn lock(dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}: choose another --dir", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            // Only a name for the message: an empty one is left out.
            let holder = match file.read_to_string(&mut pid) {
                Ok(_) if !pid.trim().is_empty() => format!(" (pid {})", pid.trim()),
                _ => String::new(),
            };
            bail!(
                "{} is in use by another `orlop up`{holder}: stop that with `orlop down --dir {}`, \
                 or choose another folder with --dir",
                dir.display(),
                dir.display()
            )
        }
        Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
    }
}

fn read_marker(dir: &Path) -> anyhow::Result<Option<Marker>> {
    let path = dir.join(MARKER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let marker: Marker = serde_json::from_str(&text).with_context(|| {
        format!("{} is damaged: restore it, or start anew in an empty folder", path.display())
    })?;
    if marker.format != FORMAT {
        bail!(
            "{} was made by another version of orlop (format {}, this one knows {FORMAT}): use \
             that version, or choose another folder with --dir",
            dir.display(),
            marker.format
        );
    }
    Ok(Some(marker))
}

/// Only the lock file, which was made a moment ago, may be in a folder without a marker (F2).
fn refuse_foreign(dir: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", dir.display()))?.file_name();
        if name != LOCK && name != "run" && name.to_string_lossy() != format!("{MARKER}.tmp") {
            bail!(
                "{} holds files that are not a cluster's ({}), and no {MARKER}: choose an empty \
                 or new folder with --dir",
                dir.display(),
                name.display()
            );
        }
    }
    Ok(())
}

/// Puts together what was asked for and what the folder already is. The members and where they
/// talk to each other are agreed among them and can not be changed from outside.
fn settle(asked: &Asked, found: Option<&Shape>, dir: &Path) -> anyhow::Result<Shape> {
    let Some(found) = found else {
        return Ok(Shape {
            members: asked.members.unwrap_or(3),
            nodes: asked.nodes.unwrap_or(1),
            host_prefix: asked.host_prefix.clone().unwrap_or_else(|| "127.0.0.".to_owned()),
            api_port: asked.api_port.unwrap_or(6443),
            store_client_port: asked.store_client_port.unwrap_or(2379),
        });
    };
    fixed("--members", asked.members.as_ref(), &found.members, dir)?;
    fixed("--store-client-port", asked.store_client_port.as_ref(), &found.store_client_port, dir)?;
    fixed("--host-prefix", asked.host_prefix.as_ref(), &found.host_prefix, dir)?;
    Ok(Shape {
        nodes: asked.nodes.unwrap_or(found.nodes),
        api_port: asked.api_port.unwrap_or(found.api_port),
        ..found.clone()
    })
}

fn fixed<T: PartialEq + std::fmt::Display>(
    flag: &str,
    asked: Option<&T>,
    found: &T,
    dir: &Path,
) -> anyhow::Result<()> {
    match asked {
        Some(asked) if asked != found => bail!(
            "{flag} {asked} does not fit {}, which was made with {flag} {found}: leave the flag \
             out, or choose another folder with --dir",
            dir.display()
        ),
        _ => Ok(()),
    }
}

fn new_token() -> String {
    format!("orlop-{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: anyhow::Result<Folder>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_second_up_in_the_folder_is_refused_and_told_whom_to_stop() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("c");
        let mut first = Folder::claim(&dir, &Asked::default()).unwrap();
        first.write_pid().unwrap();
        let line = refusal(Folder::claim(&dir, &Asked::default()));
        assert!(line.contains(&format!("(pid {})", std::process::id())), "{line}");
        assert!(line.contains("orlop down --dir"), "{line}");
        drop(first);
        assert!(Folder::claim(&dir, &Asked::default()).is_ok());
    }

    #[test]
    fn a_folder_of_somebody_elses_files_is_not_touched() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.txt"), "mine").unwrap();
        let line = refusal(Folder::claim(parent.path(), &Asked::default()));
        assert!(line.contains("thesis.txt"), "{line}");
        assert!(!parent.path().join(MARKER).exists());
    }

    #[test]
    fn a_set_up_cut_short_is_recognised_and_a_finished_one_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Asked { members: Some(5), ..Asked::default() };
        drop(Folder::claim(dir.path(), &refused).unwrap());
        let first = Folder::claim(dir.path(), &Asked::default()).unwrap();
        first.begin().unwrap();
        assert_eq!(first.layout.shape.members, 3, "what did not begin is not remembered");
        assert!(!first.resumed && !first.unfinished);
        drop(first);
        let second = Folder::claim(dir.path(), &Asked::default()).unwrap();
        assert!(!second.resumed && second.unfinished);
        second.set_complete().unwrap();
        let token = second.token.clone();
        drop(second);
        let third = Folder::claim(dir.path(), &Asked::default()).unwrap();
        assert!(third.resumed && !third.unfinished);
        assert_eq!(third.token, token);
    }

    #[test]
    fn the_member_count_belongs_to_the_folder_and_the_node_count_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let asked = Asked { members: Some(1), nodes: Some(0), ..Asked::default() };
        Folder::claim(dir.path(), &asked).unwrap().set_complete().unwrap();
        let line =
            refusal(Folder::claim(dir.path(), &Asked { members: Some(3), ..Asked::default() }));
        assert!(line.contains("made with --members 1"), "{line}");
        let asked = Asked { nodes: Some(4), ..Asked::default() };
        let folder = Folder::claim(dir.path(), &asked).unwrap();
        assert_eq!((folder.layout.shape.members, folder.layout.shape.nodes), (1, 4));
    }

    #[test]
    fn a_newer_format_and_a_damaged_marker_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Folder::claim(dir.path(), &Asked::default()).unwrap().set_complete().unwrap();
        let path = dir.path().join(MARKER);
        let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 9");
        fs::write(&path, text).unwrap();
        assert!(refusal(Folder::claim(dir.path(), &Asked::default())).contains("format 9"));
        fs::write(&path, "{").unwrap();
        assert!(refusal(Folder::claim(dir.path(), &Asked::default())).contains("is damaged"));
    }
}
