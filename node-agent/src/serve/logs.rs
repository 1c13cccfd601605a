//! Container log files in the CRI format: `TIME stdout|stderr F|P TEXT`, one entry a line.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use axum::body::Body;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

use crate::limits::{LOG_FOLLOW, LOG_LINE_BYTES_MAX, LOG_TAIL_BYTES_MAX};

/// What a reader of a log asks for, as the API names it.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    follow: Option<bool>,
    pub(super) previous: Option<bool>,
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

/// Which log of a container is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// That of the newest run.
    Newest,
    /// That of the run before it.
    Before,
}

/// Chooses a container's log by its state, or says why there is none in the API's words.
pub(super) fn choose(
    status: &PodStatus,
    (pod, container): (&str, &str),
    previous: bool,
) -> Result<Which, String> {
    let named = format!("container \"{container}\" in pod \"{pod}\"");
    let all = [&status.container_statuses, &status.init_container_statuses];
    let found = all.into_iter().flatten().flatten().find(|c| c.name == container);
    let known = found.ok_or_else(|| format!("{named} is not available"))?;
    let state = known.state.clone().unwrap_or_default();
    let ended_before = known.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    let is_waiting = state.running.is_none() && state.terminated.is_none();
    match (previous, is_waiting, ended_before) {
        (true, _, false) => Err(format!("previous terminated {named} not found")),
        (true, false, true) => Ok(Which::Before),
        // While a container waits, the run that ended last is the newest and the one before.
        (true | false, true, true) | (false, false, _) => Ok(Which::Newest),
        (false, true, false) => {
            let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
            let why = match reason.as_str() {
                "ErrImagePull" => "image can't be pulled",
                "ImagePullBackOff" => "trying and failing to pull image",
                other => other,
            };
            Err(format!("{named} is waiting to start: {why}"))
        }
    }
}

fn file(folder: &Path, which: Which) -> Result<PathBuf, String> {
    let mut runs =
        crate::logs::current(folder).map_err(|_| "it has no log yet".to_owned())?.into_iter();
    let run = match which {
        Which::Newest => runs.next(),
        Which::Before => runs.nth(1),
    };
    run.ok_or_else(|| "its log is gone".to_owned())
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

/// Whether a log may still grow.
pub(super) type IsRunning = Box<dyn Fn() -> bool + Send + Sync>;

/// Opens a container's log as the body of an answer. A follower stays while `is_running` says so.
pub(super) async fn open(
    folder: &Path,
    which: Which,
    options: Options,
    is_running: IsRunning,
) -> Result<Body, String> {
    let folder = folder.to_owned();
    let path = tokio::task::spawn_blocking(move || file(&folder, which))
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
    let follow = options.follow == Some(true) && which == Which::Newest;
    let is_running = if follow { is_running } else { Box::new(|| false) };
    tokio::spawn(copy(path, skip, filter, is_running, sender));
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

/// Whether the log was moved aside since it was opened, and another one is in its place.
async fn is_rotated(open: &tokio::fs::File, path: &Path) -> bool {
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (open.metadata().await, tokio::fs::metadata(path).await) {
        (Ok(open), Ok(there)) => identity(open) != identity(there),
        // Between the move and the new file there is nothing to go on with yet.
        _ => false,
    }
}

/// Sends the log until its end; stays while it may grow, and the reader stays too.
async fn copy(
    path: PathBuf,
    mut skip: usize,
    mut filter: Filter,
    is_running: IsRunning,
    sender: mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
) {
    let Ok(handle) = tokio::fs::File::open(&path).await else { return };
    let mut reader = BufReader::new(handle);
    let (mut line, mut is_last_look, mut is_moved) = (Vec::new(), !is_running(), false);
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
            Ok(_) if is_moved => {
                // All of the old file is read: on with the one in its place.
                let Ok(handle) = tokio::fs::File::open(&path).await else { return };
                reader = BufReader::new(handle);
                line.clear();
                is_moved = false;
            }
            Ok(_) => {
                // The last words in a file that was moved are there at the next look.
                is_moved = is_rotated(reader.get_ref(), &path).await;
                if is_moved {
                    continue;
                }
                // A half-written line stays in `line` until the rest comes.
                if is_last_look || sender.is_closed() {
                    return;
                }
                // What was written before the container ended is there at the next look.
                is_last_look = !is_running();
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
    let bytes = crate::logs::tail_bytes(path, LOG_TAIL_BYTES_MAX).unwrap_or_default();
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
            let which = if options.previous == Some(true) { Which::Before } else { Which::Newest };
            let body = open(folder.path(), which, options, Box::new(|| false)).await.unwrap();
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

    #[tokio::test]
    async fn a_follower_sees_what_comes_and_leaves_when_the_container_ends() {
        use std::io::Write;
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let mut file = std::fs::File::create(folder.path().join("0.log")).unwrap();
        file.write_all(b"t stdout F one\nt stdout F tw").unwrap();
        let running = Arc::new(AtomicBool::new(true));
        let seen = running.clone();
        let options = Options { follow: Some(true), ..Default::default() };
        let is_running: IsRunning = Box::new(move || seen.load(Ordering::SeqCst));
        let body = open(folder.path(), Which::Newest, options, is_running).await.unwrap();
        let mut stream = body.into_data_stream();
        let next = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
        assert_eq!(&*next, b"one\n");
        // The last words and the end come together: nothing of them may be lost.
        file.write_all(b"o\nt stderr F bye\n").unwrap();
        running.store(false, Ordering::SeqCst);
        let rest: Vec<u8> = futures::StreamExt::collect::<Vec<_>>(stream)
            .await
            .into_iter()
            .flat_map(|part| part.unwrap().to_vec())
            .collect();
        assert_eq!(rest, b"two\nbye\n");
    }

    #[tokio::test]
    async fn a_follower_goes_on_in_the_new_file_when_the_log_is_rotated() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        let mut file = std::fs::File::create(&log).unwrap();
        file.write_all(b"t stdout F one\n").unwrap();
        let options = Options { follow: Some(true), limit_bytes: Some(14), ..Default::default() };
        let body = open(folder.path(), Which::Newest, options, Box::new(|| true)).await.unwrap();
        let mut stream = body.into_data_stream();
        let next = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
        assert_eq!(&*next, b"one\n");
        // The runtime writes to the old file until it is told to open another one.
        std::fs::rename(&log, folder.path().join("0.log.20261121-090000")).unwrap();
        file.write_all(b"t stdout F two\n").unwrap();
        std::fs::write(&log, "t stdout F three\n").unwrap();
        let rest = futures::StreamExt::collect::<Vec<_>>(stream);
        let rest = tokio::time::timeout(std::time::Duration::from_secs(20), rest).await.unwrap();
        let rest: Vec<u8> = rest.into_iter().flat_map(|part| part.unwrap().to_vec()).collect();
        assert_eq!(rest, b"two\nthree\n");
    }

    #[test]
    fn the_log_is_chosen_by_the_state_of_the_container() {
        let status = |state: &str, last: bool| -> PodStatus {
            let last = if last { r#"{"terminated": {"exitCode": 1}}"# } else { "{}" };
            serde_json::from_str(&format!(
                r#"{{"containerStatuses": [{{"name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {state}, "lastState": {last}}}]}}"#
            ))
            .unwrap()
        };
        let running = r#"{"running": {}}"#;
        let waiting = r#"{"waiting": {"reason": "CrashLoopBackOff"}}"#;
        let creating = r#"{"waiting": {"reason": "ContainerCreating"}}"#;
        let ask = |status: PodStatus, previous| choose(&status, ("p", "c"), previous);
        assert_eq!(ask(status(running, true), false), Ok(Which::Newest));
        assert_eq!(ask(status(running, true), true), Ok(Which::Before));
        assert_eq!(ask(status(waiting, true), false), Ok(Which::Newest));
        assert_eq!(ask(status(waiting, true), true), Ok(Which::Newest));
        let error = ask(status(running, false), true).unwrap_err();
        assert_eq!(error, "previous terminated container \"c\" in pod \"p\" not found");
        let error = ask(status(creating, false), false).unwrap_err();
        assert_eq!(error, "container \"c\" in pod \"p\" is waiting to start: ContainerCreating");
        let error = choose(&PodStatus::default(), ("p", "../x"), false).unwrap_err();
        assert_eq!(error, "container \"../x\" in pod \"p\" is not available");
    }
}
