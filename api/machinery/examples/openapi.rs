//! Writes the OpenAPI documents of the built-in kinds into a folder, to compare them with others.
//!
//! `cargo run -p api-machinery --example openapi FOLDER`

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use api_machinery::openapi::v2::Collected;
use api_machinery::openapi::{Maker, places, protobuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("a folder is missing")?);
    fs::create_dir_all(&folder)?;
    let (maker, mut all) = (Maker::default(), Collected::default());
    for place in places() {
        let document = maker.document(&place).ok_or("a place without a document")?;
        let name = place.replace('/', "__");
        fs::write(folder.join(format!("{name}.json")), document.to_string())?;
        fs::write(folder.join(format!("{name}.pb")), protobuf::v3(&document))?;
        all.add(document);
    }
    fs::write(folder.join("v2.json"), all.json())?;
    fs::write(folder.join("v2.pb"), all.protobuf())?;
    Ok(())
}
