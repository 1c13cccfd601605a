//! A list inside a value: its elements, and which of them the last transaction added.
//!
//! Stores have no append. A transaction reads a list, and writes it with more elements at its end if
//! nobody changed it meanwhile. The value keeps both parts ("a b|c"), so that a history says what was
//! appended and to what, though all that it holds is a put.

/// The value of a list with elements added to what was found.
pub fn encode(found: &[String], added: &[String]) -> String {
    format!("{}|{}", found.join(" "), added.join(" "))
}

/// What was found, and what was added to it.
pub fn decode(value: &str) -> (Vec<&str>, Vec<&str>) {
    let (found, added) = value.split_once('|').unwrap_or((value, ""));
    (found.split_whitespace().collect(), added.split_whitespace().collect())
}

/// All elements.
pub fn elements(value: &str) -> Vec<&str> {
    let (mut found, added) = decode(value);
    found.extend(added);
    found
}
