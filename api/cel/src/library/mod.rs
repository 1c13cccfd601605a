//! Functions: what overloads there are, and what carries them out.

pub(crate) mod format;
mod lists;
mod net;
mod optional;
pub(crate) mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
pub(crate) mod standard;
mod strings;
pub(crate) mod time;
pub(crate) mod urls;

use crate::value::{Outcome, Value};

type Library = (&'static str, for<'v> fn(&str, &[Value<'v>]) -> Outcome<'v>);

/// The tables of overloads, and what carries each table out.
pub(crate) const LIBRARIES: &[Library] = &[
    (standard::OPERATORS, standard::operator),
    (standard::CONVERSIONS, standard::convert),
    (time::TABLE, time::call),
    (strings::TABLE, strings::call),
    (lists::TABLE, lists::call),
    (regex::TABLE, regex::call),
    (urls::TABLE, urls::call),
    (quantity::TABLE, quantity::call),
    (net::TABLE, net::call),
    (format::TABLE, format::call),
    (semver::TABLE, semver::call),
    (optional::TABLE, optional::call),
];
