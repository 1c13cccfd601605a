//! /debug/vars: a few facts of the process, under the names that etcd's has.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use nix::sys::resource::{Resource, getrlimit};
use openraft::async_runtime::WatchReceiver as _;
use serde_json::json;

use crate::rpc::Services;

pub(super) async fn vars(State(services): State<Services>) -> Response {
    let raft = services.raft.metrics().borrow_watched().clone();
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now);
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Json(json!({
        "cmdline": arguments,
        "file_descriptor_limit": files,
        "raft.status": {
            "id": format!("{:x}", raft.id),
            "term": raft.current_term,
            "lead": format!("{:x}", raft.current_leader.unwrap_or(0)),
            "raftState": format!("State{:?}", raft.state),
            "commit": raft.local_committed.map_or(0, |id| id.index),
            "applied": raft.last_applied.map_or(0, |id| id.index),
        },
    }))
    .into_response()
}
