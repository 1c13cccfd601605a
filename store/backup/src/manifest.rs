//! What a backup says of itself: a JSON file that is written last.

use proto::etcdserverpb::Member;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::archive::Until;
use crate::error::Error;
use crate::history::Summary;
use crate::snapshot::hex;

/// Changes when the meaning of a field changes.
const FORMAT: u32 = 1;

/// How the files of a backup are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One file in etcd's own snapshot format.
    Snapshot,
    /// The files of a member's state; those of an earlier backup are not stored again.
    Checkpoint,
}

/// Where a backup came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The endpoint that was asked.
    pub endpoint: String,
    /// Its member's id, hexadecimal.
    pub member_id: String,
    /// Its cluster's id, hexadecimal.
    pub cluster_id: String,
    /// The version that it reports.
    pub version: String,
}

/// A member of the cluster that was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// Hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where peers reached it.
    pub peer_urls: Vec<String>,
    /// Where clients reached it.
    pub client_urls: Vec<String>,
    /// Whether it had no vote yet.
    pub is_learner: bool,
}

impl From<&Member> for MemberEntry {
    fn from(member: &Member) -> Self {
        Self {
            id: format!("{:x}", member.id),
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        }
    }
}

/// A file of a backup. It lies in the repository under its checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name within the backup.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Of all of it, hexadecimal.
    pub sha256: String,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Names it in its repository: when it was made, and its revision.
    pub id: String,
    /// How to read the files.
    pub kind: Kind,
    /// When it was finished, RFC 3339.
    pub created: String,
    /// Where it came from.
    pub source: Source,
    /// Who was in the cluster.
    pub members: Vec<MemberEntry>,
    /// The store's revision.
    pub revision: i64,
    /// Reads below it are refused.
    pub compact_revision: i64,
    /// What it holds, where that was counted when it was made.
    pub summary: Option<Summary>,
    /// All of its files.
    pub files: Vec<FileEntry>,
    /// SHA-256 of the manifest with this field empty: the start of the chain that ends at each file.
    sha256: String,
}

impl Manifest {
    /// A manifest of now.
    #[must_use]
    pub fn new(
        kind: Kind,
        source: Source,
        members: Vec<MemberEntry>,
        (revision, compact_revision): (i64, i64),
        files: Vec<FileEntry>,
    ) -> Self {
        let now = jiff::Timestamp::now();
        let id = format!("{}-r{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), revision);
        let created = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut manifest = Self {
            format: FORMAT,
            id,
            kind,
            created,
            source,
            members,
            revision,
            compact_revision,
            summary: None,
            files,
            sha256: String::new(),
        };
        manifest.sha256 = manifest.digest();
        manifest
    }

    /// The same with what was counted.
    #[must_use]
    pub fn with_summary(mut self, summary: Summary) -> Self {
        self.summary = Some(summary);
        self.sha256 = self.digest();
        self
    }

    /// Names everything in the backup: SHA-256 of the manifest, which has those of the files.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Whether everything in it was there before `until`.
    #[must_use]
    pub fn is_before(&self, until: Until) -> bool {
        match until {
            Until::Revision(revision) => self.revision <= revision,
            Until::TimeMs(time) => {
                let created: Result<jiff::Timestamp, _> = self.created.parse();
                created.is_ok_and(|created| created.as_millisecond() <= time)
            }
        }
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn digest(&self) -> String {
        let bare = Self { sha256: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&bare).expect("a manifest has a JSON form");
        hex(&Sha256::digest(text))
    }

    /// The text that is kept.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has a JSON form")
    }

    /// Reads a manifest and checks that it is as it was written; `name` is for the error.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(name: &str, text: &[u8]) -> Result<Self, Error> {
        let bad = |problem: String| Error::Repository(format!("{name}: {problem}"));
        let manifest: Self =
            serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(bad(format!("its format {} is not known", manifest.format)));
        }
        let found = manifest.digest();
        if manifest.sha256 != found {
            return Err(bad(format!("it was changed: sha-256 {found}, not {}", manifest.sha256)));
        }
        // It is the name of the object.
        let digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(file) = manifest.files.iter().find(|file| !digest(&file.sha256)) {
            return Err(bad(format!("{:?} is not the sha-256 of {:?}", file.sha256, file.name)));
        }
        Ok(manifest)
    }
}
