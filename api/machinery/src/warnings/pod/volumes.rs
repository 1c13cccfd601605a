//! Volumes: plugins that are gone, and files of one volume in each other's way.

use std::{fmt, slice};

use serde_json::Value;

use super::{PAIRS_MAX, Pod, earlier, fraction};
use crate::validate::{items, text};
use crate::warnings::plugins::fate;

/// Plugins that are gone, and claims for parts of a byte.
pub(super) fn plugins(pod: Pod<'_>, told: &mut Vec<String>) {
    for (index, volume) in items(pod.spec, "volumes").iter().enumerate() {
        let path = format_args!("{}spec.volumes[{index}]", pod.prefix);
        let sources = volume.as_object().into_iter().flatten();
        for (source, value) in sources.filter(|(_, value)| !value.is_null()) {
            if let Some((shown, fate)) = fate(source) {
                told.push(format!("{path}.{shown}: {fate}"));
            }
            if source == "ephemeral" {
                let resources = &value["volumeClaimTemplate"]["spec"]["resources"];
                for list in ["requests", "limits"] {
                    let path = format_args!(
                        "{path}.ephemeral.volumeClaimTemplate.spec.resources.{list}[storage]"
                    );
                    fraction(&resources[list]["storage"], path, told);
                }
            }
        }
    }
}

/// A file of a volume.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a str,
    origin: Origin<'a>,
}

/// What a file is made of.
#[derive(Clone, Copy)]
struct Origin<'a> {
    kind: &'a str,
    source: &'a Value,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self.kind {
            "configMap" => ("ConfigMap", text(self.source, "name")),
            // A volume and a source of a projected one call it differently.
            "secret" => match text(self.source, "secretName") {
                "" => ("Secret", text(self.source, "name")),
                name => ("Secret", name),
            },
            "downwardAPI" => return f.write_str("DownwardAPI"),
            _ => return f.write_str("ServiceAccountToken"),
        };
        write!(f, "{kind} {name:?}")
    }
}

/// The files of a volume, or of a source of a projected one.
fn files(source: &Value) -> impl Iterator<Item = File<'_>> + Clone {
    let kinds = source.as_object().into_iter().flatten();
    let files = kinds.flat_map(|(kind, source)| {
        let list = match kind.as_str() {
            "configMap" | "secret" | "downwardAPI" => items(source, "items"),
            "serviceAccountToken" => slice::from_ref(source),
            _ => &[],
        };
        list.iter().map(move |one| File {
            path: text(one, "path").trim_end_matches('/'),
            origin: Origin { kind, source },
        })
    });
    files.filter(|file| !file.path.is_empty())
}

fn is_at_or_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Files of a volume that are one, or where one is a directory to the other.
pub(super) fn overlaps(pod: Pod<'_>, told: &mut Vec<String>) {
    let mut left = PAIRS_MAX;
    for volume in items(pod.spec, "volumes") {
        let name = text(volume, "name");
        let projected = &volume["projected"];
        let is_projected = !projected.is_null();
        let sources =
            if is_projected { items(projected, "sources") } else { slice::from_ref(volume) };
        let all = sources.iter().flat_map(files);
        let mut index = 0;
        for source in sources {
            let mut kinds = source.as_object().into_iter().flatten();
            if kinds.all(|(_, kind)| kind.is_null()) {
                told.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
            for file in files(source) {
                for other in earlier(&all, index, &mut left) {
                    let (path, taken) = (file.path, other.path);
                    if !is_at_or_below(path, taken) && !is_at_or_below(taken, path) {
                        continue;
                    }
                    let (one, two) = (file.origin, other.origin);
                    told.push(if is_projected {
                        format!(
                            "volume {name:?} (Projected): overlapping paths: \
                             {path:?} ({one}) with {taken:?} ({two})"
                        )
                    } else {
                        format!(
                            "volume {name:?} ({one}): overlapping paths: {path:?} with {taken:?}"
                        )
                    });
                }
                index += 1;
            }
        }
    }
}
