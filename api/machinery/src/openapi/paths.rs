//! The paths of built-in kinds, as OpenAPI v3 has them: what may be asked there, with what, and
//! what is answered.

use serde_json::{Map, Value, json};

use super::custom_paths::{Named, description, group_of, id, word};
use super::custom_schema::META;
use super::definitions::SCHEMAS;
use super::descriptions::Descriptions;
use crate::kinds::{self, ResourceInfo, Subresource};
use crate::schema::Schema;

const JSON: &str = "application/json";
const ALL: [&str; 3] = [JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const LIST: [(&str, &str); 11] = [
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
];
const WRITE: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const DELETE: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LOG: [(&str, &str); 9] = [
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];
const WATCH_WORDS: &str = "deprecated: use the 'watch' parameter with a list operation instead";

/// Whether a delete of the kind answers with the object that was deleted.
fn answers_with_deleted(info: &ResourceInfo) -> bool {
    match info.group {
        "" => matches!(
            info.kind,
            "PersistentVolume"
                | "PersistentVolumeClaim"
                | "Pod"
                | "PodTemplate"
                | "ResourceQuota"
                | "Service"
                | "ServiceAccount"
        ),
        "resource.k8s.io" => true,
        "storage.k8s.io" => info.kind != "CSIStorageCapacity",
        _ => false,
    }
}

/// One request: its method, what is said of it, and its parameters.
struct Operation {
    method: &'static str,
    said: Value,
    parameters: Vec<Value>,
}

/// What all paths of a kind have in common.
struct Writer<'a> {
    info: &'a ResourceInfo,
    named: Named<'a>,
    descriptions: &'a Descriptions,
    paths: &'a mut Map<String, Value>,
}

/// Where a path is: in a namespace, of one object, of one of its subresources.
#[derive(Clone, Copy)]
struct Place<'a> {
    namespaced: bool,
    has_name: bool,
    sub: Option<&'a Subresource>,
}

/// Adds the paths of a kind.
pub(super) fn add(
    info: &ResourceInfo,
    descriptions: &Descriptions,
    paths: &mut Map<String, Value>,
) {
    let list_kind = info.list_kind();
    let named = Named {
        group: if info.group.is_empty() { "core" } else { info.group },
        version: info.version,
        plural: info.plural,
        kind: info.kind,
        list_kind: &list_kind,
        is_namespaced: info.namespaced,
    };
    let mut writer = Writer { info, named, descriptions, paths };
    let base = format!("/{}", super::prefix(info.group, info.version));
    let scope = if info.namespaced { "/namespaces/{namespace}" } else { "" };
    let everywhere = Place { namespaced: false, has_name: false, sub: None };
    let within = Place { namespaced: info.namespaced, ..everywhere };
    let of_one = Place { has_name: true, ..within };
    let (all, some) = (format!("{base}/{}", info.plural), format!("{base}{scope}/{}", info.plural));
    let methods = |verbs: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        let known = verbs.iter().filter(|verb| info.verbs.contains(*verb));
        known.map(|verb| (*verb, method(verb))).collect()
    };
    if info.namespaced && info.verbs.contains(&"list") {
        writer.put(&all, everywhere, &[("list", "get")]);
    }
    let collection = methods(&["list", "create", "deletecollection"]);
    writer.put(&some, within, &collection);
    let item = methods(&["get", "update", "patch", "delete"]);
    let one = format!("{some}/{{name}}");
    writer.put(&one, of_one, &item);
    for sub in info.subresources {
        let verbs: Vec<_> = sub.verbs.iter().map(|verb| (*verb, method(verb))).collect();
        let place = Place { sub: Some(sub), ..of_one };
        writer.put(&format!("{one}/{}", sub.name), place, &verbs);
    }
    if info.verbs.contains(&"watch") {
        let watch = |path: &str| path.replacen(&base, &format!("{base}/watch"), 1);
        writer.put(&watch(&all), everywhere, &[("watchlist", "get")]);
        if info.namespaced {
            writer.put(&watch(&some), within, &[("watchlist", "get")]);
        }
        writer.put(&watch(&one), of_one, &[("watch", "get")]);
    }
}

/// The older way to bind pods.
pub(super) fn add_bindings(descriptions: &Descriptions, paths: &mut Map<String, Value>) {
    let Some(pod) = kinds::find("", "v1", "pods") else { return };
    let named = Named {
        group: "core",
        version: pod.version,
        plural: "bindings",
        kind: "Binding",
        list_kind: "",
        is_namespaced: true,
    };
    let binding = pod.subresource("binding").map(|sub| Subresource { name: "", ..*sub });
    let place = Place { namespaced: true, has_name: false, sub: binding.as_ref() };
    let mut writer = Writer { info: pod, named, descriptions, paths };
    writer.put("/api/v1/namespaces/{namespace}/bindings", place, &[("create", "post")]);
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" | "deletecollection" => "delete",
        _ => "get",
    }
}

impl Writer<'_> {
    fn put(&mut self, path: &str, place: Place<'_>, verbs: &[(&'static str, &'static str)]) {
        if verbs.is_empty() {
            return;
        }
        let operations: Vec<_> =
            verbs.iter().map(|&(verb, method)| self.operation(place, verb, method)).collect();
        self.paths.insert(path.to_owned(), item(operations));
    }

    fn operation(&self, place: Place<'_>, verb: &str, method: &'static str) -> Operation {
        let Place { sub, .. } = place;
        let sub_name = sub.map_or("", |sub| sub.name);
        let action = match verb {
            "create" => "post",
            "update" => "put",
            other => other,
        };
        let (group, version, kind) = self.kind_of(sub);
        let of_object = self.model(sub);
        let answer = match verb {
            "list" => format!("{of_object}List"),
            "watch" | "watchlist" => format!("{META}WatchEvent"),
            "deletecollection" => format!("{META}Status"),
            "delete" if !answers_with_deleted(self.info) => format!("{META}Status"),
            _ => of_object.clone(),
        };
        let mut types: Vec<&str> = ALL.to_vec();
        if matches!(verb, "list" | "watch" | "watchlist") {
            types.extend(STREAMS);
        }
        let mut schema = json!({"$ref": format!("{SCHEMAS}{answer}")});
        if sub_name == "log" {
            types.insert(0, "text/plain");
            schema = json!({"type": "string"});
        }
        let mut responses = json!({"401": {"description": "Unauthorized"}});
        for (code, text) in codes(verb) {
            responses[*code] = json!({"description": text, "content": content(&types, &schema)});
        }
        let mut said = json!({
            "tags": [self.tag()],
            "description": self.described(verb, place),
            "operationId": self.id(verb, place),
            "responses": responses,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        if let Some(body) = body(verb, &of_object) {
            said["requestBody"] = body;
        }
        Operation { method, said, parameters: self.parameters(place, verb) }
    }

    /// The kind of what is sent and answered: that of a subresource may be another one.
    fn kind_of(&self, sub: Option<&Subresource>) -> (&'static str, &'static str, &'static str) {
        match sub.filter(|sub| sub.kind != self.info.kind) {
            Some(sub) => (sub.group, sub.version, sub.kind),
            None => (self.info.group, self.info.version, self.info.kind),
        }
    }

    fn model(&self, sub: Option<&Subresource>) -> String {
        let (group, version, kind) = self.kind_of(sub);
        let api_version =
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let id = kinds::type_of(&api_version, kind).unwrap_or_else(|| self.info.type_id());
        Schema::get().of(id).definition_name()
    }

    fn tag(&self) -> String {
        format!("{}_{}", word(group_of(&self.named), false), self.named.version)
    }

    fn id(&self, verb: &str, place: Place<'_>) -> String {
        let scope = if place.namespaced { "Namespaced" } else { "" };
        let sub = place.sub.map_or(String::new(), |sub| word(sub.name, true));
        let mut rest = format!("{scope}{}{sub}", self.named.kind);
        if verb == "watchlist" {
            rest.push_str("List");
        }
        if self.info.namespaced && !place.namespaced {
            rest.push_str("ForAllNamespaces");
        }
        let verb = match verb {
            "get" => "read",
            "update" => "replace",
            "watchlist" => "watch",
            other => other,
        };
        id(&self.named, verb, &rest)
    }

    fn described(&self, verb: &str, place: Place<'_>) -> String {
        let kind = self.named.kind;
        match verb {
            "list" if self.info.verbs.contains(&"watch") => {
                format!("list or watch objects of kind {kind}")
            }
            "watchlist" => {
                format!("watch individual changes to a list of {kind}. {WATCH_WORDS}.")
            }
            "watch" => format!(
                "watch changes to an object of kind {kind}. {WATCH_WORDS}, filtered to a single \
                 item with the 'fieldSelector' parameter."
            ),
            _ => {
                let verb = match verb {
                    "get" => "read",
                    "update" => "replace",
                    other => other,
                };
                description(&self.named, verb, place.sub.map_or("", |sub| sub.name))
            }
        }
    }

    fn parameters(&self, place: Place<'_>, verb: &str) -> Vec<Value> {
        let is_log = place.sub.is_some_and(|sub| sub.name == "log");
        let known: Vec<(&str, &str)> = match verb {
            _ if is_log => LOG.to_vec(),
            "list" | "watch" | "watchlist" => LIST.to_vec(),
            "deletecollection" => {
                let of_list =
                    |one: &&(&str, &str)| !matches!(one.0, "allowWatchBookmarks" | "watch");
                DELETE.iter().chain(LIST.iter().filter(of_list)).copied().collect()
            }
            "delete" => DELETE.to_vec(),
            "create" | "update" => WRITE.to_vec(),
            "patch" => WRITE.iter().copied().chain([("force", "boolean")]).collect(),
            _ => Vec::new(),
        };
        let mut out: Vec<Value> = known.iter().map(|(name, of)| self.query(name, of)).collect();
        out.push(self.query("pretty", "string"));
        let mut in_path = |name: &str, text: String| {
            out.push(json!({"name": name, "in": "path", "required": true, "description": text,
                "schema": {"type": "string", "uniqueItems": true}}));
        };
        if place.has_name {
            let kind = place.sub.map_or(self.named.kind, |sub| sub.kind);
            in_path("name", format!("name of the {kind}"));
        }
        if place.namespaced {
            in_path(
                "namespace",
                "object name and auth scope, such as for teams and projects".to_owned(),
            );
        }
        out.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        out
    }

    fn query(&self, name: &str, of: &str) -> Value {
        let mut out = json!({"name": name, "in": "query",
            "schema": {"type": of, "uniqueItems": true}});
        if let Some(text) = self.descriptions.of(&format!("{META}DeleteOptions"), name) {
            out["description"] = text.into();
        }
        out
    }
}

fn codes(verb: &str) -> &'static [(&'static str, &'static str)] {
    match verb {
        "create" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "update" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    types.iter().map(|one| ((*one).to_owned(), json!({"schema": schema}))).collect()
}

fn body(verb: &str, of_object: &str) -> Option<Value> {
    let reference = |name: &str| json!({"$ref": format!("{SCHEMAS}{name}")});
    match verb {
        "create" | "update" => {
            Some(json!({"content": content(&["*/*"], &reference(of_object)), "required": true}))
        }
        "patch" => {
            let content = content(&PATCHES, &reference(&format!("{META}Patch")));
            Some(json!({"content": content, "required": true}))
        }
        "delete" | "deletecollection" => {
            Some(json!({"content": content(&["*/*"], &reference(&format!("{META}DeleteOptions")))}))
        }
        _ => None,
    }
}

/// One path: the parameters that all requests have are told once.
fn item(operations: Vec<Operation>) -> Value {
    let common: Vec<Value> = operations.first().map_or(Vec::new(), |first| {
        let by_all = |one: &&Value| operations.iter().all(|of| of.parameters.contains(one));
        first.parameters.iter().filter(by_all).cloned().collect()
    });
    let mut out = Map::new();
    for Operation { method, mut said, mut parameters } in operations {
        parameters.retain(|one| !common.contains(one));
        if !parameters.is_empty() {
            said["parameters"] = parameters.into();
        }
        out.insert(method.to_owned(), said);
    }
    if !common.is_empty() {
        out.insert("parameters".to_owned(), common.into());
    }
    Value::Object(out)
}

/// A path that answers with one document of discovery.
pub(super) fn document(
    (tag, id, description): (&str, &str, &str),
    types: &[&str],
    model: Option<&str>,
) -> Value {
    let schema = match model {
        Some(model) => json!({"$ref": format!("{SCHEMAS}{model}")}),
        None => json!({"type": "string"}),
    };
    json!({"get": {
        "tags": [tag],
        "description": description,
        "operationId": id,
        "responses": {
            "200": {"description": "OK", "content": content(types, &schema)},
            "401": {"description": "Unauthorized"},
        },
    }})
}

/// The media types of discovery's documents.
pub(super) const DISCOVERY: [&str; 3] = ALL;
