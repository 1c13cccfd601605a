//! A part of a resource's objects, as they are or as they were: a page of a list takes from memory
//! what it needs and no more, and the pages that follow see the same revision.
//!
//! What was is what is, without the changes that the window has since then (C1, C4).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use api_machinery::Status;

use super::{Cache, Inner};
use crate::watch_cache::{Filter, Version};

/// The field by which upstream has an index.
const INDEXED: &str = "spec.nodeName";

/// Which objects are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Keys begin with it; it ends with a slash.
    pub(crate) prefix: &'a str,
    /// The first key; empty for the first there is.
    pub(crate) start: &'a str,
    pub(crate) filter: &'a Filter,
    /// Matching objects at most; 0 for all.
    pub(crate) limit: u64,
}

/// Matching objects in the order of their keys.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) items: Vec<Arc<Version>>,
    /// What they are of.
    pub(crate) revision: u64,
    /// Objects behind the last item, whether they match or not; upstream counts them so.
    pub(crate) beyond: u64,
}

/// What stood at keys that have changed since.
type Earlier<'a> = BTreeMap<&'a str, Option<&'a Arc<Version>>>;

impl Cache {
    /// Objects as they are. `seen` is [`crate::watch_cache::Caches::revision`], read before.
    ///
    /// # Errors
    /// Why something below the prefix cannot be read (C6).
    pub(crate) fn part(&self, wanted: &Wanted<'_>, seen: u64) -> Result<Part, Status> {
        let inner = self.inner.read();
        inner.check_whole(wanted.prefix)?;
        // Upstream finds what runs on a node by an index, and then counts nothing else.
        let is_by_index = wanted.start.is_empty() && wanted.filter.fields.exact(INDEXED).is_some();
        let counts = |version: &Version| !is_by_index || wanted.filter.matches(&version.header);
        Ok(inner.part(wanted, seen.max(inner.last_event), &Earlier::new(), counts))
    }

    /// Objects as they were at a revision; `None` when only the store can tell.
    pub(crate) fn part_at(&self, wanted: &Wanted<'_>, revision: u64, seen: u64) -> Option<Part> {
        let inner = self.inner.read();
        let known = inner.window_start.max(inner.whole_since)..=seen.max(inner.last_event);
        if inner.is_attached_only || !known.contains(&revision) {
            return None;
        }
        inner.check_whole(wanted.prefix).ok()?;
        Some(inner.part(wanted, revision, &inner.earlier(revision), |_| true))
    }
}

impl Inner {
    fn earlier(&self, revision: u64) -> Earlier<'_> {
        let mut earlier = Earlier::new();
        for event in self.window.iter().rev().take_while(|event| event.revision > revision) {
            // The oldest change has the last word.
            if let Some(version) = event.previous.as_ref().or(event.current.as_ref()) {
                earlier.insert(&version.key, event.previous.as_ref());
            }
        }
        earlier
    }

    fn part(
        &self,
        wanted: &Wanted<'_>,
        revision: u64,
        earlier: &Earlier<'_>,
        counts: impl Fn(&Version) -> bool,
    ) -> Part {
        let first = wanted.start.max(wanted.prefix);
        let from = (Bound::Included(first), Bound::Unbounded);
        let below = |key: &str| key.starts_with(wanted.prefix);
        let is_as_it_was = |key: &str| earlier.is_empty() || !earlier.contains_key(key);
        let mut now = self
            .objects
            .range::<str, _>(from)
            .take_while(|(key, _)| below(key))
            .filter(|(key, _)| is_as_it_was(key))
            .map(|(_, version)| version)
            .peekable();
        let mut then = earlier
            .range::<str, _>(from)
            .take_while(|(key, _)| below(key))
            .filter_map(|(_, version)| *version)
            .peekable();
        let mut next = || match (now.peek(), then.peek()) {
            (Some(one), Some(other)) if other.key < one.key => then.next(),
            (Some(_), _) => now.next(),
            (None, _) => then.next(),
        };
        let mut items = Vec::new();
        while let Some(version) = next() {
            if !wanted.filter.matches(&version.header) {
                continue;
            }
            items.push(version.clone());
            if wanted.limit > 0 && items.len() as u64 == wanted.limit {
                break;
            }
        }
        let beyond = std::iter::from_fn(next).filter(|version| counts(version)).count() as u64;
        Part { items, revision, beyond }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{key, labelled, pod};
    use super::*;
    use crate::watch_cache::cache::Contents;

    const PREFIX: &str = "/registry/pods/";

    fn filled() -> Arc<Cache> {
        let cache = Arc::new(Cache::new(api_machinery::kinds::find("", "v1", "pods").unwrap()));
        cache.fill(Contents::default(), 10);
        cache
    }

    fn wanted(filter: &Filter) -> Wanted<'_> {
        Wanted { prefix: PREFIX, start: "", filter, limit: 0 }
    }

    fn shown(part: &Part) -> Vec<String> {
        let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        let shown = part.items.iter().map(|item| {
            let object = item.object().unwrap();
            format!("{}@{}", name(&item.key), object.resource_version())
        });
        shown.collect()
    }

    #[test]
    fn a_page_knows_how_much_there_is_behind_it() {
        let (cache, red) = (filled(), labelled("red"));
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let label = if name == "d" { "blue" } else { "red" };
            cache.apply(&key(name), 11 + at as u64, Ok(Some(pod(name, label, 11 + at as u64))));
        }
        let page = |start: &str, limit, filter: &Filter| {
            let wanted = Wanted { start, limit, ..wanted(filter) };
            let part = cache.part(&wanted, 14).unwrap();
            (shown(&part).join(" "), part.beyond)
        };
        let everything = Filter::default();
        assert_eq!(page("", 2, &everything), ("a@11 b@12".to_owned(), 2));
        assert_eq!(page(&format!("{}\0", key("b")), 2, &everything), ("c@13 d@14".to_owned(), 0));
        assert_eq!(page("", 0, &everything).1, 0);
        // Upstream counts what does not match, too.
        assert_eq!(page("", 3, &red), ("a@11 b@12 c@13".to_owned(), 1));
        assert_eq!(page(&format!("{}\0", key("c")), 3, &red), (String::new(), 0));
        // A start before the prefix is none.
        assert_eq!(page("/registry/", 1, &everything).0, "a@11");
    }

    #[test]
    fn only_what_the_window_has_is_known() {
        let (cache, everything) = (filled(), Filter::default());
        let at = |revision, seen| {
            cache.part_at(&wanted(&everything), revision, seen).map(|part| shown(&part).join(" "))
        };
        cache.apply(&key("a"), 12, Ok(Some(pod("a", "red", 12))));
        assert_eq!(at(9, 12), None);
        assert_eq!(at(10, 12), Some(String::new()));
        assert_eq!(at(12, 12).as_deref(), Some("a@12"));
        assert_eq!(at(13, 12), None, "it has not happened");
        assert_eq!(at(13, 13).as_deref(), Some("a@12"), "it happened to others");
        // What could not be read is not left out of what was.
        let raw = crate::storage::RawValue::unreadable(key("b"), "no key", 14);
        cache.apply(&key("b"), 14, Err(Arc::new(cache.read(&raw).unwrap_err())));
        assert_eq!(at(14, 14), None);
        cache.apply(&key("b"), 15, Ok(Some(pod("b", "red", 15))));
        assert_eq!(at(14, 15), None);
        assert_eq!(at(15, 15).as_deref(), Some("a@12 b@15"));
    }

    proptest! {
        /// Whatever happens, each revision of the window is shown as it was, whole and in pages.
        #[test]
        fn the_past_is_what_was(changes in prop::collection::vec((0..6_u8, any::<bool>()), 1..40), limit in 0..4_u64) {
            let (cache, everything) = (filled(), Filter::default());
            let mut states = vec![(10, Vec::new())];
            for (at, (name, is_there)) in changes.into_iter().enumerate() {
                let (name, revision) = (format!("p{name}"), 11 + at as u64);
                let current = is_there.then(|| pod(&name, "red", revision));
                cache.apply(&key(&name), revision, Ok(current));
                states.push((revision, shown(&cache.part(&wanted(&everything), revision).unwrap())));
            }
            let seen = states.len() as u64 + 9;
            for (revision, state) in states {
                let (mut pages, mut start) = (Vec::new(), String::new());
                loop {
                    let wanted = Wanted { start: &start, limit, ..wanted(&everything) };
                    let part = cache.part_at(&wanted, revision, seen).unwrap();
                    pages.extend(shown(&part));
                    prop_assert_eq!(part.beyond, (state.len() - pages.len()) as u64);
                    let Some(last) = part.items.last().filter(|_| part.beyond > 0) else { break };
                    start = format!("{}\0", last.key);
                }
                prop_assert_eq!(pages, state);
            }
        }
    }
}
