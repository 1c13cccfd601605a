//! What rules see of a schema: the type of each level, and how large its values can become.

use std::sync::Arc;

use api_cel::{Level, Order, Provider, Reader, Sizes, Step, Type, escape, unescape};
use serde_json::Value;

use crate::custom::schema::{Kind, List, ListType, Schema};
use crate::limits::REQUEST_BODY_BYTES_MAX;

/// The schema's levels by their numbers; the first one is of values without a type.
pub(super) struct Types {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    of: Option<Type>,
    element: Option<usize>,
    /// By their names in JSON, in that order.
    fields: Vec<(Box<str>, usize)>,
    list: Option<Box<List>>,
    /// Upstream's estimate of characters, items or entries.
    elements_max: u64,
    /// Upstream's estimate of bytes in JSON.
    size_min: u64,
}

/// Values whose type the schema does not say: rules can compare them, and no more.
const UNTYPED: usize = 0;
/// Upstream's bound of a request, which is part of its estimates.
const REQUEST: u64 = REQUEST_BODY_BYTES_MAX as u64;

impl Types {
    /// The types of a value, which may be a whole object, and the number of its own level.
    pub(super) fn of(schema: &Schema, is_resource: bool) -> (Self, Option<usize>) {
        let mut types = Self { nodes: vec![Node::default()] };
        let root = types.level(schema, is_resource);
        (types, root)
    }

    pub(super) fn type_of(&self, number: usize) -> Type {
        self.nodes[number].of.clone().unwrap_or(Type::Any)
    }

    pub(super) fn element_of(&self, number: usize) -> Option<usize> {
        self.nodes[number].element
    }

    /// The level of a member by its name in JSON, when rules can have values of it.
    pub(super) fn typed_member(&self, number: usize, name: &str) -> Option<usize> {
        self.member(number, name).filter(|member| self.nodes[*member].of.is_some())
    }

    /// How often a value of a level can be in an object at most.
    pub(super) fn cardinality_max(&self, number: usize) -> u64 {
        REQUEST / (self.nodes[number].size_min + 1)
    }

    fn member(&self, number: usize, name: &str) -> Option<usize> {
        let fields = &self.nodes[number].fields;
        let found = fields.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        Some(fields[found].1)
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn scalar(&mut self, of: Type, elements_max: u64, size_min: u64) -> usize {
        self.add(Node { of: Some(of), elements_max, size_min, ..Node::default() })
    }

    /// The number of a level; none when rules cannot have values of it.
    ///
    /// The recursion is limited by the depth of a schema.
    fn level(&mut self, schema: &Schema, is_resource: bool) -> Option<usize> {
        let checks = schema.checks.as_deref();
        let length_max = checks.and_then(|checks| count(checks.length.max));
        if schema.int_or_string {
            let elements = length_max.map_or(REQUEST - 2, |length| length.saturating_mul(4));
            return Some(self.scalar(Type::Dyn, elements, 1));
        }
        Some(match schema.kind {
            Kind::Any => return None,
            Kind::Array => return self.list(schema),
            Kind::Object => return self.object(schema, is_resource),
            Kind::Boolean => self.scalar(Type::Bool, 0, 4),
            Kind::Number => self.scalar(Type::Double, 0, 1),
            Kind::Integer => self.scalar(Type::Int, 0, 1),
            Kind::String => {
                let choices = checks.map_or(&[][..], |checks| &checks.choices);
                let longest = choices.iter().filter_map(Value::as_str).map(str::len).max();
                match checks.and_then(|checks| checks.format.as_deref()).unwrap_or("") {
                    "byte" => self.scalar(Type::Bytes, length_max.unwrap_or(REQUEST - 2), 2),
                    "duration" => self.scalar(Type::Duration, 32, 3),
                    "date" => self.scalar(Type::Timestamp, 12, 12),
                    "date-time" => self.scalar(Type::Timestamp, 32, 21),
                    _ => {
                        let length = length_max.map(|length| length.saturating_mul(4));
                        let choice = (!choices.is_empty()).then(|| longest.unwrap_or(0) as u64);
                        let elements = length.or(choice).unwrap_or(REQUEST - 2);
                        self.scalar(Type::String, elements, 2)
                    }
                }
            }
        })
    }

    fn list(&mut self, schema: &Schema) -> Option<usize> {
        let items = schema.items.as_deref()?;
        let element = self.level(items, items.embeds_resource)?;
        let given = schema.checks.as_deref().and_then(|checks| count(checks.items.max));
        let estimated = (REQUEST - 2) / (self.nodes[element].size_min + 1);
        Some(self.add(Node {
            of: Some(Type::list(self.type_of(element))),
            element: Some(element),
            list: schema.list.clone(),
            elements_max: given.unwrap_or(estimated),
            size_min: 2,
            ..Node::default()
        }))
    }

    fn object(&mut self, schema: &Schema, is_resource: bool) -> Option<usize> {
        if let Some(values) = schema.additional_schema() {
            return self.map(schema, values);
        }
        let number = self.add(Node::default());
        let checks = schema.checks.as_deref();
        let has_meta = !is_resource || has_meta(schema);
        let mut fields: Vec<(Box<str>, usize)> = Vec::new();
        let mut size_min = 2;
        let required: std::collections::HashSet<&str> = checks
            .map(|checks| checks.required.iter().map(|name| &**name).collect())
            .unwrap_or_default();
        for (name, property) in schema.properties() {
            if !has_meta && META.contains(&name) {
                continue;
            }
            let field = self.level(property, property.embeds_resource);
            if let Some(field) = field
                && required.contains(name)
                && property.default.is_none()
            {
                size_min += name.len() as u64 + self.nodes[field].size_min + 4;
            }
            fields.push((name.into(), field.unwrap_or(UNTYPED)));
        }
        if !has_meta {
            for name in META {
                let field = if name == "metadata" {
                    let names = ["generateName", "name"];
                    let names = names.map(|name| (name.into(), self.text()));
                    let of = Some(object_type(self.nodes.len()));
                    self.add(Node { of, fields: names.into(), size_min: 2, ..Node::default() })
                } else {
                    self.text()
                };
                if required.contains(name) {
                    size_min += name.len() as u64 + 2 + 4;
                }
                fields.push((name.into(), field));
            }
        }
        fields.sort();
        let of = Some(object_type(number));
        self.nodes[number] = Node { of, fields, size_min, ..Node::default() };
        Some(number)
    }

    fn map(&mut self, schema: &Schema, values: &Schema) -> Option<usize> {
        let element = self.level(values, values.embeds_resource)?;
        let given = schema.checks.as_deref().and_then(|checks| count(checks.properties.max));
        let estimated = (REQUEST - 2) / (self.nodes[element].size_min + 6);
        Some(self.add(Node {
            of: Some(Type::map(Type::String, self.type_of(element))),
            element: Some(element),
            elements_max: given.unwrap_or(estimated),
            size_min: 2,
            ..Node::default()
        }))
    }

    fn text(&mut self) -> usize {
        self.scalar(Type::String, REQUEST - 2, 2)
    }
}

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Whether a resource's schema itself says enough of what every resource has.
fn has_meta(schema: &Schema) -> bool {
    let is = |schema: Option<&Schema>, kind| schema.is_some_and(|schema| schema.kind == kind);
    let metadata = schema.property("metadata");
    let name = |name| metadata.and_then(|metadata| metadata.property(name));
    is(schema.property("kind"), Kind::String)
        && is(schema.property("apiVersion"), Kind::String)
        && is(metadata, Kind::Object)
        && is(name("name"), Kind::String)
        && is(name("generateName"), Kind::String)
}

fn count(max: Option<i64>) -> Option<u64> {
    max.map(|max| u64::try_from(max).unwrap_or(0))
}

/// The name that an object's type has in messages, which upstream makes up anew each time.
const NAME: &str = "selfType";

fn object_type(number: usize) -> Type {
    Type::object(&format!("{NAME}{number}"))
}

impl Provider for Types {
    fn has_type(&self, name: &str) -> bool {
        let number = name.strip_prefix(NAME).and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| number < self.nodes.len())
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        let number: usize = object.strip_prefix(NAME)?.parse().ok()?;
        // Words of the language are names of fields as they are, too.
        let is_name = |name: &String| {
            escape(name)
                .is_some_and(|escaped| escaped == field || escaped == format!("__{field}__"))
        };
        let name = unescape(field).filter(is_name)?;
        self.nodes.get(number)?;
        self.nodes[self.member(number, &name)?].of.clone()
    }
}

impl Reader for Types {
    fn scalar(&self, level: usize) -> &Type {
        self.nodes[level].of.as_ref().unwrap_or(&Type::Any)
    }

    fn element(&self, level: usize) -> Option<usize> {
        self.element_of(level)
    }

    fn has_fields(&self, level: usize) -> bool {
        !self.nodes[level].fields.is_empty()
    }

    fn field(&self, level: usize, name: &str) -> Option<usize> {
        self.member(level, name)
    }

    fn order(&self, level: usize) -> Order<'_> {
        let Some(list) = self.nodes[level].list.as_deref() else { return Order::Kept };
        match list.kind {
            ListType::Atomic => Order::Kept,
            ListType::Set => Order::Set,
            ListType::Map => Order::Map(&list.keys),
        }
    }
}

/// The sizes of values below one level, which is `self`.
pub(super) struct Below<'t> {
    pub(super) types: &'t Types,
    pub(super) level: usize,
}

impl Sizes for Below<'_> {
    fn size_max(&self, path: &[Step]) -> Option<u64> {
        let mut level = self.level;
        for (index, step) in path.iter().enumerate() {
            let node = &self.types.nodes[level];
            level = match step {
                Step::Items | Step::Values => node.element?,
                // A key is the last step, and upstream has no bound for its size.
                Step::Keys if matches!(node.of, Some(Type::Map(..))) => {
                    return (index + 1 == path.len()).then_some(0);
                }
                Step::Keys | Step::Indices => return None,
                Step::Field(name) => {
                    let json = unescape(name).filter(|json| escape(json).as_deref() == Some(name));
                    self.types.typed_member(level, &json?)?
                }
            };
        }
        Some(self.types.nodes[level].elements_max)
    }
}

/// A level of shared types, for reading values.
pub(super) fn reader(types: &Arc<Types>, number: usize) -> Level {
    let reader: Arc<dyn Reader> = Arc::clone(types) as Arc<dyn Reader>;
    Level { reader, number }
}
