//! What a client is told of an object that is taken all the same: `Warning` headers. The words are
//! upstream's (`WarningsOnCreate` and `WarningsOnUpdate` of each kind's strategy), found after an
//! object is prepared and checked; one that is refused has none.

mod address;
mod kinds;
mod labels;
mod plugins;
mod pod;

use crate::{Object, ResourceInfo};

/// What is said of a new object.
#[must_use]
pub fn create(info: &ResourceInfo, object: &Object) -> Vec<String> {
    let mut told = Vec::new();
    if !info.is_custom() {
        pod::create(info, object, &mut told);
        kinds::create(info, object, &mut told);
    }
    told
}

/// What is said of a changed object.
#[must_use]
pub fn update(info: &ResourceInfo, new: &Object, old: &Object) -> Vec<String> {
    let mut told = Vec::new();
    if !info.is_custom() {
        pod::update(info, new, old, &mut told);
        kinds::update(info, new, old, &mut told);
    }
    told
}

/// What is said of a changed status.
#[must_use]
pub fn status_update(info: &ResourceInfo, new: &Object) -> Vec<String> {
    let mut told = Vec::new();
    if !info.is_custom() {
        pod::status_update(info, new, &mut told);
        kinds::status_update(info, new, &mut told);
    }
    told
}
