//! Protobuf messages as `k8s-pb`'s sources tell them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use syn::{Expr, Fields, Item, Lit, Meta};

use crate::markers::Markers;

/// One field of a message.
pub(crate) struct Field {
    /// The Rust name, without `r#`.
    pub(crate) rust_name: String,
    pub(crate) number: u32,
    /// `one`, `list` or `map`.
    pub(crate) shape: &'static str,
    /// A scalar's protobuf name, or a message's full name.
    pub(crate) kind: String,
    pub(crate) markers: Markers,
}

/// Full name (`api.core.v1.Pod`) to fields.
pub(crate) type Messages = BTreeMap<String, Vec<Field>>;

/// The modules whose messages are wanted: generally available versions and what they use.
fn is_wanted(module: &str) -> bool {
    let version = module.rsplit('.').next().unwrap_or_default();
    let is_stable =
        version.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let is_base = module.starts_with("apimachinery.pkg.")
        && (module.ends_with("intstr")
            || module.ends_with("runtime")
            || module.ends_with("resource"));
    (is_stable && !module.contains("testapigroup") && !module.starts_with("metrics.")) || is_base
}

/// Reads every wanted module below the crate's `src`.
pub(crate) fn read_all(src: &Path) -> Result<Messages> {
    let mut messages = Messages::new();
    visit(src, &mut Vec::new(), &mut messages)?;
    Ok(messages)
}

fn visit(folder: &Path, module: &mut Vec<String>, messages: &mut Messages) -> Result<()> {
    let name = module.join(".");
    let file = folder.join("mod.rs");
    if file.exists() && is_wanted(&name) {
        let text = std::fs::read_to_string(&file)?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parsing {name}"))?;
        for item in parsed.items {
            if let Item::Struct(item) = item {
                messages.insert(format!("{name}.{}", item.ident), fields(&item, module)?);
            }
        }
    }
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            module.push(entry.file_name().to_string_lossy().into_owned());
            visit(&entry.path(), module, messages)?;
            module.pop();
        }
    }
    Ok(())
}

fn fields(item: &syn::ItemStruct, module: &[String]) -> Result<Vec<Field>> {
    let Fields::Named(named) = &item.fields else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for field in &named.named {
        let ident = field.ident.as_ref().context("a field without a name")?.to_string();
        let rust_name = ident.trim_start_matches("r#").to_owned();
        let mut docs = Vec::new();
        let mut prost = None;
        for attribute in &field.attrs {
            if attribute.path().is_ident("doc") {
                if let Meta::NameValue(pair) = &attribute.meta
                    && let Expr::Lit(literal) = &pair.value
                    && let Lit::Str(text) = &literal.lit
                {
                    docs.push(text.value());
                }
            } else if attribute.path().is_ident("prost") {
                prost = Some(attribute.meta.require_list()?.tokens.to_string());
            }
        }
        let prost = prost.with_context(|| format!("{rust_name} has no prost attribute"))?;
        let wire = Wire::parse(&prost)?;
        let kind = match wire.scalar.as_str() {
            "message" => message_name(&field.ty, module)
                .with_context(|| format!("{}.{rust_name}: no message type", item.ident))?,
            scalar => scalar.to_owned(),
        };
        let markers = Markers::parse(&docs);
        out.push(Field { rust_name, number: wire.number, shape: wire.shape, kind, markers });
    }
    out.sort_by_key(|field| field.number);
    Ok(out)
}

struct Wire {
    scalar: String,
    shape: &'static str,
    number: u32,
}

impl Wire {
    /// `string, optional, tag = "1"` and its like.
    fn parse(attribute: &str) -> Result<Self> {
        let number = attribute
            .rsplit_once("tag = \"")
            .and_then(|(_, rest)| rest.split('"').next())
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("no tag in {attribute}"))?;
        if let Some((_, rest)) = attribute.split_once("map = \"") {
            let value = rest.split('"').next().and_then(|pair| pair.split(", ").nth(1));
            let scalar = value.with_context(|| format!("no map value in {attribute}"))?;
            return Ok(Self { scalar: scalar.to_owned(), shape: "map", number });
        }
        let shape = if attribute.contains("repeated") { "list" } else { "one" };
        let scalar = attribute
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Self { scalar, shape, number })
    }
}

/// The last path inside `Option<…>`, `Vec<…>` or the second argument of a map, as a full name.
fn message_name(ty: &syn::Type, module: &[String]) -> Option<String> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if let syn::PathArguments::AngleBracketed(arguments) = &last.arguments {
        let syn::GenericArgument::Type(inner) = arguments.args.last()? else { return None };
        return message_name(inner, module);
    }
    let mut base = module.to_vec();
    for segment in &path.path.segments {
        let name = segment.ident.to_string();
        match name.as_str() {
            "super" => {
                base.pop();
            }
            "crate" => base.clear(),
            _ => base.push(name),
        }
    }
    Some(base.join("."))
}
