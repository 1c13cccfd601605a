//! The versions of a custom kind: schemas, subresources, columns, selectable fields.
//!
//! What all versions have in common upstream keeps once, at the top of the spec, and says its
//! problems there: `spec.validation` and so on.

use serde_json::{Value, json};

use super::{Excuses, field_path, list, schema, schema_defaults, text};
use crate::custom::{Schema, rules, structural};
use crate::field::{Error, Path};
use crate::limits::SELECTABLE_FIELDS_MAX;
use crate::validate::names::label_1035;
use crate::validate::repeated;

pub(super) fn check_all(spec: &Value, excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    let versions = list(spec, "versions");
    let common = Common::of(versions);
    let versions_path = path.child("versions");
    if !common.schema || versions[0]["schema"]["openAPIV3Schema"].is_null() {
        missing_schemas(versions, excuses, &versions_path, errors);
    }
    for (index, version) in versions.iter().enumerate() {
        let path = versions_path.index(index);
        let name = text(version, "name");
        let problems = label_1035(name);
        if !problems.is_empty() {
            errors.push(Error::invalid(&path.child("name"), name, problems.join(",")));
        }
        deprecation(version, &path, errors);
        if !common.schema {
            let path = path.child("schema");
            validation(version, has_status(version), excuses, &path, errors);
        }
        if !common.subresources {
            scale(&version["subresources"]["scale"], &path.child("subresources"), errors);
        }
        if !common.columns {
            columns(version, &path.child("additionalPrinterColumns"), errors);
        }
        if !common.fields {
            selectable(version, excuses, &path.child("selectableFields"), errors);
        }
    }
    whole(versions, &common, &versions_path, errors);
    let Some(first) = versions.first() else { return };
    if common.schema {
        let any_status = versions.iter().any(has_status);
        validation(first, any_status, excuses, &path.child("validation"), errors);
    }
    if common.subresources {
        scale(&first["subresources"]["scale"], &path.child("subresources"), errors);
    }
    if common.columns {
        columns(first, &path.child("additionalPrinterColumns"), errors);
    }
    if common.fields {
        selectable(first, excuses, &path.child("selectableFields"), errors);
    }
}

/// What all versions have in common.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Common {
    fn of(versions: &[Value]) -> Self {
        let is = |name: &str| {
            let mut values = versions.iter().map(|version| &version[name]);
            let first = values.next();
            first.is_some_and(|first| !first.is_null() && values.all(|other| other == first))
        };
        Self {
            schema: is("schema"),
            subresources: is("subresources"),
            columns: is("additionalPrinterColumns"),
            fields: is("selectableFields"),
        }
    }
}

fn missing_schemas(versions: &[Value], excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    for (index, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_null() {
            continue;
        }
        let path = path.index(index).child("schema").child("openAPIV3Schema");
        if !excuses.needs_no_schema {
            errors.push(Error::required(&path, ""));
        } else if version["served"] == true {
            errors.push(Error::required(&path, "because otherwise all fields are pruned"));
        }
    }
}

/// The names of versions, and which of them is stored.
fn whole(versions: &[Value], common: &Common, path: &Path, errors: &mut Vec<Error>) {
    let mut invalid = |why: &str| {
        errors.push(Error {
            kind: crate::field::ErrorKind::Invalid,
            field: path.to_string(),
            value: None,
            detail: format!("{}: {why}", shown(versions, common)),
        });
    };
    if repeated(versions, |version| version["name"].to_string()).contains(&true) {
        invalid("must contain unique version names");
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        invalid("must have exactly one version marked as storage version");
    }
}

/// Versions as upstream shows its internal type; what is common to all is not in them.
fn shown(versions: &[Value], common: &Common) -> String {
    if versions.is_empty() {
        return "[]".to_owned();
    }
    let each = versions.iter().map(|version| {
        let part = |is_common: bool, name: &str| {
            if is_common { "null".to_owned() } else { version[name].to_string() }
        };
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            version["name"],
            version["served"] == true,
            version["storage"] == true,
            version["deprecated"] == true,
            version["deprecationWarning"],
            part(common.schema, "schema"),
            part(common.subresources, "subresources"),
            part(common.columns, "additionalPrinterColumns"),
            part(common.fields, "selectableFields"),
        )
    });
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}

fn has_status(version: &Value) -> bool {
    !version["subresources"]["status"].is_null()
}

fn deprecation(version: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let path = path.child("deprecationWarning");
    let mut invalid = |why: String| errors.push(Error::invalid(&path, warning, why));
    if version["deprecated"] != true {
        invalid("can only be set for deprecated versions".to_owned());
        return;
    }
    if warning.len() > 256 {
        invalid("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        invalid("must not be an empty string".to_owned());
    }
    let is_hidden = |letter: char| letter.is_control() || (letter.is_whitespace() && letter != ' ');
    if let Some((index, _)) = warning.char_indices().find(|(_, letter)| is_hidden(*letter)) {
        invalid(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

/// Keywords that the root of a schema may have when the status is a subresource.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

const AT_ROOT_TOLD: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

fn validation(
    version: &Value,
    has_status: bool,
    excuses: &Excuses,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let json = &version["schema"]["openAPIV3Schema"];
    if !json.is_object() {
        return;
    }
    let before = errors.len();
    let path = path.child("openAPIV3Schema");
    if has_status {
        root_of_status(json, &path, errors);
    }
    if json["nullable"] == true {
        let why = "nullable cannot be true at the root";
        errors.push(Error::forbidden(&path.child("nullable"), why));
    }
    let mut with_rules = None;
    let refusal = match Schema::parse(json) {
        Err(refusal) => Some(refusal),
        Ok(_) if excuses.any_schema => None,
        Ok(schema) => {
            let mut found = structural::violations(json, &path);
            if found.is_empty() {
                schema_defaults::check(json, excuses.any_defaults, &path, &mut found);
            }
            // Rules are looked at only where the schema is one that they can be about.
            with_rules = found.is_empty().then_some(schema);
            errors.extend(found);
            None
        }
    };
    let context = schema::Context::new(excuses.any_list_keys);
    let first = errors.len();
    schema::check(json, &path, context, errors);
    if let Some(schema) = with_rules {
        let is_unchanged = excuses.unchanged_schemas.iter().any(|name| *name == version["name"]);
        let found = rules::check_definition(&schema, &path, &errors[first..], is_unchanged);
        errors.extend(found);
    }
    if let Some(refusal) = refusal.filter(|_| errors.len() == before) {
        errors.push(Error::invalid(&path, "", refusal.to_string()));
    }
}

fn root_of_status(json: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(json, "type");
    if !kind.is_empty() && kind != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("type"), kind, why));
        return;
    }
    let is_said = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let members = json.as_object().into_iter().flatten();
    let mut said = members.filter(|(_, value)| is_said(value));
    if said.any(|(name, _)| !AT_ROOT.contains(&name.as_str())) {
        let why = format!(
            "only {AT_ROOT_TOLD} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(Error::invalid(path, json.clone(), why));
    }
}

fn scale(scale: &Value, path: &Path, errors: &mut Vec<Error>) {
    if scale.is_null() {
        return;
    }
    let path = path.child("scale");
    for (name, below, where_) in [
        ("specReplicasPath", &[".spec."][..], "under .spec"),
        ("statusReplicasPath", &[".status."][..], "under .status"),
        ("labelSelectorPath", &[".spec.", ".status."][..], "under either .spec or .status"),
    ] {
        let value = text(scale, name);
        let path = path.child(name);
        if value.is_empty() {
            if name != "labelSelectorPath" {
                errors.push(Error::required(&path, ""));
            }
        } else if !value.starts_with('.') {
            let why = "must be a simple json path starting with .";
            errors.push(Error::invalid(&path, value, why));
        } else if !below.iter().any(|below| value.starts_with(below)) {
            let why = format!("should be a json path {where_}");
            errors.push(Error::invalid(&path, value, why));
        }
    }
}

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn columns(version: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        let kind = text(column, "type");
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.push(Error::required(&path.child("type"), why));
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.push(Error::invalid(&path.child("type"), kind, why));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(Error::invalid(&path.child("format"), format, why));
        }
        let json_path = text(column, "jsonPath");
        let path = path.child("JSONPath");
        if json_path.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if !json_path.starts_with('.') {
            let why = "must be a simple json path starting with .";
            errors.push(Error::invalid(&path, json_path, why));
        }
    }
}

fn selectable(version: &Value, excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    let fields = list(version, "selectableFields");
    let schema = &version["schema"]["openAPIV3Schema"];
    if fields.is_empty() {
        return;
    }
    if !schema.is_object() {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(Error::invalid(path, "", why));
        return;
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index).child("jsonPath");
        let json_path = text(field, "jsonPath");
        let mut invalid = |why: &str| errors.push(Error::invalid(&path, json_path, why));
        let (names, found) = match field_path::find(json_path, schema, false) {
            _ if json_path.is_empty() => {
                errors.push(Error::required(&path, ""));
                continue;
            }
            Err(why) => {
                invalid(&format!("is an invalid path: {why}"));
                continue;
            }
            Ok(found) => found,
        };
        if names.first().is_some_and(|first| first == "metadata") {
            invalid("must not point to fields in metadata");
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            invalid(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            );
        }
        if seen.contains(&names) {
            errors.push(Error::duplicate(&path, json!(json_path)));
        } else {
            seen.push(names);
        }
    }
    let is_excused = excuses.many_fields.iter().any(|name| name == text(version, "name"));
    if seen.len() > SELECTABLE_FIELDS_MAX && !is_excused {
        errors.push(Error::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
}
