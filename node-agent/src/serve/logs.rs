//! Container log files in the CRI format: `TIME stdout|stderr F|P TEXT`, one entry a line.

use std::path::{Path, PathBuf};

use axum::body::Body;
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

use crate::limits::{LOG_FOLLOW, LOG_LINE_BYTES_MAX};

/// What a reader of a log asks for, as the API names it.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    follow: Option<bool>,
    previous: Option<bool>,
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    timestamps: Option<bool>,
    limit_bytes: Option<usize>,
}

/// One entry of a log file.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    time: &'a str,
    is_partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut parts = line.strip_suffix(b"\n").unwrap_or(line).splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = parts.next()?;
    let tag = parts.next()?;
    (stream == b"stdout" || stream == b"stderr").then_some(())?;
    let is_partial = tag.split(|b| *b == b':').next() == Some(b"P");
    Some(Entry { time, is_partial, text: parts.next().unwrap_or_default() })
}

/// The log's file of the newest run, or of the one before.
fn file(folder: &Path, previous: bool) -> Result<PathBuf, String> {
    let mut runs: Vec<u64> = std::fs::read_dir(folder)
        .map_err(|_| "has no log yet".to_owned())?
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    let run = runs.get(usize::from(previous));
    let missing =
        if previous { "previous terminated container not found" } else { "has no log yet" };
    run.map(|n| folder.join(format!("{n}.log"))).ok_or_else(|| missing.to_owned())
}

/// Turns log lines into what the reader asked for.
struct Filter {
    since: Option<Timestamp>,
    timestamps: bool,
    left: usize,
    in_line: bool,
}

impl Filter {
    fn take(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let entry = parse(line)?;
        if self.since.is_some_and(|since| entry.time.parse::<Timestamp>().is_ok_and(|t| t < since))
        {
            return None;
        }
        let mut out = Vec::with_capacity(line.len());
        if self.timestamps && !self.in_line {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        self.in_line = entry.is_partial;
        if !entry.is_partial {
            out.push(b'\n');
        }
        out.truncate(self.left);
        self.left -= out.len();
        Some(out)
    }
}

/// Opens a container's log as the body of an answer.
pub(crate) async fn open(folder: &Path, options: Options) -> Result<Body, String> {
    let (folder, previous) = (folder.to_owned(), options.previous == Some(true));
    let path = tokio::task::spawn_blocking(move || file(&folder, previous))
        .await
        .map_err(|e| e.to_string())??;
    let since = match (&options.since_time, options.since_seconds) {
        (Some(text), _) => Some(text.parse().map_err(|e| format!("sinceTime: {e}"))?),
        (None, Some(seconds)) => Some(Timestamp::now() - SignedDuration::from_secs(seconds)),
        (None, None) => None,
    };
    let filter = Filter {
        since,
        timestamps: options.timestamps == Some(true),
        left: options.limit_bytes.unwrap_or(usize::MAX),
        in_line: false,
    };
    let skip = match options.tail_lines {
        None => 0,
        Some(tail) => count_lines(&path).await.map_err(|e| e.to_string())?.saturating_sub(tail),
    };
    let (sender, receiver) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(64);
    tokio::spawn(copy(path, skip, filter, options.follow == Some(true) && !previous, sender));
    Ok(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)))
}

async fn count_lines(path: &Path) -> std::io::Result<usize> {
    let mut reader = BufReader::new(tokio::fs::File::open(path).await?);
    let (mut count, mut line) = (0, Vec::new());
    while reader.read_until(b'\n', &mut line).await? > 0 {
        count += usize::from(parse(&line).is_some_and(|entry| !entry.is_partial));
        line.clear();
    }
    Ok(count)
}

/// Sends the log until its end; a follower stays until the reader leaves or a newer run begins.
async fn copy(
    path: PathBuf,
    mut skip: usize,
    mut filter: Filter,
    follow: bool,
    sender: mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
) {
    let Ok(handle) = tokio::fs::File::open(&path).await else { return };
    let mut reader = BufReader::new(handle);
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 && line.ends_with(b"\n") && line.len() <= LOG_LINE_BYTES_MAX => {
                if skip > 0 {
                    skip -= usize::from(parse(&line).is_some_and(|entry| !entry.is_partial));
                } else if let Some(out) = filter.take(&line)
                    && sender.send(Ok(out)).await.is_err()
                {
                    return;
                }
                line.clear();
                if filter.left == 0 {
                    return;
                }
            }
            Ok(_) if line.len() > LOG_LINE_BYTES_MAX => line.clear(),
            Ok(_) => {
                // A half-written line stays in `line` until the rest comes.
                let newer = path
                    .parent()
                    .and_then(|folder| file(folder, false).ok())
                    .is_none_or(|newest| newest != path);
                if !follow || newer || sender.is_closed() {
                    return;
                }
                tokio::time::sleep(LOG_FOLLOW).await;
            }
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }
}

/// The last lines of a log, within both limits. Blocking.
pub(crate) fn tail_text(path: &Path, lines_max: usize, bytes_max: usize) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut filter = Filter { since: None, timestamps: false, left: usize::MAX, in_line: false };
    let lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|b| *b == b'\n').filter_map(|l| filter.take(l)).collect();
    let text = lines[lines.len().saturating_sub(lines_max)..].concat();
    text[text.len().saturating_sub(bytes_max)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_cri_format_are_read_and_others_are_not() {
        let entry = parse(b"2026-11-21T02:28:41.5Z stdout F a b\n").unwrap();
        assert_eq!(
            entry,
            Entry { time: "2026-11-21T02:28:41.5Z", is_partial: false, text: b"a b" }
        );
        assert!(parse(b"t stderr P x\n").unwrap().is_partial);
        assert_eq!(parse(b"t stdout F \n").unwrap().text, b"");
        assert!(parse(b"plain text\n").is_none());
    }

    #[tokio::test]
    async fn tail_previous_and_limits_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("0.log"), "t stdout F old\n").unwrap();
        std::fs::write(
            folder.path().join("1.log"),
            "t stdout P a\nt stdout F b\nt stderr F c\nt stdout F d\n",
        )
        .unwrap();
        let read = |options: Options| async {
            let body = open(folder.path(), options).await.unwrap();
            String::from_utf8(axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap()
        };
        assert_eq!(read(Options::default()).await, "ab\nc\nd\n");
        assert_eq!(read(Options { tail_lines: Some(2), ..Default::default() }).await, "c\nd\n");
        assert_eq!(read(Options { previous: Some(true), ..Default::default() }).await, "old\n");
        assert_eq!(read(Options { limit_bytes: Some(4), ..Default::default() }).await, "ab\nc");
        assert_eq!(
            read(Options { timestamps: Some(true), ..Default::default() }).await,
            "t ab\nt c\nt d\n"
        );
    }
}
