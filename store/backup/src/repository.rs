//! Where backups are kept: objects under their checksums, and manifests that name them.
//!
//! | Object | Content |
//! |--------|---------|
//! | `objects/` first two digits `/` SHA-256 | a file of one or more backups |
//! | `backups/` id `.json` | a manifest; a backup exists when its manifest does (B4) |
//! | `archive/` cluster `/` revision before it `-` last revision | a segment of the archive |

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::archive::{Segment, SegmentWriter, Until};
use crate::error::Error;
use crate::limits::{BUFFER_BYTES, MANIFEST_BYTES_MAX};
use crate::manifest::{FileEntry, Manifest};
use crate::snapshot::hex;

/// What a repository needs of the place it lies in; an object store can do all of it. Names are
/// relative paths with `/`. What is stored is whole or not there at all, and never changes.
pub trait Objects {
    /// Stores the file at `from` under `name`; the file may be moved.
    ///
    /// # Errors
    /// When it cannot be stored; then there is nothing under `name`.
    fn put(&self, name: &str, from: &Path) -> Result<(), Error>;

    /// Writes the object to the new file `to`.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    fn get(&self, name: &str, to: &Path) -> Result<(), Error>;

    /// The object's length; none when it is not there.
    ///
    /// # Errors
    /// When the place cannot be asked.
    fn length(&self, name: &str) -> Result<Option<u64>, Error>;

    /// The names that start with `prefix`, ascending.
    ///
    /// # Errors
    /// When the place cannot be asked.
    fn list(&self, prefix: &str) -> Result<Vec<String>, Error>;

    /// A folder for files on their way in and out; removed by nobody but the caller.
    ///
    /// # Errors
    /// When it cannot be made.
    fn scratch(&self) -> Result<PathBuf, Error>;
}

/// A local folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(Error::io("create", root))?;
        Ok(Self { root: root.to_path_buf() })
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
}

impl Objects for Folder {
    fn put(&self, name: &str, from: &Path) -> Result<(), Error> {
        let to = self.root.join(name);
        let parent = to.parent().expect("a name lies under the root");
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        sync(from)?;
        if fs::rename(from, &to).is_err() {
            // From another file system: copied beside its place first.
            let beside = to.with_extension("new");
            fs::copy(from, &beside).map_err(Error::io("write", &beside))?;
            sync(&beside)?;
            fs::rename(&beside, &to).map_err(Error::io("write", &to))?;
        }
        sync(parent)
    }

    fn get(&self, name: &str, to: &Path) -> Result<(), Error> {
        let from = self.root.join(name);
        fs::copy(&from, to).map_err(Error::io("copy", &from))?;
        Ok(())
    }

    fn length(&self, name: &str) -> Result<Option<u64>, Error> {
        let path = self.root.join(name);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let (folder, _) = prefix.rsplit_once('/').unwrap_or_default();
        let path = self.root.join(folder);
        let listing = match fs::read_dir(&path) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &path)(error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("list", &path))?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if name.starts_with(prefix) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn scratch(&self) -> Result<PathBuf, Error> {
        let path = self.root.join("scratch");
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }
}

/// Length and SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> Result<(u64, String), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok((bytes, hex(&digest.finalize()))),
            count => {
                bytes += count as u64;
                digest.update(&buffer[..count]);
            }
        }
    }
}

/// A backup in a repository.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// What it says of itself, or what is wrong with that.
    pub manifest: Result<Manifest, Error>,
}

/// A repository of backups.
pub struct Repository {
    objects: Box<dyn Objects + Send + Sync>,
}

impl Repository {
    /// The repository in `objects`.
    #[must_use]
    pub fn new(objects: impl Objects + Send + Sync + 'static) -> Self {
        Self { objects: Box::new(objects) }
    }

    fn object(sha256: &str) -> String {
        format!("objects/{}/{sha256}", sha256.get(..2).unwrap_or_default())
    }

    /// A folder for files on their way in and out.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, Error> {
        self.objects.scratch()
    }

    /// Whether a file with this content is stored already.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    pub fn has(&self, file: &FileEntry) -> Result<bool, Error> {
        Ok(self.objects.length(&Self::object(&file.sha256))? == Some(file.bytes))
    }

    /// Stores the file at `from`, which must be what `file` says, unless it is stored already.
    ///
    /// # Errors
    /// When it is not what `file` says, or cannot be stored.
    pub fn add(&self, file: &FileEntry, from: &Path) -> Result<(), Error> {
        check(file, from)?;
        if self.has(file)? { Ok(()) } else { self.objects.put(&Self::object(&file.sha256), from) }
    }

    /// Writes a stored file to `to`, and checks it.
    ///
    /// # Errors
    /// When it is missing or damaged, naming the file.
    pub fn fetch(&self, file: &FileEntry, to: &Path) -> Result<(), Error> {
        let name = Self::object(&file.sha256);
        if self.objects.length(&name)?.is_none() {
            return Err(Error::Repository(format!("{name} is missing: {}", file.name)));
        }
        self.objects.get(&name, to)?;
        check(file, to)
    }

    /// Makes a backup exist. All of its files must be stored (B4).
    ///
    /// # Errors
    /// When a file is missing, or the manifest cannot be stored.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), Error> {
        for file in &manifest.files {
            if !self.has(file)? {
                return Err(Error::Repository(format!("{} was not stored", file.name)));
            }
        }
        let path = self.objects.scratch()?.join(format!("{}.json", manifest.id));
        let mut file = File::create(&path).map_err(Error::io("create", &path))?;
        file.write_all(&manifest.to_json()).map_err(Error::io("write", &path))?;
        drop(file);
        self.objects.put(&format!("backups/{}.json", manifest.id), &path)
    }

    /// Stores a segment of a cluster's archive.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn add_segment(&self, cluster_id: &str, writer: SegmentWriter) -> Result<(), Error> {
        let segment = Segment::named(cluster_id, writer.range());
        let scratch = self.objects.scratch()?;
        let path = scratch.join(format!("segment-{}-{}", segment.after, std::process::id()));
        writer.save(&path)?;
        self.objects.put(&segment.name, &path)
    }

    /// All segments of a cluster's archive.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    pub fn segments(&self, cluster_id: &str) -> Result<Vec<Segment>, Error> {
        let names = self.objects.list(&Segment::folder(cluster_id))?;
        Ok(names.into_iter().filter_map(Segment::from_name).collect())
    }

    /// Writes a segment to `to`. It is checked when it is read.
    ///
    /// # Errors
    /// When it is missing.
    pub fn fetch_segment(&self, segment: &Segment, to: &Path) -> Result<(), Error> {
        self.objects.get(&segment.name, to)
    }

    /// All backups, the oldest first, each with its manifest or what is wrong with it.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let names = self.objects.list("backups/")?;
        let ids = names.iter().filter_map(|name| {
            Some(name.strip_prefix("backups/")?.strip_suffix(".json")?.to_owned())
        });
        Ok(ids.map(|id| Listed { manifest: self.manifest(&id), id }).collect())
    }

    /// The backup with this id, or the newest one for `latest`.
    ///
    /// # Errors
    /// When there is none, or its manifest is damaged.
    pub fn find(&self, id: &str) -> Result<Manifest, Error> {
        if id != "latest" {
            return self.manifest(id);
        }
        let newest = self.list()?.pop();
        newest
            .ok_or_else(|| Error::Repository("the repository holds no backup".to_owned()))?
            .manifest
    }

    /// The newest backup before `until` of the cluster that was backed up last.
    ///
    /// # Errors
    /// When there is none.
    pub fn find_before(&self, until: Until) -> Result<Manifest, Error> {
        let cluster_id = self.find("latest")?.source.cluster_id;
        let backups = self.list()?.into_iter().filter_map(|listed| listed.manifest.ok());
        let before = backups
            .filter(|manifest| manifest.source.cluster_id == cluster_id)
            .filter(|manifest| manifest.is_before(until));
        let none = || Error::Repository("every backup is of a later moment".to_owned());
        before.max_by_key(|manifest| manifest.revision).ok_or_else(none)
    }

    fn manifest(&self, id: &str) -> Result<Manifest, Error> {
        let name = format!("backups/{id}.json");
        let unknown = || Error::Repository(format!("there is no backup {id:?}"));
        // A name must not lead out of the repository.
        if id.contains(['/', '\\']) {
            return Err(unknown());
        }
        let length = self.objects.length(&name)?.ok_or_else(unknown)?;
        if length > MANIFEST_BYTES_MAX {
            return Err(Error::Repository(format!("{name} is too large")));
        }
        let path = self.objects.scratch()?.join(format!("{id}.read.{}", std::process::id()));
        self.objects.get(&name, &path)?;
        let text = fs::read(&path).map_err(Error::io("read", &path));
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        let manifest = Manifest::from_json(&name, &text?)?;
        if manifest.id != id {
            return Err(Error::Repository(format!("{name} is the manifest of {}", manifest.id)));
        }
        Ok(manifest)
    }
}

fn check(file: &FileEntry, path: &Path) -> Result<(), Error> {
    let (bytes, sha256) = hash_file(path)?;
    if sha256 != file.sha256 {
        return Err(Error::Digest { expected: file.sha256.clone(), found: sha256 });
    }
    if bytes != file.bytes {
        let name = &file.name;
        return Err(Error::Repository(format!("{name} has {bytes} bytes, not {}", file.bytes)));
    }
    Ok(())
}
