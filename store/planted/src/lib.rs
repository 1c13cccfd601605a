//! Bugs planted on purpose in the store, to see that the tests find them: `is` in a condition at the
//! place where the bug would be.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | Without the feature `planted` no bug can be chosen, and the compiler drops their branches. |
//! | N2 | With it there are debug assertions: no release build has it. |
//! | N3 | With it and without a choice a member is as without it. |

mod bugs;

pub use bugs::Bug;

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` is for tests: a release build must not have it");

/// The environment variable that names the bug.
pub const VARIABLE: &str = "ORLOP_PLANT";

#[cfg(feature = "planted")]
static CHOSEN: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();

/// Whether this bug is planted in this process.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Whether this bug is planted in this process.
#[cfg(feature = "planted")]
#[must_use]
#[inline]
pub fn is(bug: Bug) -> bool {
    CHOSEN.get() == Some(&bug)
}

/// Plants the bug of this name for the rest of the process; none when the name is empty.
///
/// # Errors
/// Why it cannot be: nobody may think that a test was run with a bug that was not there.
#[cfg(feature = "planted")]
pub fn plant(name: &str) -> Result<Option<Bug>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let bug = Bug::named(name).ok_or_else(|| {
        let names: Vec<&str> = Bug::all().map(Bug::name).collect();
        format!("no bug is named {name:?}; there are {}", names.join(", "))
    })?;
    let planted = *CHOSEN.get_or_init(|| bug);
    if planted == bug { Ok(Some(bug)) } else { Err(format!("{} is planted", planted.name())) }
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::*;

    /// One test: a process has one choice.
    #[test]
    fn one_bug_is_planted_and_no_other() {
        assert!(!is(Bug::AckBeforeSync));
        assert_eq!(plant(""), Ok(None));
        assert!(plant("no-such-bug").is_err());
        assert!(!Bug::all().any(is));
        assert_eq!(plant("ack-before-sync"), Ok(Some(Bug::AckBeforeSync)));
        assert!(is(Bug::AckBeforeSync) && !is(Bug::ForwardTwice));
        assert!(plant("forward-twice").is_err());
    }
}
