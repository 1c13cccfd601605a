//! Writes down what an unmodified client asks and is told, between it and its connections.
//!
//! A client of kube hides bookmarks, pages and where it resumes. They are promises all the same, so
//! a layer below it reads along: it changes nothing, and delays nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;
use tower::{Layer, Service};

use super::object::Kind;
use super::record::{Ask, Change, Exchange, Object, Told, What};
use crate::history::Recorder;
use crate::limits;

/// The annotation of the bookmark that ends the objects of a watch that began with them.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// Where one informer's exchanges are written down.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    kind: Kind,
    clock: Recorder,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Tap {
    /// A tap of an informer of one kind.
    pub(super) fn new(kind: Kind, clock: &Recorder) -> Self {
        Self { kind, clock: clock.clone(), exchanges: Arc::default() }
    }

    /// What was written down so far.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().clone()
    }

    fn begin(&self, uri: &http::Uri) -> Reading {
        let ask = ask_of(uri.query().unwrap_or_default());
        let is_stream = matches!(ask, Ask::Watch { .. } | Ask::WatchList);
        let mut exchanges = self.exchanges.lock();
        let index = exchanges.len();
        let asked_ns = self.clock.now_ns();
        let ended_ns = u64::MAX;
        exchanges.push(Exchange { asked_ns, ask, told: Vec::new(), ended: None, ended_ns });
        drop(exchanges);
        Reading { tap: self.clone(), index, is_stream, code: 200, buffer: Vec::new(), ended: false }
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { tap: self.clone(), inner }
    }
}

/// Connections with a tap.
#[derive(Debug)]
pub(super) struct Tapped<S> {
    tap: Tap,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Display,
    S::Future: Send + 'static,
{
    type Response = Response<Tee<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut reading = self.tap.begin(request.uri());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => {
                    reading.code = answer.status().as_u16();
                    Ok(answer.map(|inner| Tee { inner, reading }))
                }
                Err(error) => {
                    reading.end(&format!("no answer: {error}"));
                    Err(error)
                }
            }
        })
    }
}

/// A body that is read along.
#[derive(Debug)]
pub(super) struct Tee<B> {
    inner: B,
    reading: Reading,
}

impl<B> HttpBody for Tee<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.reading.take(data);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let why = format!("broken: {error}");
                self.reading.end(&why);
            }
            Poll::Ready(None) => self.reading.end("ended by the server"),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What was read of one answer.
#[derive(Debug)]
struct Reading {
    tap: Tap,
    index: usize,
    is_stream: bool,
    code: u16,
    buffer: Vec<u8>,
    ended: bool,
}

impl Reading {
    fn take(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        if !self.is_stream || self.code != 200 {
            return;
        }
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            self.tell(event_of(self.tap.kind, &line));
        }
    }

    fn end(&mut self, why: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let rest = std::mem::take(&mut self.buffer);
        // Half a line is none: the client leaves it aside too.
        if self.code != 200 {
            self.tell(Some(failure(self.code, &String::from_utf8_lossy(&rest))));
        } else if !self.is_stream {
            self.tell(page_of(self.tap.kind, &rest));
        }
        let exchange = &mut self.tap.exchanges.lock()[self.index];
        exchange.ended = Some(why.to_owned());
        exchange.ended_ns = self.tap.clock.now_ns();
    }

    fn tell(&self, what: Option<What>) {
        let Some(what) = what else { return };
        let time_ns = self.tap.clock.now_ns();
        let told = &mut self.tap.exchanges.lock()[self.index].told;
        // An answer without an end would fill the memory; a run is far shorter.
        if told.len() < limits::INFORMER_TOLD_MAX {
            told.push(Told { time_ns, what });
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Whoever reads a body to its length does not ask for its end.
        self.end("left by the client");
    }
}

fn ask_of(query: &str) -> Ask {
    let given = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name && !value.is_empty()).then_some(value)
        })
    };
    if given("watch") == Some("true") {
        if given("sendInitialEvents") == Some("true") {
            return Ask::WatchList;
        }
        let after = given("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        return Ask::Watch { after };
    }
    if given("continue").is_some() {
        return Ask::Continue;
    }
    Ask::List { is_consistent: given("resourceVersion").is_none() }
}

/// What a line of a watch says.
fn event_of(kind: Kind, line: &[u8]) -> Option<What> {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Some(failure(0, &String::from_utf8_lossy(line)));
    };
    let object = &value["object"];
    let change = match value["type"].as_str().unwrap_or_default() {
        "ADDED" => Change::Added,
        "MODIFIED" => Change::Modified,
        "DELETED" => Change::Deleted,
        "BOOKMARK" => {
            return Some(What::Bookmark {
                revision: number(&object["metadata"]["resourceVersion"]),
                ends_list: object["metadata"]["annotations"][LIST_ENDS] == "true",
            });
        }
        _ => {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let text = object["message"].as_str().unwrap_or_default();
            return Some(failure(code.unwrap_or(0), text));
        }
    };
    Some(match Object::of_api(kind, object) {
        Ok(object) => What::Event { change, object },
        Err(error) => failure(0, &format!("{error:#}: {object}")),
    })
}

/// What a list says; `None` when it broke off.
fn page_of(kind: Kind, body: &[u8]) -> Option<What> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let metadata = &value["metadata"];
    let items = value["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    match items.iter().map(|item| Object::of_api(kind, item)).collect() {
        Ok(items) => Some(What::Page {
            revision: number(&metadata["resourceVersion"]),
            has_more: metadata["continue"].as_str().is_some_and(|token| !token.is_empty()),
            items,
        }),
        Err(error) => Some(failure(0, &format!("{error:#}"))),
    }
}

fn number(text: &Value) -> i64 {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn failure(code: u16, text: &str) -> What {
    What::Failed { code, text: text.chars().take(limits::REPORT_LETTERS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(ask_of("limit=5"), Ask::List { is_consistent: true });
        let any = ask_of("limit=5&resourceVersion=0&resourceVersionMatch=NotOlderThan");
        assert_eq!(any, Ask::List { is_consistent: false });
        assert_eq!(ask_of("limit=5&continue=abc"), Ask::Continue);
        assert_eq!(ask_of("watch=true&resourceVersion=17"), Ask::Watch { after: 17 });
        let streaming = ask_of("watch=true&sendInitialEvents=true&resourceVersion=0");
        assert_eq!(streaming, Ask::WatchList);
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let tap = Tap::new(Kind::ConfigMap, &Recorder::default());
        let mut reading = tap.begin(&"/x?watch=true&resourceVersion=1".parse().unwrap());
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}"#;
        let error = r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#;
        let lines = format!("{bookmark}\n{error}\n{{\"half");
        for byte in lines.as_bytes() {
            reading.take(&[*byte]);
        }
        drop(reading);
        let exchanges = tap.exchanges();
        let what: Vec<_> = exchanges[0].told.iter().map(|told| told.what.clone()).collect();
        let bookmark = What::Bookmark { revision: 5, ends_list: false };
        assert_eq!(what, [bookmark, failure(410, "too old")]);
        assert_eq!(exchanges[0].ended.as_deref(), Some("left by the client"));
    }

    #[test]
    fn a_list_that_breaks_off_says_nothing() {
        let tap = Tap::new(Kind::ConfigMap, &Recorder::default());
        let mut reading = tap.begin(&"/x?limit=5".parse().unwrap());
        reading.take(br#"{"metadata":{"resourceVersion":"5"},"items":[]"#);
        reading.end("broken");
        let mut reading = tap.begin(&"/x?limit=5".parse().unwrap());
        reading.take(br#"{"metadata":{"resourceVersion":"5","continue":"x"},"items":[]}"#);
        drop(reading);
        let exchanges = tap.exchanges();
        assert_eq!(exchanges[0].told, []);
        let page = What::Page { revision: 5, has_more: true, items: Vec::new() };
        assert_eq!(exchanges[1].told[0].what, page);
    }
}
