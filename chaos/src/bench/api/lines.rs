//! Events of a watch as they come in: one a line, in pieces of any size.

use std::io::BufRead as _;

use anyhow::{Context as _, ensure};

/// What stands before the time in an object's annotation.
const BEFORE: &[u8] = br#""a.bench/at":""#;
/// Digits of the time.
pub(super) const DIGITS: usize = 16;
const MODIFIED: &[u8] = br#"{"type":"MODIFIED""#;
/// More of a line is not kept: the time is near its beginning.
const LINE_KEPT_MAX: usize = 64 * 1024;

/// The lines of one watch.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Where the time was in the line before: it is there in most.
    place: usize,
}

impl Lines {
    /// Takes the next bytes, and tells the time of each event that they complete.
    pub(super) fn feed(
        &mut self,
        mut data: &[u8],
        mut told: impl FnMut(u64),
    ) -> anyhow::Result<()> {
        while !data.is_empty() {
            let mut rest = data;
            let length = rest.skip_until(b'\n')?;
            let part = &data[..length];
            data = rest;
            let is_whole = part.ends_with(b"\n");
            if is_whole && self.begun.is_empty() {
                told(self.time(part)?);
                continue;
            }
            let room = LINE_KEPT_MAX.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            if is_whole {
                let line = std::mem::take(&mut self.begun);
                told(self.time(&line)?);
            }
        }
        Ok(())
    }

    fn time(&mut self, line: &[u8]) -> anyhow::Result<u64> {
        ensure!(
            line.starts_with(MODIFIED),
            "an event is no change: {}",
            String::from_utf8_lossy(&line[..line.len().min(200)])
        );
        let here = line.get(self.place..).is_some_and(|rest| rest.starts_with(BEFORE));
        if !here {
            let found = line.windows(BEFORE.len()).position(|window| window == BEFORE);
            self.place = found.context("an event has no time")?;
        }
        let begin = self.place + BEFORE.len();
        let digits = line.get(begin..begin + DIGITS).context("an event is cut short")?;
        Ok(std::str::from_utf8(digits)?.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, before: &str) -> String {
        let object = format!("{{{before}\"a.bench/at\":\"{time:016}\",\"b\":1}}");
        format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n")
    }

    #[test]
    fn events_are_told_once_however_their_bytes_are_cut() {
        let text = event(7, "") + &event(8, "\"x\":\"longer\",") + &event(9, "");
        for size in [1, 2, 30, 64, 1000] {
            let (mut lines, mut times) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines.feed(piece, |time| times.push(time)).unwrap();
            }
            assert_eq!(times, [7, 8, 9], "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_change_is_an_error() {
        for text in ["{\"type\":\"ERROR\"}\n", "{\"type\":\"MODIFIED\"}\n"] {
            assert!(Lines::default().feed(text.as_bytes(), |_| {}).is_err(), "{text}");
        }
    }
}
