//! Large values, of which a history keeps only the name: it would not fit in memory otherwise.

const PREFIX: &str = "bulk:";

/// The name of a value of so many bytes.
pub fn bulk(bytes: usize, value: &str) -> String {
    format!("{PREFIX}{bytes}:{value}")
}

/// What is sent for a value: its name, and filler that follows from it.
pub(super) fn unfold(value: &str) -> String {
    let Some(bytes) = bytes_of(value) else { return value.to_owned() };
    let filler = value.chars().chain(['\n']).cycle();
    let mut whole = format!("{value}\n");
    whole.extend(filler.take(bytes.saturating_sub(whole.len())));
    whole
}

/// The name of a value that came back, if every byte of it is right.
pub(super) fn fold(value: String) -> String {
    match value.split_once('\n') {
        Some((name, _)) if bytes_of(name).is_some() && unfold(name) == value => name.to_owned(),
        Some(_) | None => value,
    }
}

fn bytes_of(value: &str) -> Option<usize> {
    let (bytes, _) = value.strip_prefix(PREFIX)?.split_once(':')?;
    bytes.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{bulk, fold, unfold};

    #[test]
    fn a_large_value_is_its_name_only_if_it_is_whole() {
        let name = bulk(1000, "c1-2");
        let whole = unfold(&name);
        assert_eq!(whole.len(), 1000);
        assert_eq!(fold(whole.clone()), name);
        let mut wrong = whole;
        wrong.replace_range(500..501, "?");
        assert_eq!(fold(wrong.clone()), wrong);
        assert_eq!(fold("c1-2".to_owned()), "c1-2");
        assert_eq!(unfold("c1-2"), "c1-2");
    }
}
