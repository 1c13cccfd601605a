//! Text from data, on its way into the page (P1).

use std::fmt::{self, Display, Formatter, Write as _};

/// Writes a text so that it is nothing but text, between tags and in quoted attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                // HTML has no way to write them.
                control if control.is_control() && !control.is_whitespace() => {
                    out.write_char('\u{fffd}')?;
                }
                other => out.write_char(other)?,
            }
        }
        Ok(())
    }
}
