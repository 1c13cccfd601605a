//! The row that a table would show of an object: one stored JSON object a line in, columns, cells
//! and conditions a line out. For comparing with another API server by hand.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::io::BufRead;

use api_machinery::table::{self, IncludeObject};
use api_machinery::{Object, View, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};

fn answer(line: &str) -> Result<Value, String> {
    let tree = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let object = Object::from_value(tree).ok_or("not an object")?;
    let info = kinds::find_kind(object.api_version(), object.kind()).ok_or("no such kind")?;
    let mut written = Vec::new();
    let view = View::new(line.as_bytes());
    table::write_start(info, &json!({}), true, &mut written);
    table::write_row(info, view, IncludeObject::None, Timestamp::now(), &mut written);
    written.extend_from_slice(table::TABLE_END);
    let table: Value = serde_json::from_slice(&written).map_err(|error| error.to_string())?;
    let row = &table["rows"][0];
    let columns = &table["columnDefinitions"];
    Ok(json!({"columns": columns, "cells": row["cells"], "conditions": row["conditions"]}))
}

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{}", answer(&line).unwrap_or_else(|why| json!({"refused": why})));
    }
}
