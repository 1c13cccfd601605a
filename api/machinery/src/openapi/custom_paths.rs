//! The paths of a custom kind's version: what may be asked there, with what, and what is answered.

use serde_json::{Map, Value, json};

use super::custom_schema::META;

/// What a kind and its version are called.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) plural: &'a str,
    pub(super) kind: &'a str,
    pub(super) list_kind: &'a str,
    pub(super) is_namespaced: bool,
}

impl<'a> Named<'a> {
    pub(super) fn of(spec: &'a Value, version: &'a str) -> Option<Self> {
        let names = &spec["names"];
        Some(Self {
            group: spec["group"].as_str()?,
            version,
            plural: names["plural"].as_str()?,
            kind: names["kind"].as_str()?,
            list_kind: names["listKind"].as_str()?,
            is_namespaced: spec["scope"] == "Namespaced",
        })
    }

    /// The name of a kind's schema: the group is turned round.
    pub(super) fn model(&self, kind: &str) -> String {
        let mut parts: Vec<&str> = self.group.split('.').collect();
        parts.reverse();
        format!("{}.{}.{kind}", parts.join("."), self.version)
    }
}

/// What a request does: the action of its metadata, and the verb of its name.
#[derive(Clone, Copy)]
struct Deed {
    method: &'static str,
    action: &'static str,
    verb: &'static str,
}

const fn deed(method: &'static str, action: &'static str, verb: &'static str) -> Deed {
    Deed { method, action, verb }
}

const LIST: Deed = deed("get", "list", "list");
const GET: Deed = deed("get", "get", "read");
const PUT: Deed = deed("put", "put", "replace");
const PATCH: Deed = deed("patch", "patch", "patch");
const COLLECTION: [Deed; 3] =
    [LIST, deed("post", "post", "create"), deed("delete", "deletecollection", "deletecollection")];
const ITEM: [Deed; 4] = [GET, PUT, deed("delete", "delete", "delete"), PATCH];
const SUBRESOURCE: [Deed; 3] = [GET, PUT, PATCH];

pub(super) fn paths(named: &Named<'_>, subresources: &Value) -> Value {
    let base = format!("/apis/{}/{}", named.group, named.version);
    let (kind, list) = (named.model(named.kind), named.model(named.list_kind));
    let mut paths = Map::new();
    let mut root = format!("{base}/{}", named.plural);
    if named.is_namespaced {
        let mut get = operation(named, LIST, "", &list);
        let name = id(named, "list", &format!("{}ForAllNamespaces", named.kind));
        get["operationId"] = name.into();
        // Of the only request all parameters are those of the path.
        let mut parameters = parameters("list");
        parameters.push(query("pretty", "string"));
        parameters.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        if let Value::Object(get) = &mut get {
            get.remove("parameters");
        }
        paths.insert(root, json!({"get": get, "parameters": parameters}));
        root = format!("{base}/namespaces/{{namespace}}/{}", named.plural);
    }
    let mut add = |path: String, deeds: &[Deed], sub: &str, model: &str| {
        let mut out = Map::new();
        for deed in deeds {
            let model = if deed.action == "list" { &list } else { model };
            out.insert(deed.method.to_owned(), operation(named, *deed, sub, model));
        }
        out.insert("parameters".to_owned(), of_path(named, path.contains("{name}")));
        paths.insert(path, Value::Object(out));
    };
    add(root.clone(), &COLLECTION, "", &kind);
    add(format!("{root}/{{name}}"), &ITEM, "", &kind);
    if !subresources["status"].is_null() {
        add(format!("{root}/{{name}}/status"), &SUBRESOURCE, "status", &kind);
    }
    if !subresources["scale"].is_null() {
        let scale = "io.k8s.api.autoscaling.v1.Scale";
        add(format!("{root}/{{name}}/scale"), &SUBRESOURCE, "scale", scale);
    }
    Value::Object(paths)
}

fn of_path(named: &Named<'_>, has_name: bool) -> Value {
    let in_path = |name: &str, description: String| {
        json!({"name": name, "in": "path", "description": description, "required": true,
            "schema": {"type": "string", "uniqueItems": true}})
    };
    let mut out = Vec::new();
    if has_name {
        out.push(in_path("name", format!("name of the {}", named.kind)));
    }
    if named.is_namespaced {
        let description = "object name and auth scope, such as for teams and projects";
        out.push(in_path("namespace", description.to_owned()));
    }
    out.push(query("pretty", "string"));
    Value::Array(out)
}

fn query(name: &str, of: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": of, "uniqueItems": true}})
}

fn parameters(action: &str) -> Vec<Value> {
    let names: &[(&str, &str)] = match action {
        "get" => &[("resourceVersion", "string")],
        "list" | "deletecollection" => &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("shardSelector", "string"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        _ => &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")],
    };
    names.iter().map(|(name, of)| query(name, of)).collect()
}

fn operation(named: &Named<'_>, deed: Deed, sub: &str, model: &str) -> Value {
    let reference =
        |name: &str| json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
    let content = |name: &str, types: &[&str]| -> Value {
        types.iter().map(|one| ((*one).to_owned(), reference(name))).collect()
    };
    let plain = ["application/json", "application/yaml"];
    let answer = match deed.action {
        "delete" | "deletecollection" => format!("{META}Status"),
        _ => model.to_owned(),
    };
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    let codes: &[(&str, &str)] = match deed.action {
        "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "put" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    for (code, text) in codes {
        responses[*code] = json!({"description": text, "content": content(&answer, &plain)});
    }
    let name = match sub {
        "status" => "Status",
        "scale" => "Scale",
        _ => "",
    };
    let scope = if named.is_namespaced { "Namespaced" } else { "" };
    let mut out = json!({
        "tags": [format!("{}_{}", word(group_of(named), false), word(named.version, false))],
        "description": description(named, deed.verb, sub),
        "operationId": id(named, deed.verb, &format!("{scope}{}{name}", named.kind)),
        "parameters": parameters(deed.action),
        "responses": responses,
        "x-kubernetes-action": deed.action,
        "x-kubernetes-group-version-kind":
            {"group": named.group, "version": named.version, "kind": named.kind},
    });
    match deed.action {
        "post" | "put" => {
            out["requestBody"] = json!({"content": content(model, &plain), "required": true});
        }
        "patch" => {
            let types = [
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            let content = content(&format!("{META}Patch"), &types);
            out["requestBody"] = json!({"content": content, "required": true});
        }
        "delete" => {
            out["requestBody"] =
                json!({"content": content(&format!("{META}DeleteOptions"), &plain)});
        }
        _ => {}
    }
    out
}

pub(super) fn description(named: &Named<'_>, verb: &str, sub: &str) -> String {
    let sub = if sub.is_empty() { String::new() } else { format!(" {sub} of") };
    let kind = named.kind;
    let vowel = kind.starts_with(|first: char| "aeiouAEIOU".contains(first));
    let article = match verb {
        _ if kind.ends_with('s') && !kind.ends_with("ss") => " ",
        _ if vowel => " an ",
        _ => " a ",
    };
    match verb {
        "list" => format!("list{sub} objects of kind {kind}"),
        "patch" => format!("partially update{sub} the specified {kind}"),
        "deletecollection" => format!("delete collection of{sub} {kind}"),
        "create" | "delete" => format!("{verb}{sub}{article}{kind}"),
        _ => format!("{verb}{sub} the specified {kind}"),
    }
}

pub(super) fn group_of<'a>(named: &Named<'a>) -> &'a str {
    named.group.strip_suffix(".k8s.io").unwrap_or(named.group)
}

/// A group as tags and as names of requests say it.
pub(super) fn names_of(group: &str) -> (String, String) {
    let group = if group.is_empty() { "core" } else { group };
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    (word(group, false), word(group, true))
}

/// The name of a request: its verb, the group and version, and the rest.
pub(super) fn id(named: &Named<'_>, verb: &str, rest: &str) -> String {
    let (verb, rest) = match verb.strip_prefix("delete") {
        Some(more) => ("delete", format!("{more}{rest}")),
        None => (verb, rest.to_owned()),
    };
    let (group, version) = (word(group_of(named), true), word(named.version, true));
    format!("{verb}{group}{version}{}", word(&rest, true))
}

/// One word of what may have dots and dashes in it.
pub(super) fn word(text: &str, mut capital: bool) -> String {
    let mut out = String::new();
    for (index, letter) in text.chars().enumerate() {
        if letter.is_alphabetic() || letter == '_' || (index > 0 && letter.is_numeric()) {
            if std::mem::take(&mut capital) {
                out.extend(letter.to_uppercase());
            } else {
                out.push(letter);
            }
        } else {
            capital = true;
        }
    }
    out
}
