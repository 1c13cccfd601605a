//! Removal of images that no container uses, when the disk that holds them is nearly full.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | An image of a container that exists, running or not, is never removed. |
//! | G2 | An image that did not come from a registry is never removed: nothing could bring it back. |
//! | G3 | Who was used longest ago goes first; what came a moment ago stays. |

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::limits::{IMAGE_GC_AGE_MIN, IMAGE_GC_PERIOD};
use crate::runtime::{Labels, Outcome, Runtime, cri};

/// When to begin and when to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) high_percent: u8,
    pub(crate) low_percent: u8,
    /// Every pod needs it, although no container shows it.
    pub(crate) sandbox_image: String,
}

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disk {
    capacity: u64,
    available: u64,
}

impl Policy {
    /// How many bytes have to become free; `None` when there is room enough.
    fn to_free(&self, disk: Disk) -> Option<u64> {
        let available = disk.available.min(disk.capacity);
        if disk.capacity == 0 || self.high_percent >= 100 {
            return None;
        }
        let percent = |part: u128| part * 100 / u128::from(disk.capacity);
        let used = 100 - percent(available.into());
        if used < self.high_percent.into() {
            return None;
        }
        let wanted = u128::from(disk.capacity) * u128::from(100 - self.low_percent) / 100;
        u64::try_from(wanted.saturating_sub(available.into())).ok()
    }
}

/// What is known of one image beside what the runtime says.
#[derive(Debug, Clone, Copy)]
struct Record {
    seen_first: Instant,
    used_last: Option<Instant>,
}

/// The images of this node over time.
#[derive(Debug, Default)]
struct Memory {
    records: HashMap<String, Record>,
}

impl Memory {
    /// Notes what is there now and what is used.
    fn look(&mut self, images: &[cri::Image], used: &HashSet<String>, now: Instant) {
        self.records.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let record = self
                .records
                .entry(image.id.clone())
                .or_insert(Record { seen_first: now, used_last: None });
            if used.contains(&image.id) {
                record.used_last = Some(now);
            }
        }
    }

    /// The images that may go, in the order in which they go (G3).
    fn removable<'a>(
        &self,
        images: &'a [cri::Image],
        used: &HashSet<String>,
        policy: &Policy,
        now: Instant,
    ) -> Vec<&'a cri::Image> {
        let age = |image: &cri::Image| {
            let record = self.records.get(&image.id);
            record.map_or(Duration::ZERO, |record| now.duration_since(record.seen_first))
        };
        let may_go = |image: &&cri::Image| {
            !image.pinned
                // G1
                && !used.contains(&image.id)
                // G2
                && !image.repo_digests.is_empty()
                && !image.repo_tags.contains(&policy.sandbox_image)
                && age(image) >= IMAGE_GC_AGE_MIN
        };
        let mut list: Vec<&cri::Image> = images.iter().filter(may_go).collect();
        list.sort_by_key(|image| {
            self.records.get(&image.id).map(|record| (record.used_last, record.seen_first))
        });
        list
    }
}

/// The images of containers, by id, however the containers name them.
fn used(images: &[cri::Image], containers: &[cri::Container]) -> HashSet<String> {
    let names: HashSet<&str> = containers
        .iter()
        .flat_map(|container| {
            let named = container.image.as_ref().map(|image| image.image.as_str());
            named.into_iter().chain([container.image_ref.as_str(), container.image_id.as_str()])
        })
        .collect();
    let is_used = |image: &&cri::Image| {
        let own = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
        own.into_iter().any(|name| names.contains(name.as_str()))
    };
    images.iter().filter(is_used).map(|image| image.id.clone()).collect()
}

async fn disk(folder: PathBuf) -> Option<Disk> {
    let asked = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&folder)).await;
    let found = asked.ok()?.ok()?;
    let unit = found.fragment_size();
    Some(Disk { capacity: found.blocks() * unit, available: found.blocks_available() * unit })
}

/// Looks once, and removes what has to go. Answers with the ids of what went.
async fn collect(
    runtime: &dyn Runtime,
    memory: &mut Memory,
    policy: &Policy,
    disk: Option<Disk>,
) -> Outcome<Vec<String>> {
    let now = Instant::now();
    let images = runtime.list_images().await?;
    let used = used(&images, &runtime.list_containers(Labels::new()).await?);
    memory.look(&images, &used, now);
    let Some(wanted) = disk.and_then(|disk| policy.to_free(disk)) else { return Ok(Vec::new()) };
    let (mut freed, mut gone) = (0_u64, Vec::new());
    for image in memory.removable(&images, &used, policy, now) {
        if freed >= wanted {
            break;
        }
        match runtime.remove_image(&image.id).await {
            Ok(()) => {
                info!(image = image.id, bytes = image.size, "an unused image was removed");
                freed = freed.saturating_add(image.size);
                gone.push(image.id.clone());
            }
            Err(error) => warn!(image = image.id, %error, "an image could not be removed"),
        }
    }
    if freed < wanted {
        warn!(
            wanted,
            freed, "the disk of images is nearly full, and removing unused images was not enough"
        );
    }
    Ok(gone)
}

/// Keeps room on the disk of images until it is dropped.
pub(crate) async fn keep(runtime: Arc<dyn Runtime>, policy: Policy) {
    let mut memory = Memory::default();
    let mut tick = tokio::time::interval(IMAGE_GC_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let folder = runtime.image_folder().await.ok().flatten();
        let room = match folder {
            Some(folder) => disk(folder).await,
            None => None,
        };
        if let Err(error) = collect(&*runtime, &mut memory, &policy, room).await {
            warn!(%error, "images cannot be looked at");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Fake;

    fn policy() -> Policy {
        Policy { high_percent: 85, low_percent: 80, sandbox_image: "pause:1".to_owned() }
    }

    fn image(id: &str) -> cri::Image {
        let tag = format!("{id}:1");
        let digests = vec![format!("{id}@sha256:{id}")];
        cri::Image {
            id: id.into(),
            repo_tags: vec![tag],
            repo_digests: digests,
            size: 10,
            ..Default::default()
        }
    }

    #[test]
    fn room_is_made_from_the_high_mark_down_to_the_low_one() {
        let disk = |available| Disk { capacity: 1000, available };
        assert_eq!(policy().to_free(disk(160)), None);
        assert_eq!(policy().to_free(disk(159)), Some(41), "what is free is rounded down");
        assert_eq!(policy().to_free(disk(0)), Some(200));
        assert_eq!(policy().to_free(disk(2000)), None);
        assert_eq!(policy().to_free(Disk { capacity: 0, available: 0 }), None);
        let never = Policy { high_percent: 100, ..policy() };
        assert_eq!(never.to_free(disk(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_old_unused_images_of_a_registry_go_and_the_longest_unused_first() {
        let names = ["used", "never", "lately", "pause", "imported", "pinned"];
        let mut images: Vec<cri::Image> = names.iter().map(|name| image(name)).collect();
        images[4].repo_digests.clear();
        images[5].pinned = true;
        let containers = |name: &str| {
            let by_digest =
                cri::Container { image_ref: format!("{name}@sha256:{name}"), ..Default::default() };
            used(&images, &[by_digest])
        };
        let mut memory = Memory::default();
        let begin = Instant::now();
        memory.look(&images, &containers("lately"), begin);
        let soon = begin + Duration::from_secs(60);
        assert!(memory.removable(&images, &containers("used"), &policy(), soon).is_empty(), "G3");

        let later = begin + IMAGE_GC_AGE_MIN;
        let mut all = images.clone();
        all.push(image("new"));
        memory.look(&all, &containers("used"), later);
        let gone = memory.removable(&all, &containers("used"), &policy(), later);
        let gone: Vec<&str> = gone.iter().map(|image| image.id.as_str()).collect();
        // G1: used. G2: imported, and the sandbox's own. G3: never before lately, new not at all.
        assert_eq!(gone, ["never", "lately"]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_as_soon_as_there_is_room() {
        let runtime = Fake::new("10.9.8.0/24").unwrap();
        runtime.set_images(["a", "b", "c"].map(image).to_vec());
        let mut memory = Memory::default();
        let full = Some(Disk { capacity: 100, available: 10 });
        let gone = collect(&runtime, &mut memory, &policy(), full).await.unwrap();
        assert_eq!(gone, Vec::<String>::new(), "they have only just come");
        tokio::time::advance(IMAGE_GC_AGE_MIN).await;
        let free = Some(Disk { capacity: 100, available: 90 });
        assert!(collect(&runtime, &mut memory, &policy(), free).await.unwrap().is_empty());
        let gone = collect(&runtime, &mut memory, &policy(), full).await.unwrap();
        assert_eq!(gone.len(), 1, "ten bytes were wanted");
        assert_eq!(runtime.list_images().await.unwrap().len(), 2);
    }
}
