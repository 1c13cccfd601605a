//! What a table says of its columns.

use serde_json::{Value, json};

/// One column: name, type, format, whether `-o wide` is needed to see it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` where cells identify objects, else empty.
    pub format: &'static str,
    pub wide: bool,
}

impl Column {
    /// The column as a table defines it.
    #[must_use]
    pub fn definition(&self, description: &str) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": description,
            "priority": i32::from(self.wide),
        })
    }
}

const fn column(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, format: "", wide: false }
}

pub(super) const fn text(name: &'static str) -> Column {
    column(name, "string")
}

pub(super) const fn number(name: &'static str) -> Column {
    column(name, "integer")
}

pub(super) const fn boolean(name: &'static str) -> Column {
    column(name, "boolean")
}

pub(super) const fn date(name: &'static str) -> Column {
    column(name, "date")
}

pub(super) const fn wide(name: &'static str) -> Column {
    Column { wide: true, ..text(name) }
}

pub(super) const NAME: Column = Column { format: "name", ..text("Name") };
pub(super) const AGE: Column = text("Age");
pub(super) const CONTAINERS: Column = wide("Containers");
pub(super) const IMAGES: Column = wide("Images");
pub(super) const SELECTOR: Column = wide("Selector");
