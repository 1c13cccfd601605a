//! Who owns `spec.replicas` of a Scale: whoever owns the field of the object that it stands for.

use serde_json::Value;

use super::managed::{Managers, Owned};
use super::owned::Fields;
use super::path::{Path, PathElement};
use super::set::Set;

/// The version of the body of `scale`.
pub const SCALE_VERSION: &str = "autoscaling/v1";

fn path_of(fields: &[&str]) -> Path {
    fields.iter().map(|name| PathElement::field(name)).collect()
}

fn only(path: &[PathElement]) -> Set {
    let mut set = Set::default();
    set.insert(path);
    set
}

/// The managed fields of the Scale of an object whose replicas are at a path (`spec`, `replicas`).
///
/// # Errors
/// The object's managed fields cannot be read.
pub fn to_scale(parent: Option<&Value>, replicas: &[&str]) -> Result<Vec<Value>, String> {
    let mut managers = Managers::read(parent)?;
    let path = path_of(replicas);
    managers.0.retain(|_, owned| owned.fields.has(&path));
    for owned in managers.0.values_mut() {
        owned.fields = Fields::of(&only(&path_of(&["spec", "replicas"])));
        SCALE_VERSION.clone_into(&mut owned.api_version);
    }
    Ok(managers.entries())
}

/// The managed fields of an object after a write to its Scale. `api_version` is the object's.
///
/// # Errors
/// One of the two cannot be read.
pub fn to_parent(
    parent: Option<&Value>,
    scale: Option<&Value>,
    api_version: &str,
    replicas: &[&str],
) -> Result<Vec<Value>, String> {
    let parent = Managers::read(parent)?;
    let mut scale = Managers::read(scale)?;
    let path = path_of(replicas);
    let mut out = Managers::default();
    for (identity, owned) in &parent.0 {
        let is_kept = !owned.fields.has(&path) || scale.0.remove(identity).is_some();
        let mut owned = owned.clone();
        if !is_kept {
            owned.fields.subtract(&only(&path), false);
        }
        if is_kept || !owned.fields.is_empty() {
            out.0.insert(identity.clone(), owned);
        }
    }
    let in_scale = path_of(&["spec", "replicas"]);
    for (identity, _) in scale.0.into_iter().filter(|(_, owned)| owned.fields.has(&in_scale)) {
        // Who is new has no time, as upstream forgets it on the way.
        let time = parent.0.get(&identity).map_or(String::new(), |owned| owned.time.clone());
        let fields = Fields::of(&only(&path));
        let owned = Owned { fields, api_version: api_version.to_owned(), time };
        out.0.insert(identity, owned);
    }
    Ok(out.entries())
}
