//! What an operator writes: command lines, files of settings, lists of members, durations, keys.
//!
//! The first byte chooses.

use store_server::{Config, Logs, decoders::clients, decoders::flags as decoders};
use testbed::fuzz::Input;

/// Reads it.
pub fn flags(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 6;
    if kind == 4 {
        let method = ["RS256", "PS512", "ES256", "ES384", "EdDSA", "HS256"];
        let method = method[usize::from(input.byte()) % method.len()];
        let _found = clients::token_keys(method, input.rest());
        return;
    }
    let Ok(text) = str::from_utf8(input.rest()) else { return };
    match kind {
        0 => {
            let arguments: Vec<&str> = text.split('\n').collect();
            look(decoders::command_line(&arguments));
        }
        1 => look(decoders::file(text)),
        2 => members(text),
        3 => urls(text),
        _ => drop(decoders::duration(text)),
    }
}

/// What a member relies on.
fn look(found: Result<(Config, Logs), String>) {
    let Ok((config, logs)) = found else { return };
    assert!(!config.name.is_empty() && !config.initial_cluster.is_empty());
    assert!(!config.listen_client.is_empty() && !config.listen_peer.is_empty());
    assert!(!config.heartbeat.is_zero() && config.election > config.heartbeat);
    assert!(config.snapshot_count > 0);
    assert!(!logs.outputs.is_empty());
    if let Some(rotation) = logs.rotation {
        assert!(rotation.bytes_max > 0, "a log file is not moved aside at every line");
    }
    let _minimum = config.lease_ttl_min();
    let _timeout = config.request_timeout();
    for (name, urls) in &config.initial_cluster {
        assert!(!urls.is_empty(), "{name:?} can be reached");
    }
}

/// Z2: a list of members says the same when it is written again.
fn members(text: &str) {
    let Ok(members) = decoders::initial_cluster(text) else { return };
    let pairs =
        members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    let again = decoders::initial_cluster(&pairs.collect::<Vec<_>>().join(","));
    assert_eq!(again.as_ref(), Ok(&members), "Z2");
}

fn urls(text: &str) {
    let Ok(urls) = decoders::urls(text) else { return };
    let again = decoders::urls(&urls.join(","));
    assert_eq!(again.as_ref(), Ok(&urls), "Z2");
}
