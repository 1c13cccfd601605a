//! Several texts in one piece of memory: a cache holds a dozen of them for each object, and an
//! allocation for each would cost more than what they say.

use std::borrow::Cow;

/// Texts by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    all: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
}

impl Texts {
    /// Puts texts together. Those beyond 4 GiB are empty; no object is so large.
    pub(super) fn of(texts: &[Cow<'_, str>]) -> Self {
        let mut all = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        let ends = texts.iter().map(|text| {
            let end = u32::try_from(all.len() + text.len());
            if end.is_ok() {
                all.push_str(text);
            }
            end.or(u32::try_from(all.len())).unwrap_or(u32::MAX)
        });
        let ends = ends.collect();
        Self { all: all.into_boxed_str(), ends }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them; empty when there are not so many.
    pub(super) fn get(&self, number: usize) -> &str {
        let place = |end: &u32| usize::try_from(*end).ok();
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).and_then(place);
        let end = self.ends.get(number).and_then(place);
        end.and_then(|end| self.all.get(start.unwrap_or(0)..end)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_what_it_was() {
        let texts = ["", "a", "", "Grüße", "b"];
        let packed = Texts::of(&texts.map(Cow::Borrowed));
        assert_eq!(packed.len(), texts.len());
        for (number, text) in texts.into_iter().enumerate() {
            assert_eq!(packed.get(number), text);
        }
        assert_eq!((packed.get(5), Texts::default().get(0)), ("", ""));
    }
}
