//! A store's log, as etcd's flags ask for it: JSON with etcd's names or text for people, to the
//! standard streams or to files that are moved aside when they are large.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use parking_lot::Mutex;
use store_server::{LogFormat, LogOutput, LogRotation, Logs};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime as Clock};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Log lines go where the flags say; `RUST_LOG` wins over `--log-level`.
pub(crate) fn set_up(logs: &Logs, filter: EnvFilter) -> anyhow::Result<()> {
    let outputs = Outputs::open(logs)?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let base = base.with_writer(outputs);
    match logs.format {
        LogFormat::Json => base.event_format(Json).try_init(),
        LogFormat::Console => base.try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot set up logs: {error}"))
}

/// Everywhere that lines go.
#[derive(Clone)]
struct Outputs(Arc<[Output]>);

enum Output {
    Stderr,
    Stdout,
    File(LogFile),
}

impl Outputs {
    fn open(logs: &Logs) -> anyhow::Result<Self> {
        let open = |output: &LogOutput| {
            Ok(match output {
                LogOutput::Stderr => Output::Stderr,
                LogOutput::Stdout => Output::Stdout,
                LogOutput::File(path) => {
                    let file = LogFile::open(path, logs.rotation);
                    Output::File(
                        file.with_context(|| format!("--log-outputs: {}", path.display()))?,
                    )
                }
            })
        };
        let outputs = logs.outputs.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self(outputs.into()))
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in &*self.0 {
            match output {
                Output::Stderr => io::stderr().write_all(line)?,
                Output::Stdout => io::stdout().write_all(line)?,
                Output::File(file) => file.write(line)?,
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that lines are added to.
struct LogFile {
    path: PathBuf,
    rotation: Option<LogRotation>,
    /// The file and its size.
    open: Mutex<(File, u64)>,
}

impl LogFile {
    fn open(path: &Path, rotation: Option<LogRotation>) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), rotation, open: Mutex::new(append(path)?) })
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        let length = line.len() as u64;
        if let Some(rotation) = self.rotation
            && open.1 > 0
            && open.1 + length > rotation.bytes_max
        {
            fs::rename(&self.path, self.aside())?;
            *open = append(&self.path)?;
            self.prune(rotation)?;
        }
        open.0.write_all(line)?;
        open.1 += length;
        Ok(())
    }

    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let ending = text(self.path.extension());
        let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
        (format!("{}-", text(self.path.file_stem())), ending)
    }

    /// The name of the file when it is put aside: with the time, as etcd's.
    fn aside(&self) -> PathBuf {
        let (stem, ending) = self.parts();
        let time = now().replace(':', "-");
        self.path.with_file_name(format!("{stem}{}{ending}", time.trim_end_matches('Z')))
    }

    /// Removes what is too old or too many.
    fn prune(&self, rotation: LogRotation) -> io::Result<()> {
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let (stem, ending) = self.parts();
        let mut aside = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(&ending));
            if time.is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit())) {
                aside.push((name, entry.path(), entry.metadata()?.modified()?));
            }
        }
        // The names have the time in them: the newest last.
        aside.sort();
        let kept = if rotation.files_max == 0 { aside.len() } else { rotation.files_max };
        let surplus = aside.len().saturating_sub(kept);
        let age = u32::try_from(rotation.days_max).unwrap_or(u32::MAX);
        let oldest = SystemTime::now().checked_sub(DAY.saturating_mul(age));
        for (number, (_, path, modified)) in aside.into_iter().enumerate() {
            let old = rotation.days_max > 0 && oldest.is_some_and(|oldest| modified < oldest);
            if number < surplus || old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The time as etcd's log has it.
fn now() -> String {
    let mut text = String::new();
    Clock.format_time(&mut Writer::new(&mut text)).expect("a string takes everything");
    text
}

/// One JSON object a line, with the names that etcd's log has.
struct Json;

/// Collects an event's fields as JSON.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl serde::Serialize) {
        let text = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
        let (name, value) =
            (text(serde_json::to_string(field.name())), text(serde_json::to_string(&value)));
        self.rest.push_str(&format!(",{name}:{value}"));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.add(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

/// Where the line was written, as `folder/file.rs:line`.
fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let file = file.unwrap_or("?");
    let parts: Vec<&str> = file.rsplit('/').filter(|part| *part != "src").take(2).collect();
    let short: Vec<&str> = parts.into_iter().rev().collect();
    format!("{}:{}", short.join("/"), line.unwrap_or(0))
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let data = event.metadata();
        let level = match *data.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = serde_json::to_string(&fields.message).map_err(|_| fmt::Error)?;
        let caller = caller(data.file(), data.line());
        writeln!(
            writer,
            "{{\"level\":\"{level}\",\"ts\":\"{}\",\"caller\":\"{caller}\",\"msg\":{message}{}}}",
            now(),
            fields.rest
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_moved_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.log");
        let rotation = LogRotation { bytes_max: 100, days_max: 0, files_max: 2 };
        let log = LogFile::open(&path, Some(rotation)).unwrap();
        for number in 0..10 {
            log.write(format!("{number} {}\n", "x".repeat(60)).as_bytes()).unwrap();
        }
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(fs::read_to_string(&path).unwrap().starts_with("9 "));
        let newest = folder.path().join(&files[1]);
        assert!(fs::read_to_string(newest).unwrap().starts_with("8 "), "{files:?}");
    }

    #[test]
    fn a_line_has_etcds_names() {
        let lines = tempfile::NamedTempFile::new().unwrap();
        let logs = Logs {
            level: "info",
            format: LogFormat::Json,
            outputs: vec![LogOutput::File(lines.path().to_owned())],
            rotation: None,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Outputs::open(&logs).unwrap())
            .event_format(Json)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(count = 3, name = "a\"b", ok = true, "ready to serve {}", "requests");
        });
        let line = fs::read_to_string(lines.path()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["msg"], "ready to serve requests");
        assert_eq!(
            (&line["count"], &line["name"], &line["ok"]),
            (&3.into(), &"a\"b".into(), &true.into())
        );
        assert!(line["caller"].as_str().unwrap().starts_with("cli/logs.rs:"), "{line}");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
