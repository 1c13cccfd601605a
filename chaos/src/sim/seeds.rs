//! Which seeds to run.

use std::str::FromStr;

/// Seeds from the first to the last, which is one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl FromStr for Seeds {
    type Err = String;

    /// "7-12", or how many from 1 on.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u64>().map_err(|_| format!("{part:?} is no number"));
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (1, number(text)?),
        };
        if first <= last { Ok(Self { first, last }) } else { Err("there are no seeds".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_a_number_of_them() {
        assert_eq!("7-12".parse(), Ok(Seeds { first: 7, last: 12 }));
        assert_eq!("7-7".parse(), Ok(Seeds { first: 7, last: 7 }));
        assert_eq!("200".parse(), Ok(Seeds { first: 1, last: 200 }));
        assert!("12-7".parse::<Seeds>().is_err());
        assert!("0".parse::<Seeds>().is_err());
        assert!("many".parse::<Seeds>().is_err());
    }
}
