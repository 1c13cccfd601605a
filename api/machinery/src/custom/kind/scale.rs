//! The subresource `scale` of a custom kind: where an object keeps its replicas.

use serde_json::{Value, json};

use super::CustomVersion;
use crate::Object;
use crate::field::{Error, Path};

/// Where replicas and selector are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    spec: Box<str>,
    status: Box<str>,
    selector: Option<Box<str>>,
}

impl Scale {
    pub(super) fn of(scale: &Value) -> Option<Self> {
        Some(Self {
            spec: scale["specReplicasPath"].as_str()?.into(),
            status: scale["statusReplicasPath"].as_str()?.into(),
            selector: scale["labelSelectorPath"].as_str().map(Into::into),
        })
    }

    /// The names on the way to the replicas that are wanted.
    #[must_use]
    pub fn replicas(&self) -> Vec<&str> {
        names(&self.spec)
    }
}

fn names(path: &str) -> Vec<&str> {
    path.strip_prefix('.').unwrap_or(path).split('.').collect()
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The value at a path, if there is one; an error in Go's words when it is of another type.
fn at<'a>(object: &'a Object, path: &str, wanted: &str) -> Result<Option<&'a Value>, String> {
    let names = names(path);
    let refuse = |found: &Value, wanted: &str, names: &[&str]| {
        let path = names.join(".");
        let (found, kind) = (go_text(found), go_type(found));
        format!(".{path} accessor error: {found} is of the type {kind}, expected {wanted}")
    };
    let mut map = &object.0;
    for (index, name) in names.iter().enumerate() {
        let Some(found) = map.get(*name) else { return Ok(None) };
        if index + 1 == names.len() {
            let fits = match wanted {
                "int64" => found.is_i64() || found.is_u64(),
                _ => found.is_string(),
            };
            return if fits { Ok(Some(found)) } else { Err(refuse(found, wanted, &names)) };
        }
        match found {
            Value::Object(inner) => map = inner,
            Value::Null => return Ok(None),
            other => return Err(refuse(other, "map[string]interface{}", &names[..=index])),
        }
    }
    Ok(None)
}

fn go_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

impl CustomVersion {
    /// The Scale of an object.
    ///
    /// # Errors
    /// Something else than a number stands where the replicas should be.
    pub fn scale_of(&self, object: &Object) -> Result<Value, String> {
        let Some(scale) = &self.scale else { return Err("there is no scale".to_owned()) };
        let number = |path: &str| -> Result<Option<i64>, String> {
            Ok(at(object, path, "int64")?.and_then(Value::as_i64))
        };
        let mut metadata = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object.at(&["metadata", field]) {
                metadata[field] = value.clone();
            }
        }
        let mut spec = json!({});
        let replicas = number(&scale.spec)?.unwrap_or(0);
        if replicas != 0 {
            spec["replicas"] = replicas.into();
        }
        let mut status = json!({"replicas": number(&scale.status)?.unwrap_or(0)});
        if let Some(path) = &scale.selector
            && let Some(selector) = at(object, path, "string")?.filter(|text| **text != "")
        {
            status["selector"] = selector.clone();
        }
        Ok(json!({
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": metadata,
            "spec": spec,
            "status": status,
        }))
    }

    /// Whether the object says how many replicas it wants.
    #[must_use]
    pub fn has_replicas(&self, object: &Object) -> bool {
        self.scale.as_ref().is_some_and(|scale| object.at(&scale.replicas()).is_some())
    }

    /// Checks what the paths of the scale lead to.
    pub(super) fn check_scale(&self, object: &Object, with_spec: bool, errors: &mut Vec<Error>) {
        let Some(scale) = &self.scale else { return };
        let mut number = |path: &str| {
            let field = Path::new(path);
            match at(object, path, "int64") {
                Err(why) => errors.push(Error::invalid(&field, 0, why)),
                Ok(found) => {
                    let found = found.and_then(Value::as_i64).unwrap_or(0);
                    if found < 0 {
                        let why = "should be a non-negative integer";
                        errors.push(Error::invalid(&field, found, why));
                    } else if found > i64::from(i32::MAX) {
                        let why = format!("should be less than or equal to {}", i32::MAX);
                        errors.push(Error::invalid(&field, found, why));
                    }
                }
            }
        };
        if with_spec {
            number(&scale.spec);
        }
        number(&scale.status);
        if let Some(path) = &scale.selector
            && let Err(why) = at(object, path, "string")
        {
            errors.push(Error::invalid(&Path::new(path), "", why));
        }
    }
}
