//! `/ephemeral/time`: the time of a server for tests, which its caller may move forward.
//!
//! Only a server whose threads have a clock of their own has this path.

use api_machinery::{Status, time as written};
use http::Response;
use serde_json::json;

use crate::body::Body;
use crate::encoding;
use crate::pipeline::parse_duration;
use crate::request::{Query, RequestInfo};

const PATH: &str = "/ephemeral/time";

/// Answers a request about the time; none for any other, or where time cannot be moved.
pub(crate) fn time(info: &RequestInfo, query: &Query) -> Option<Result<Response<Body>, Status>> {
    let clock = clock::current().filter(|_| info.path.trim_end_matches('/') == PATH)?;
    Some(match info.verb {
        "get" => Ok(show(&clock)),
        "post" => advance(&clock, query).map(|()| show(&clock)),
        _ => Err(Status::no_such_path()),
    })
}

fn show(clock: &clock::Clock) -> Response<Body> {
    let ahead = clock.ahead();
    let shown = json!({"now": written::seconds(clock.now()), "aheadSeconds": ahead.as_secs()});
    encoding::plain(200, "application/json", shown.to_string())
}

fn advance(clock: &clock::Clock, query: &Query) -> Result<(), Status> {
    let text = query.non_empty("advance").unwrap_or_default();
    let by = parse_duration(text).ok_or_else(|| {
        Status::bad_request(format!(
            "advance={text:?} is not a duration: write it like 90s or 1h30m"
        ))
    })?;
    let moved = clock.advance(by).map_err(|error| Status::bad_request(error.to_string()))?;
    tracing::info!(now = %moved, "the time was moved");
    Ok(())
}
