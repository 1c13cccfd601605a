//! Warnings of an answer: a `Warning: 299 - "…"` header each, within upstream's bounds.

use std::collections::HashSet;

use http::HeaderValue;

/// Letters of all warnings; beyond that each is cut to [`ITEM_LETTERS_MAX`] (upstream's
/// `truncateAtTotalRunes` and `truncateItemRunes`).
const TOTAL_LETTERS_MAX: usize = 4 * 1024;
const ITEM_LETTERS_MAX: usize = 256;

/// The headers. What was said already is not repeated, and what is no text of a header is left out.
pub(super) fn headers(warnings: &[String]) -> Vec<HeaderValue> {
    let mut said = HashSet::new();
    let warnings: Vec<&String> =
        warnings.iter().filter(|one| !one.is_empty() && said.insert(one.as_str())).collect();
    let total: usize = warnings.iter().map(|warning| warning.chars().count()).sum();
    let is_cut = total > TOTAL_LETTERS_MAX;
    let mut written = 0;
    let mut headers = Vec::new();
    for warning in warnings {
        if is_cut && written >= TOTAL_LETTERS_MAX {
            break;
        }
        let most = if is_cut { ITEM_LETTERS_MAX } else { usize::MAX };
        let text: String = warning.chars().take(most).collect();
        if text.chars().any(char::is_control) {
            continue;
        }
        written += text.chars().count();
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        headers.extend(HeaderValue::try_from(format!("299 - \"{escaped}\"").into_bytes()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(warnings: &[&str]) -> Vec<String> {
        let warnings: Vec<String> = warnings.iter().map(|one| (*one).to_owned()).collect();
        let text = |header: HeaderValue| String::from_utf8(header.as_bytes().to_vec()).unwrap();
        headers(&warnings).into_iter().map(text).collect()
    }

    #[test]
    fn each_is_said_once_in_its_own_letters() {
        let said = told(&["a \"b\\", "", "grün", "a \"b\\", "line\nbreak"]);
        assert_eq!(said, [r#"299 - "a \"b\\""#, "299 - \"grün\""]);
    }

    #[test]
    fn many_are_cut_and_then_left_out() {
        let whole: Vec<String> = (0..8).map(|at| format!("{at}{}", "ü".repeat(511))).collect();
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        assert!(told(&whole).iter().all(|one| one.chars().count() == 512 + 8));
        let more = [whole.clone(), whole.iter().map(|one| &one[1..]).collect()].concat();
        // Eight and one: the others are the same but for their first letter.
        assert!(told(&more).iter().all(|one| one.chars().count() == 256 + 8));
        assert_eq!(told(&more).len(), 9);
        let many: Vec<String> = (100..200).map(|at| format!("{at}{}", "x".repeat(253))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(told(&many).len(), 16);
    }
}
