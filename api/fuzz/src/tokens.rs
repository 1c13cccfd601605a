//! Continue tokens, as clients send them.

use api_machinery::continue_token::{self, Token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use testbed::fuzz::Input;

const PREFIXES: [&str; 3] = ["/registry/pods/", "/registry/pods/default/", "/r/"];

/// Reads a token: as text, as what the text encodes, or as one that was changed.
pub fn tokens(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 3;
    let prefix = PREFIXES[usize::from(input.byte()) % PREFIXES.len()];
    match kind {
        0 => read(prefix, &String::from_utf8_lossy(input.rest())),
        1 => read(prefix, &URL_SAFE_NO_PAD.encode(input.rest())),
        _ => changed(prefix, &mut input),
    }
}

fn read(prefix: &str, text: &str) {
    let Ok(token) = continue_token::decode(prefix, text) else { return };
    // Y8: the key is below the prefix, and is the path that it looks like. A part that ends with a NUL,
    // as each start does, is no dot.
    let rest = token.start.strip_prefix(prefix).expect("Y8: it starts with the prefix");
    for part in rest.split('/') {
        assert!(part != ".." && part != ".", "Y8: {rest:?}");
    }
    assert!(!rest.contains("//"), "Y8: {rest:?}");
    assert_ne!(token.revision, Some(0), "Y8");
}

/// One that the server gave out comes back; with another byte in it, it is refused or stays inside.
fn changed(prefix: &str, input: &mut Input<'_>) {
    let revision = u64::from(input.byte()) + 1;
    let at = usize::from(input.byte());
    let other = input.byte();
    let name: String = String::from_utf8_lossy(input.wide_piece())
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.'))
        .collect();
    if name.is_empty() || name == "." || name == ".." {
        return;
    }
    let key = format!("{prefix}{name}");
    for revision in [Some(revision), None] {
        let text = continue_token::encode(prefix, &key, revision);
        let token = continue_token::decode(prefix, &text).expect("Y2: it was given out");
        assert_eq!(token, Token { revision, start: format!("{key}\0") }, "Y2");
        let mut bytes = text.into_bytes();
        let at = at % bytes.len();
        bytes[at] = other;
        read(prefix, &String::from_utf8_lossy(&bytes));
    }
}
